"""What lies on a board of earlier pushes: bundles and models, their last use, and their removal.

Only what a push makes is seen here: folders of a hash in ``bundles`` and ``models`` that hold files
and nothing else. All else on the board is left alone. A folder stays while a push has its lock,
while a program there names it, and if it was used since it was listed.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from toolchain.board.connection import HASH_S, Connection
from toolchain.board.private_folder import require_private
from toolchain.board.push import RESUMED_FOR_MIN
from toolchain.hardware.board_file import Board

KINDS = ("bundles", "models")
_AT_ONCE = 40
"""Folders that one command line names."""

# A program there has the folder on its command line; this script has it in parts. The guard of a
# program (remote_shell.py) has its words, too, and may outlive it for a moment: it is left out. As
# few programs as can be: on a slow board each takes its time.
_COMMON = r"""
CDPATH= cd -- "$1" 2>/dev/null || exit 0
shift
running=$(cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\0' '\n' |
  LC_ALL=C sed -e '/^printf.0/d' -e '/^sh -c .eval/d')
is_store() { [ -d "$1/$2" ] && [ ! -L "$1" ] && [ ! -L "$1/$2" ]; }
find_user() {
  user=nobody
  flock -n 9 2>/dev/null
  if [ "$?" -eq 1 ]; then user=push; return; fi
  case $running in *"$1/$2"*) user=program ;; esac
}
facts() {
  stat -c '%Y %s' -- "$@" 2>/dev/null && return
  for path; do echo "$(date -r "$path" +%s) $(($(wc -c <"$path" 2>/dev/null)))"; done
}
is_hash() {
  case $1 in *[!0-9a-f]*) return 1 ;; ????????????????) return 0 ;; esac
  return 1
}
"""
# Fields end with a zero byte, for names of files may hold all others.
_LIST = (
    _COMMON
    + r"""
printf '%s\0' "$(date +%s)"
for kind in bundles models; do
  for folder in "$kind"/*; do
    name=${folder##*/}
    if ! is_hash "$name" || ! is_store "$kind" "$name"; then continue; fi
    set -- "$folder"
    for file in "$folder"/* "$folder"/.*; do
      case ${file##*/} in . | ..) continue ;; esac
      if [ -e "$file" ] || [ -L "$file" ]; then set -- "$@" "$file"; fi
    done
    find_user "$kind" "$name" 9<"$folder"
    printf '%s\0' folder "$kind" "$name" "$user" "$(facts "$@")"
    shift
    for file; do
      what=other
      if [ -f "$file" ] && [ ! -L "$file" ]; then what=file; fi
      printf '%s\0' "$what" "${file##*/}"
    done
  done
done
"""
)
_REMOVE = (
    _COMMON
    + r"""
while [ "$#" -ge 3 ]; do
  if ! is_hash "$2" || ! is_store "$1" "$2"; then
    echo gone
  else
    (
      find_user "$1" "$2"
      now=$(facts "$1/$2")
      if [ "$user" = nobody ] && [ "${now%% *}" != "$3" ]; then user=since; fi
      if [ "$user" = nobody ]; then
        find "$1/$2" -maxdepth 1 -type f -exec rm -f -- {} +
        rmdir -- "$1/$2" && user=removed
      fi
      echo "$user"
    ) 9<"$1/$2" || echo fault
  fi
  shift 3
done
"""
)
_USERS = {"push": "another push", "program": "a program there", "since": "a command just now"}


@dataclass(frozen=True)
class Stored:
    """One bundle or model on a board."""

    kind: str
    """``bundles`` or ``models``: the folder that it is in."""
    hash: str
    """The first 16 digits of its own."""
    names: tuple[str, ...]
    """Of its files, without parts of what is not whole."""
    bytes: int
    last_used: float
    """Seconds since 1970 by the board's clock."""
    age: float
    """Seconds since then, by the same clock."""
    used_by: str | None
    """Who works with it now."""

    @property
    def leftover(self) -> bool:
        """Whether nothing of it is whole, and no push goes on with it any more."""
        return not self.names and self.used_by is None and self.age > 60 * RESUMED_FOR_MIN

    def document(self) -> dict[str, Any]:
        """All of it, for JSON."""
        used = datetime.fromtimestamp(self.last_used, UTC)
        return {
            "kind": self.kind,
            "hash": self.hash,
            "files": list(self.names),
            "bytes": self.bytes,
            "last_used": used.isoformat(timespec="seconds"),
            "leftover": self.leftover,
            "used_by": self.used_by,
        }


