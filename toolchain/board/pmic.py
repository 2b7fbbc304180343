"""The power of a Raspberry Pi 5, as its power management chip (PMIC) measures it.

``vcgencmd pmic_read_adc`` prints a line for each current and each voltage that the chip reads:
``VDD_CORE_A current(7)=0.92871990A``, and ``VDD_CORE_V volt(15)=0.72097620V``. The power of the
board's own rails is the sum of volts times amperes. What USB ports draw and what converters lose is
not in it: the input (``EXT5V_V``) and the battery of the clock (``BATT_V``) have no current. The
format is that of outputs that users have made public; there is no document of it.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from toolchain.board.connection import Connection, TimeUp

COMMAND = ("vcgencmd", "pmic_read_adc")
PAUSE_S = 0.2
"""Between two readings; one takes some milliseconds of a core."""
_LOOK_S = 10.0
_LIKE_A_RAIL = re.compile(r"\s*\w+_[AV]\s+(?:current|volt)\(")
_RAIL = re.compile(
    r"\s*(\w{1,32})_(?:(A)\s+current|(V)\s+volt)\([0-9]{1,3}\)=(-?[0-9]{1,6}\.[0-9]{1,12})([AV])\s*",
    re.ASCII,
)

# It runs the program, and beside it a loop that reads. Whatever ends this shell ends both: with
# TERM or HUP it ends them itself, and the loop looks whether it is still there. Nothing that is
# ended may have inherited a trap for the signal that ends it (remote_shell.py says why).
_SCRIPT = """\
mark=$1 idle=$2 pause=$3
shift 3
stamp() {
  read -r now rest </proc/uptime
  printf '%s %s %s\\n' "$mark" "$1" "$now" >&2
}
trap 'kill -USR1 "$sampler"; kill -KILL $!; exit 143' TERM HUP
(
  trap 'kill -KILL $!; exit' USR1
  while kill -0 $$ 2>/dev/null; do
    stamp read
    vcgencmd pmic_read_adc </dev/null >&2 2>/dev/null & wait $!
    stamp done
    sleep "$pause" & wait $!
  done
) >/dev/null &
sampler=$!
stamp idle
sleep "$idle" & wait $!
stamp run
"$@" & wait $!
code=$?
stamp end
kill -USR1 "$sampler"
wait "$sampler"
exit "$code"
"""


@dataclass(frozen=True)
class Reading:
    """Power at a time."""

    begin: float
    """Seconds, of a clock that also tells when a program ran."""
    end: float
    """When the reading had been taken."""
    watts: float


@dataclass
class Sampled:
    """What was read while a program ran, and a while before it."""

    readings: list[Reading] = field(default_factory=list)
    """In their order."""
    unreadable: int = 0
    """Answers that were no reading."""
    idle: float | None = None
    """From then on the board had nothing to do."""
    run: float | None = None
    """From then on the program ran."""
    end: float | None = None
    """By then it had ended."""


def parse_pmic(text: str) -> dict[str, float] | None:
    """The power of each rail, in watts.

    Returns:
        ``None`` where a line of a rail cannot be read, a current lacks its voltage, or there is
        no rail: a sum without it would be too small.
    """
    values: dict[tuple[str, str], float] = {}
    for line in text.splitlines():
        if not _LIKE_A_RAIL.match(line):
            continue
        found = _RAIL.fullmatch(line)
        kind = found and (found[2] or found[3])
        if found is None or kind != found[5] or (found[1], kind) in values:
            return None
        values[found[1], kind] = float(found[4])
    amperes = {name: value for (name, kind), value in values.items() if kind == "A"}
    if not amperes or any((name, "V") not in values for name in amperes):
        return None
    return {name: value * values[name, "V"] for name, value in amperes.items()}


def look(connection: Connection) -> frozenset[str] | str:
    """The rails whose power a board tells; the reason why it tells none.

    Raises:
        ConnectionFailed: the board went away.
    """
    try:
        result = connection.run(COMMAND, check=False, timeout=_LOOK_S)
    except TimeUp:
        return f"its vcgencmd pmic_read_adc does not answer in {_LOOK_S:g} s"
    if result.exit_code == 127:
        return "it has no vcgencmd, which reads the PMIC of a Raspberry Pi 5"
    rails = None if result.exit_code else parse_pmic(result.text)
    if rails:
        return frozenset(rails)
    said = [line.strip() for line in f"{result.text}\n{result.stderr}".splitlines() if line.strip()]
    return "its vcgencmd pmic_read_adc tells no power" + (f": {said[-1][:120]}" if said else "")


class Sampler:
    """Runs a program on a board, and reads the board's power there, before it and beside it.

    Args:
        rails: those that each reading is to have.
        idle_s: seconds of readings before the program begins.
    """

    def __init__(self, rails: frozenset[str], idle_s: float) -> None:
        self._rails, self._idle_s = rails, idle_s
        self._mark = secrets.token_hex(12)
        self.sampled = Sampled()

    def wrapped(self, argv: Sequence[str]) -> list[str]:
        """The command that runs ``argv`` and reads; what it reads is among its standard error."""
        settings = [self._mark, f"{self._idle_s:g}", f"{PAUSE_S:g}"]
        return ["sh", "-c", _SCRIPT, "sh", *settings, *argv]

    def take(self, stderr: str) -> str:
        """Keep what was read.

        Args:
            stderr: of the command.

        Returns:
            The standard error of the program itself.
        """
        stamp = re.compile(rf"(.*?){self._mark} (idle|run|end|read|done) ([0-9]{{1,12}}\.[0-9]+)")
        rest: list[str] = []
        answer: list[str] = []
        begun: float | None = None
        for line in stderr.splitlines():
            found = stamp.fullmatch(line)
            before = found[1] if found else line
            if before:
                # A mark in the middle of a line cuts off what the reader was printing.
                own = found or _LIKE_A_RAIL.match(before) or before.startswith("error=")
                (answer if begun is not None and own else rest).append(before)
            if not found:
                continue
            name, when = found[2], float(found[3])
            if name == "read":
                begun, answer = when, []
            elif name != "done":
                setattr(self.sampled, name, when)
            elif begun is not None:
                self._keep(begun, when, "\n".join(answer))
                begun = None
        return "\n".join(rest)

    def _keep(self, begin: float, end: float, answer: str) -> None:
        rails: Mapping[str, float] = parse_pmic(answer) or {}
        if rails.keys() == self._rails:
            self.sampled.readings.append(Reading(begin, end, sum(rails.values())))
        else:
            self.sampled.unreadable += 1
