"""Who has a board, and who waits for it, as the board itself tells; nothing is locked to ask.

Each lease is kept by a process on the board (:mod:`toolchain.board.lease`), whose command line says
for whom and for what. One that holds it has also written so beside the locks.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from toolchain.board import lease
from toolchain.board.connection import COMMAND_S, Connection
from toolchain.foreign_text import harmless

_WORDS = 160
"""Characters that are kept of what somebody says of himself."""

# proc_pid_stat(5): the twentieth field behind the name is when the process began, in hundredths of
# seconds of the board's uptime. The processes that a lease starts have its command line, too; they
# have its number, and count once. The pattern with brackets does not find this script itself.
_SCRIPT = r"""
end=$1 place=$2 own_place=$2
[ -k "$place" ] || place=$3
read -r now rest </proc/uptime
now=${now%%.*}
for folder in /proc/[0-9]*; do
  grep -qs 'tileskip[.]queue' "$folder/cmdline" || continue
  tr '\0' '\n' <"$folder/cmdline" 2>/dev/null | tail -n 8 | {
    read -r name; read -r kind; read -r force; read -r limit
    read -r id; read -r first; read -r second; read -r words
    case $kind in -x | -s) ;; *) exit ;; esac
    case $id in "" | *[!0-9a-f]*) exit ;; esac
    [ "$first" = "$own_place" ] || exit
    read -r stat <"$folder/stat" || exit
    own=no
    if [ -O "$folder" ]; then own=yes; fi
    set -- ${stat##*) }
    shift 19
    echo "process $id ${folder#/proc/} $((now - $1 / 100)) $kind $own $words"
  } 2>/dev/null
done
cd "$place" 2>/dev/null || exit 0
for file in tileskip.holder.*; do
  id=${file##*.}
  case $id in "" | *[!0-9a-f]*) continue ;; esac
  [ -f "$file" ] && [ ! -L "$file" ] || continue
  head -c 400 "$file" | {
    read -r pid since words
    case $pid$since in "" | *[!0-9]*) exit ;; esac
    if grep -qs "$id" "/proc/$pid/cmdline"; then
      echo "holder $id $pid $((now - since))"
      if [ -n "$end" ] && [ -O "$file" ]; then kill -KILL "$pid"; fi
    fi
  } 2>/dev/null
done
"""
_ROW = re.compile(
    r"process (?P<id>[0-9a-f]{1,64}) (?P<pid>[0-9]{1,10}) (?P<seconds>-?[0-9]{1,12}) "
    r"(?P<kind>-[xs]) (?P<own>yes|no) (?P<words>.*)"
)
_HOLDER = re.compile(r"holder ([0-9a-f]{1,64}) ([0-9]{1,10}) (-?[0-9]{1,12})")


@dataclass(frozen=True)
class Use:
    """Somebody who has a board, or waits for it."""

    words: str
    """Who, and what for; made harmless."""
    seconds: int
    """For how long."""
    shared: bool
    """Whether others of its like may have it at the same time."""
    own: bool
    """Whether it is of the user who asks, as the board knows users."""


@dataclass(frozen=True)
class LeaseState:
    """Who has a board, and who waits for it."""

    holders: tuple[Use, ...]
    queue: tuple[Use, ...]
    """Who waits longest comes first."""


def read_lease(connection: Connection) -> LeaseState:
    """Ask a board who uses it.

    Raises:
        ConnectionFailed: it went away.
    """
    return _asked(connection, end=False)


def end_own(connection: Connection) -> tuple[Use, ...]:
    """End the leases that the user has on a board; the commands that hold them end with an error.

    Returns:
        What was ended.

    Raises:
        ConnectionFailed: the board went away.
    """
    return tuple(one for one in _asked(connection, end=True).holders if one.own)


def _asked(connection: Connection, *, end: bool) -> LeaseState:
    words = ["sh", "-c", _SCRIPT, "sh", "1" if end else "", *lease.PLACES]
    lines = connection.run(words, check=False, timeout=COMMAND_S).text.splitlines()
    return parse_state(lines)


def parse_state(lines: Sequence[str]) -> LeaseState:
    """What the script on the board says; a line of another form says nothing."""
    rows = [found for line in lines if (found := _ROW.fullmatch(line))]
    held = {
        (found[1], found[2]): int(found[3]) for line in lines if (found := _HOLDER.fullmatch(line))
    }
    holders = [
        _use(row, held[row["id"], row["pid"]]) for row in rows if (row["id"], row["pid"]) in held
    ]
    holding = {number for number, _ in held}
    waiting: dict[str, Use] = {}
    for row in rows:
        use = _use(row, int(row["seconds"]))
        known = waiting.get(row["id"])
        if row["id"] not in holding and (known is None or known.seconds < use.seconds):
            waiting[row["id"]] = use
    queue = sorted(waiting.values(), key=lambda use: -use.seconds)
    return LeaseState(tuple(holders), tuple(queue))


def _use(row: re.Match[str], seconds: int) -> Use:
    words = harmless(row["words"][:_WORDS])
    return Use(words, max(0, seconds), row["kind"] == "-s", row["own"] == "yes")
