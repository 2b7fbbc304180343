"""What is sent to a board's login shell, whichever it is, and what is taken of its output.

The login shell may be tcsh or fish, which read quotes in ways of their own, and its start-up files
may print, as may what they have it run when it ends. So it is given one line of characters that no
shell treats specially, and only what stands between two marks, which our own script prints first
and last, is taken.
"""

from __future__ import annotations

import re
import secrets
import shlex
import threading
from collections.abc import Callable, Sequence

_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_./:=,@-")
_KEPT = 16 * 1024

LINGER_S = 60
"""Seconds that a program runs on the board of which nothing is heard from this side."""
BEAT = b"\n"
"""What this side writes to a program that reads nothing, so that the board knows of it."""
ABANDONED = 75
"""The exit code, without the second mark, of what was ended because nothing was heard."""
_BEATS = 4
"""In so many parts the time is cut: a sign of life is given, or looked for, in each."""

# A server leaves a program running whose client is gone, and does not even notice where the link
# died without a word. So each has a guard, which tells the shell when it is to end. That shell
# stays in between, so that death by a signal comes back as 128 + n; where its last words do not
# get through, it is ended, too. Each kind of process is ended by another signal: one that its
# parent has a trap for would be lost on a process that has just begun.
_BEGIN = f"""\
me=
trap 'kill "$program"; kill -CONT "$program"; exit {ABANDONED}' HUP
give_up() {{
  kill -HUP $$
  sleep 2 & wait $!
  kill -KILL "$program" $$ $me
  exit
}}
"""

# One that reads nothing: standard input ends when this side closes the channel, and is written to
# now and then until it does. POSIX has no read that waits for so long and no longer.
_UNFED = """\
exec 3<&0
"$@" </dev/null 3<&- &
program=$!
(
  trap 'kill -USR1 $!; exit' TERM
  cd -P /proc/self && me=${{PWD##*/}}
  while
    (
      trap 'kill $!; exit' USR1
      sleep {limit} & wait $!
      give_up
    ) &
    read -r beat
  do
    kill -USR1 $!; wait $!
  done
  kill -USR1 $!
  give_up
) <&3 3<&- >/dev/null 2>&1 &
guard=$!
"""

# One that is fed: what it has read and written is looked at. Where the board does not tell, it is
# left alone.
_FED = """\
exec 3<&0 </dev/null
"$@" <&3 3<&- &
program=$!
exec 3<&-
(
  trap 'kill -USR1 $!; exit' TERM
  seen= idle=0
  while
    sleep {tick} & wait $!
    now=$(cd "/proc/$program" && cat fdinfo/1 io stat)
    [ -n "$now" ]
  do
    if [ "$now" = "$seen" ]; then idle=$((idle + 1)); else idle=0 seen=$now; fi
    if [ "$idle" -ge {beats} ]; then give_up; fi
  done
) >/dev/null 2>&1 &
guard=$!
"""
# Where the client is gone, writing fails; it must not end the shell, which has to end the guard.
_END = """\
wait "$program"
code=$?
trap '' PIPE
printf %s%s {second} {first}
printf %s%s {second} {first} >&2
kill "$guard" 2>/dev/null
exit "$code"
"""