@dataclass(frozen=True)
class Removed:
    """What was removed of a board, and what was not."""

    removed: list[Stored] = field(default_factory=list)
    kept: list[tuple[Stored, str]] = field(default_factory=list)
    """Wanted away, and who uses it."""
    faults: list[Stored] = field(default_factory=list)
    """What could not be removed."""

    @property
    def freed(self) -> int:
        """Bytes."""
        return sum(item.bytes for item in self.removed)


def stored(connection: Connection, board: Board) -> list[Stored]:
    """What lies on a board; of each kind what was used last comes first.

    Raises:
        BoardError: another user could put something in its place, or the board does not tell.
    """
    directory = board.ssh.directory
    if not board.ssh.shared:
        # Any name of a file: it is the folders on the way to it that are looked at.
        files = [posixpath.join(directory, kind, "any", "any") for kind in KINDS]
        require_private(connection, directory, files)
    result = connection.run(["sh", "-c", _LIST, "sh", directory], check=False, timeout=HASH_S)
    if result.exit_code:
        raise connection.failure(result, "looking at what lies there")
    words = result.stdout.decode("utf-8", errors="surrogateescape").split("\0")
    try:
        found = list(_parsed(words))
    except (ValueError, IndexError, OverflowError, OSError) as error:
        raise connection.failure(result, "looking at what lies there") from error
    return sorted(found, key=lambda item: (item.kind, -item.last_used, item.hash))


def remove(connection: Connection, board: Board, items: Sequence[Stored]) -> Removed:
    """Remove bundles and models, each whole; what is in use by now stays.

    Args:
        connection: to the board.
        board: its file.
        items: of :func:`stored`.

    Raises:
        BoardError: the board does not tell what it did.
    """
    done = Removed()
    for begin in range(0, len(items), _AT_ONCE):
        some = items[begin : begin + _AT_ONCE]
        words = [word for it in some for word in (it.kind, it.hash, f"{it.last_used:.0f}")]
        argv = ["sh", "-c", _REMOVE, "sh", board.ssh.directory, *words]
        result = connection.run(argv, check=False, timeout=HASH_S)
        said = result.text.split()
        if len(said) != len(some):
            raise connection.failure(result, "removing what lies there")
        for item, word in zip(some, said, strict=True):
            if word in ("removed", "gone"):
                done.removed.append(item)
            elif word in _USERS:
                done.kept.append((item, _USERS[word]))
            else:
                done.faults.append(item)
    return done


def _parsed(words: Sequence[str]) -> Iterator[Stored]:
    """Items from the fields that the board has printed; those with anything but files are none."""
    if len(words) < 2:  # there is no such folder
        return
    now, rest, place = int(words[0]), words[1:-1], 0
    while place < len(rest):
        mark, kind, name, user, facts = rest[place : place + 5]
        if mark != "folder" or kind not in KINDS or not re.fullmatch(r"[0-9a-f]{16}", name):
            raise ValueError(mark)
        place += 5
        (used, _), *sizes = (tuple(map(int, line.split())) for line in facts.splitlines())
        files = list[tuple[str, str]]()
        while place < len(rest) and rest[place] in ("file", "other"):
            files.append((rest[place], rest[place + 1]))
            place += 2
        if any(what == "other" for what, _ in files):
            continue
        yield Stored(
            kind=kind,
            hash=name,
            names=tuple(file for _, file in files if not _is_part(file)),
            bytes=sum(size for (_, size), _ in zip(sizes, files, strict=True)),
            last_used=datetime.fromtimestamp(used, UTC).timestamp(),
            age=float(now - used),
            used_by=_USERS.get(user),
        )


def _is_part(name: str) -> bool:
    return re.fullmatch(r"\.[0-9a-f]+\.part", name) is not None
