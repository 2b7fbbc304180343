"""What was hashed on a board is what runs there: a file that has changed since is noticed.

Hashing a model before each of many runs would take longer than the runs. So a file that was hashed
has a mark: inode, size, and the times of its last changes. Each write, rename and change of rights
sets the time of the inode's last change, and nobody but root can set it back. The mark is compared
on the board just before the runner is started, by the shell that becomes the runner.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from toolchain.board.connection import HASH_S, Connection, Result, hashing
from toolchain.errors import BoardError

CHANGED = 79
"""The exit code of a guarded command that was not started; the runner has no such code."""
_SAID = "tileskip: a file has changed since it was looked at"

# A file system may keep whole seconds alone. There a change within the second of the last one would
# not show, so a file that has just changed has no mark.
MARK = """\
mark() (
  said=$(stat -c '%Z %i %s %y %z' -- "$1" 2>/dev/null) || { echo -; exit; }
  part=${said##*.} part=${part%% *}
  case $part in
    *[!0-9]* | "" | *000000)
      now=$(date +%s) && [ $((now - ${said%% *})) -ge 2 ] || said=- ;;
  esac
  echo "$said"
)
"""
"""A shell function that prints a file's mark, or a dash."""

# The mark comes first: what changes while the file is hashed is to show in it.
_EXAMINE = f"""\
{MARK}
while [ "$#" -ge 2 ]; do
  hash=- mark=-
  if [ -f "$1" ]; then
    mark=$(mark "$1")
    hash=$($program <"$1") || hash=-
  fi
  hash=${{hash%% *}}
  if [ "$hash" = "$2" ]; then touch -c -- "${{1%/*}}" 2>/dev/null; fi
  echo "$hash $mark"
  shift 2
done
"""
_GUARD = f"""\
{MARK}
count=$1
shift
while [ "$count" -gt 0 ]; do
  if [ -L "$1" ] || [ "$(mark "$1")" != "$2" ]; then
    echo "{_SAID}" >&2
    exit {CHANGED}
  fi
  touch -c -- "${{1%/*}}" 2>/dev/null
  shift 2
  count=$((count - 1))
done
exec "$@"
"""


@dataclass(frozen=True)
class Seen:
    """A file on a board, when it was looked at."""

    sha256: str | None
    """``None``: there is no such file, or it cannot be read."""
    mark: str | None
    """``None``: the board does not tell, or not surely."""


def examine(connection: Connection, files: Mapping[str, str], largest: int = 0) -> dict[str, Seen]:
    """Hash files on a board, and mark them; that those are used which are right is recorded.

    Args:
        connection: to the board.
        files: the hash that each should have, by path; a path has a folder.
        largest: bytes of the largest of them, about.

    Raises:
        BoardError: nothing on the board computes SHA-256.
    """
    words = [word for pair in files.items() for word in pair]
    argv = ["sh", "-c", hashing(largest) + _EXAMINE, "sh", *words]
    result = connection.run(argv, check=False, timeout=HASH_S)
    if result.exit_code == 127:
        raise connection.no_hashing()
    lines = result.text.splitlines()
    if result.exit_code or len(lines) != len(files) or not all(lines):
        raise connection.failure(result, "computing SHA-256 there")
    pairs = [line.partition(" ")[::2] for line in lines]
    return {
        path: Seen(None if hashed == "-" else hashed, told_mark(mark))
        for path, (hashed, mark) in zip(files, pairs, strict=True)
    }


def told_mark(text: str) -> str | None:
    """What a board printed as a mark, if it is one."""
    return text if re.fullmatch(r"[0-9][0-9 :.+-]{1,200}", text) else None


def guarded(command: Sequence[str], marks: Mapping[str, str]) -> list[str]:
    """A command that is started only while files are as they were; that they are used is recorded.

    Args:
        command: program and arguments.
        marks: each file's, by path.
    """
    pairs = [word for pair in marks.items() for word in pair]
    return ["sh", "-c", _GUARD, "sh", str(len(marks)), *pairs, *command]


def has_changed(result: Result) -> bool:
    """Whether a guarded command was not started, for a file was not as it had been."""
    return result.exit_code == CHANGED and result.stderr.strip().endswith(_SAID)


def changes_again(connection: Connection, model: str) -> BoardError:
    """The error for files that somebody changes as often as they are sent."""
    return BoardError(
        f"{connection.name}: {model}: it, or the runner, is changed again and again as it is used",
        hint="see who writes there (ls -l), or name another folder as [ssh] directory = in the "
        "board's file",
    )