class BetweenMarks:
    """Passes on what comes between a mark and its counterpart, which is its halves exchanged.

    Args:
        mark: it and the line's end after it are dropped, too.
        sink: is given each piece that comes after.
    """

    def __init__(self, mark: bytes, sink: Callable[[bytes], None]) -> None:
        self._found = threading.Event()
        self._mark, self._end, self._sink = mark + b"\n", _counterpart(mark), sink
        self._before, self._held = bytearray(), bytearray()
        self._ended = False
        self.skipped = 0
        """Bytes that have come before the mark, about."""

    @property
    def found(self) -> bool:
        """Whether the mark has come."""
        return self._found.is_set()

    @property
    def ended(self) -> bool:
        """Whether the second mark has come."""
        return self._ended

    def wait(self, seconds: float) -> bool:
        """Wait for the mark; whether it has come."""
        return self._found.wait(seconds)

    @property
    def before(self) -> str:
        """The last of what came before."""
        return self._before.decode("utf-8", errors="replace").strip()

    def feed(self, piece: bytes) -> None:
        """Take what has arrived."""
        if not self.found:
            self.skipped += len(piece)
            self._before += piece
            place = self._before.find(self._mark)
            if place < 0:
                del self._before[:-_KEPT]
                return
            self._found.set()
            piece = bytes(self._before[place + len(self._mark) :])
            del self._before[place:]
        if self._ended:
            return
        self._held += piece
        place = self._held.find(self._end)
        self._pass_on(place if place >= 0 else len(self._held) - self._begun())
        # After the last piece: another thread goes on as soon as it sees this.
        self._ended = place >= 0

    def _begun(self) -> int:
        """How many of the last bytes may be the beginning of the second mark; they are held back.

        All else is passed on at once: somebody may wait for it.
        """
        most = min(len(self._end) - 1, len(self._held))
        return next((n for n in range(most, 0, -1) if self._held.endswith(self._end[:n])), 0)

    def finish(self) -> None:
        """Nothing more will arrive: where the second mark has not come, pass on what is held."""
        if not self._ended:
            self._pass_on(len(self._held))

    def _pass_on(self, count: int) -> None:
        if count > 0:
            piece = bytes(self._held[:count])
            del self._held[:count]
            self._sink(piece)


def _counterpart(mark: bytes) -> bytes:
    half = len(mark) // 2
    return mark[half:] + mark[:half]


def new_mark() -> str:
    """A mark that no output holds by chance."""
    return secrets.token_hex(16)


def command_line(argv: Sequence[str], mark: str, *, fed: bool, linger: int = LINGER_S) -> str:
    """The line that makes any login shell run a program.

    Args:
        argv: program and arguments; none of it is ever taken as shell text.
        mark: what is printed first, on both streams; its counterpart is printed last.
        fed: whether the program reads standard input; else it is stopped at that one's end.
        linger: seconds after which it is ended if nothing is heard from this side: no
            :data:`BEAT`, or if it is fed, nothing that it reads or writes.
    """
    # In halves, so that a shell that prints its commands does not print the mark.
    half = len(mark) // 2
    first, second = mark[:half], mark[half:]
    script = "".join(
        [
            f"printf '%s%s\\n' {first} {second}\n",
            f"printf '%s%s\\n' {first} {second} >&2\n",
            f"set -- {shlex.join(argv)}\n",
            _short(_BEGIN),
            _short(_FED.format(tick=max(1, linger // _BEATS), beats=_BEATS))
            if fed
            else _short(_UNFED.format(limit=linger)),
            _END.format(first=first, second=second),
        ]
    )
    return _for_any_shell(script)


def _for_any_shell(script: str) -> str:
    return f"""sh -c 'eval "$(printf %b "$1")"' sh '{_encoded(script)}'"""


def plain_line(argv: Sequence[str]) -> str:
    """The line that makes any login shell run a program on the streams that it has itself.

    Args:
        argv: program and arguments; none of it is ever taken as shell text.
    """
    return _for_any_shell(f"exec {shlex.join(argv)}")


def beat_every(linger: int) -> float:
    """Seconds between two :data:`BEAT` to a program."""
    return linger / _BEATS


def _short(script: str) -> str:
    """Without indentation: a board reads it again for each program."""
    return re.sub(r"^ +", "", script, flags=re.MULTILINE)


def _encoded(text: str) -> str:
    """Text as ``printf %b`` takes it, in characters that quotes of every shell keep."""
    data = text.encode("utf-8", errors="surrogateescape")
    return "".join(chr(byte) if byte in _SAFE else f"\\0{byte:03o}" for byte in data)
