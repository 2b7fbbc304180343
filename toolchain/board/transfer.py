"""A file goes to a board whole or not at all, and a transfer that was cut goes on where it ended.

What has arrived is kept beside the file's place as ``.<SHA-256 of the whole file>.part``. The board
hashes it before it is gone on with: what is no beginning of the file is thrown away. The whole part
is hashed, written to the disk (fsync) and renamed. The folder is locked meanwhile (``flock``): of
two transfers of one file the second waits for the first.

A file that shrinks goes packed where the link is slow. How fast it is, is measured once.
"""

from __future__ import annotations

import hashlib
import io
import posixpath
import re
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from toolchain.board.connection import (
    CHUNK,
    DAMAGED,
    HASH_S,
    IN_THE_WAY,
    STALL_S,
    Advance,
    Connection,
    hashing,
    is_full,
    opened,
    read_here,
)
from toolchain.board.unchanged import MARK, told_mark
from toolchain.errors import BoardError

SLOW = 10e6
"""Bytes a second of a link; on a faster one packing takes as long as it saves."""
SHRINKS = 0.8
"""A file is packed if a sample of it becomes smaller than this part of itself."""
_PACKED_AT_LEAST = 512 * 1024
"""Bytes; less is sent before the speed of the link is known."""
_PROBE = 256 * 1024
"""Bytes that are sent to learn how fast the link is."""
_SAMPLE = 64 * 1024
_ROUND_S = 20
"""Seconds after which whoever waits for another transfer looks how far that has come."""
_ROUNDS = 6
"""So many rounds in which it comes no further are borne: a board ends what is cut after 60 s."""
_TRIES = 20

_GONE, _BUSY, _CHANGED = 71, 72, 74

# The lock is on the folder, which is never renamed and needs no file of its own. What fails for
# another reason than another's lock is a file system without such locks, as some of networks are.
_LOCKED = """\
locked() {
  exec 9<. || return
  flock -n "$1" 9 2>/dev/null
  [ "$?" -ne 1 ]
}
"""
_LOOK = f"""\
umask 022
{_LOCKED}
said=tools
for tool in flock gzip; do
  if command -v "$tool" >/dev/null 2>&1; then said="$said $tool"; fi
done
echo "$said"
while [ "$#" -ge 2 ]; do
  mkdir -p -- "$1" || exit 1
  (
    CDPATH= cd -- "$1" || exit 1
    size=0 hash=-
    if [ -f "$2" ] && [ ! -L "$2" ]; then size=$(wc -c <"$2"); fi
    if ! locked -s; then echo "busy $((size))"; exit; fi
    if [ "$size" -gt 0 ]; then hash=$($program <"$2") || exit 1; fi
    echo "part $((size)) ${{hash%% *}}"
  ) || exit 1
  shift 2
done
"""
_WAIT = f"""\
{_LOCKED}
CDPATH= cd -- "$1" || exit 0
tries=0
until locked -s || [ "$tries" -ge {_ROUND_S} ]; do
  sleep 1
  tries=$((tries + 1))
done
"""
# `set -C` follows no link that leads nowhere. cat takes over the lock, and ends with the link.
_RECEIVE = f"""\
umask 077
{_LOCKED}
CDPATH= cd -- "$1" || exit {_GONE}
locked -x || exit {_BUSY}
if [ "$3" = 0 ]; then
  rm -f -- "$2" && (set -C; : >"$2") || exit 1
elif [ ! -f "$2" ] || [ -L "$2" ] || [ "$(wc -c <"$2")" -ne "$3" ]; then
  exit {_CHANGED}
fi
exec $4 >>"$2"
"""
# mv would go into a folder of that name, or into one that a link leads to. What sync makes of names
# depends on whose it is: it syncs these, or everything.
_FINISH = f"""\
{MARK}
{_LOCKED}
CDPATH= cd -- "$1" || exit {_GONE}
locked -x || exit {_BUSY}
if [ ! -f "$2" ] || [ -L "$2" ]; then exit {_CHANGED}; fi
written() {{ stat -c '%i %s %y' -- "$1" 2>/dev/null; }}
chmod "$5" "$2" || exit 1
before=$(written "$2")
synced() {{ ! command -v sync >/dev/null || sync -- "$1" 2>/dev/null || sync; }}
synced "$2" &
hash=$($program <"$2") || exit 1
wait "$!"
if [ "${{hash%% *}}" != "$4" ]; then
  rm -f -- "$2"
  echo "${{hash%% *}}"
  exit {DAMAGED}
fi
if [ -d "$3" ]; then exit {IN_THE_WAY}; fi
mv -f -- "$2" "$3" && [ -f "$3" ] && [ ! -L "$3" ] || exit 1
synced .
if [ "$(written "$3")" = "$before" ]; then mark "$3"; else echo -; fi
"""


@dataclass(frozen=True)
class Goal:
    """A file, and how it is to lie on the board."""

    local: Path
    remote: str
    sha256: str
    mode: int
    size: int
    """Bytes."""

    @property
    def folder(self) -> str:
        """The one on the board."""
        return posixpath.dirname(self.remote) or "."

    @property
    def part(self) -> str:
        """The name of what has arrived so far, in the folder."""
        return f".{self.sha256}.part"


@dataclass(frozen=True)
class _Part:
    size: int
    sha256: str | None
    busy: bool
    """Whether another transfer has the folder."""


class Sender:
    """Sends files over a connection.

    Args:
        connection: to the board.
        note: is told what is waited for.
    """

    def __init__(self, connection: Connection, note: Callable[[str], None]) -> None:
        self._connection, self._note = connection, note
        self._tools: frozenset[str] = frozenset()
        self._rate: float | None = None
        """Bytes a second of the link, once it is known."""
        self._parts: dict[str, _Part] = {}
        """What was found before anything was sent."""

    def look(self, goals: Sequence[Goal]) -> dict[str, int]:
        """Make the folders; how many bytes of each file, by its place there, need not be sent.

        Raises:
            BoardError: a folder cannot be made, or nothing there computes SHA-256.
        """
        parts = zip(goals, self._look(goals), strict=True)
        self._parts = {goal.remote: part for goal, part in parts}
        return {
            goal.remote: 0 if part.busy or not self._resumes else _usable(goal, part)
            for goal in goals
            for part in [self._parts[goal.remote]]
        }

    def send(self, goal: Goal, advance: Advance) -> str | None:
        """Send a file, or what is missing of it.

        Args:
            goal: the file.
            advance: is told of bytes that are there, those of a part among them.

        Returns:
            Its mark (``toolchain.board.unchanged``) there, where that is known.

        Raises:
            ModelError: the file cannot be read here any longer.
            BoardError: the disk is full, the file may not be written, its hash is wrong, or
                another transfer holds the folder and does not move.
            ConnectionFailed: the board went away; what has arrived is kept there.
        """
        moved = _Moved(advance)
        part = self._parts.pop(goal.remote, None) or self._look([goal])[0]
        if not self._resumes:
            self._connection.put(
                goal.local, goal.remote, mode=goal.mode, sha256=goal.sha256, advance=advance
            )
            return None
        for _ in range(_TRIES):
            if part.busy:
                part = self._wait(goal, part)
            else:
                offset = _usable(goal, part)
                moved.to(offset)
                if self._deliver(goal, offset, moved):
                    done = self._finish(goal)
                    if done is not None:
                        return told_mark(done)
                (part,) = self._look([goal])
            if self._connection.sha256(goal.remote) == goal.sha256:  # another was faster
                moved.to(goal.size)
                return None
        raise BoardError(
            f"{self._connection.name}: {goal.remote}: cannot be written: others write there, too",
            hint="let the other pushes end, then try again",
        )

    @property
    def _resumes(self) -> bool:
        """Without a lock nobody knows who else appends to a part."""
        return "flock" in self._tools

    def _look(self, goals: Sequence[Goal]) -> list[_Part]:
        words = [word for goal in goals for word in (goal.folder, goal.part)]
        largest = max((goal.size for goal in goals), default=0)
        argv = ["sh", "-c", hashing(largest) + _LOOK, "sh", *words]
        result = self._connection.run(argv, check=False, timeout=HASH_S)
        if result.exit_code == 127:
            raise self._connection.no_hashing()
        first, *lines = result.text.splitlines() or [""]
        found = [re.fullmatch(r"(busy|part) (\d{1,18})(?: ([0-9a-f]{64}|-))?", it) for it in lines]
        if result.exit_code and result.stderr.strip():
            raise self._connection.not_written(goals[0].folder, result.stderr)
        if result.exit_code or not first.startswith("tools") or len(found) != len(goals):
            raise self._connection.failure(result, "making the folders there")
        self._tools = frozenset(first.split())
        parts = []
        for one in found:
            if one is None:
                raise self._connection.failure(result, "looking at what has arrived there")
            known = one[3] if one[3] != "-" else None
            parts.append(_Part(int(one[2]), known, one[1] == "busy"))
        return parts

    def _wait(self, goal: Goal, part: _Part) -> _Part:
        """Wait for another transfer; what it has left."""
        self._note(f"{self._connection.name}: waiting for another push of {goal.local.name}")
        stands = 0
        while part.busy:
            before = part.size
            argv = ["sh", "-c", _WAIT, "sh", goal.folder]
            self._connection.run(argv, check=False, timeout=3 * _ROUND_S)
            (part,) = self._look([goal])
            stands = stands + 1 if part.size == before else 0
            if part.busy and stands >= _ROUNDS:
                raise BoardError(
                    f"{self._connection.name}: {goal.folder}: another push has it, and moved "
                    f"nothing for {_ROUNDS * _ROUND_S} s",
                    hint="end that push, then try again",
                )
        return part

    def _deliver(self, goal: Goal, offset: int, moved: _Moved) -> bool:
        """Send everything from a place on; whether it could be, as nobody else was there."""
        if goal.size and offset == goal.size:
            return True
        shrinks = "gzip" in self._tools and _shrinks(goal, offset)
        if shrinks and self._rate is None:
            if not self._receive(goal, offset, offset + _PROBE, moved, packed=False):
                return False
            offset += _PROBE
        packed = shrinks and self._rate is not None and self._rate < SLOW
        return self._receive(goal, offset, goal.size, moved, packed=packed)

    def _receive(self, goal: Goal, begin: int, end: int, moved: _Moved, *, packed: bool) -> bool:
        program = "gzip -dc" if packed else "cat"
        argv = ["sh", "-c", _RECEIVE, "sh", goal.folder, goal.part, str(begin), program]
        with opened(goal.local, begin) as file:
            pieces = _Packed if packed else _Plain
            source: _Plain = pieces(file, end - begin, moved)
            code, stderr = self._connection.execute(
                argv, stdin=cast("BinaryIO", source), stall=STALL_S
            )
        if code == 0:
            if not packed and end - begin >= _PROBE:
                self._rate = source.rate()
            moved.to(end)
            return True
        if code in (_GONE, _BUSY, _CHANGED):
            return False
        if is_full(stderr):
            # What has arrived is in the way of others; and what is free is counted without it.
            self._connection.run(["rm", "-f", "--", posixpath.join(goal.folder, goal.part)])
            free = self._connection.free_bytes(goal.folder)
            raise self._connection.disk_full(goal.remote, goal.size, free)
        raise self._connection.not_written(goal.remote, stderr)

    def _finish(self, goal: Goal) -> str | None:
        """Give a part that is whole its name; what is printed, ``None`` if it is another's by now.

        Raises:
            BoardError: it is damaged, or cannot be renamed.
        """
        name = posixpath.basename(goal.remote)
        argv = ["sh", "-c", hashing(goal.size) + _FINISH, "sh", goal.folder, goal.part, name]
        argv += [goal.sha256, f"{goal.mode:o}"]
        result = self._connection.run(argv, check=False, timeout=HASH_S)
        if result.exit_code in (_GONE, _BUSY, _CHANGED):
            return None
        if result.exit_code:
            raise self._connection.unfinished(result, goal.remote, goal.sha256)
        return result.text.rstrip("\n")


class _Moved:
    """How much of a file is there; what is sent twice counts once."""

    def __init__(self, advance: Advance) -> None:
        self._advance = advance
        self.place = 0
        """Bytes of the file."""
        self._told = 0

    def to(self, place: int) -> None:
        """So much is there."""
        self.place = place
        if place > self._told:
            self._advance(place - self._told)
            self._told = place

    def by(self, count: int) -> None:
        """So much more is there."""
        self.to(self.place + count)


class _Plain:
    """What stands in a file, up to a length; what was read before is told when more is wanted."""

    def __init__(self, file: BinaryIO, length: int, moved: _Moved) -> None:
        self._file, self._left, self._moved = file, length, moved
        self.name = file.name
        self._read, self._length, self._begun = 0, length, 0.0

    def rate(self) -> float:
        """Bytes a second until now; no time has passed before the board took the first."""
        return self._length / max(time.monotonic() - self._begun, 1e-6)

    def read(self, size: int = -1) -> bytes:
        """The next piece; nothing at the end."""
        self._begun = self._begun or time.monotonic()
        self._moved.by(self._read)
        piece = self._file.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(piece)
        self._read = len(piece)
        return piece


class _Packed(_Plain):
    """The same as gzip packs it."""

    def __init__(self, file: BinaryIO, length: int, moved: _Moved) -> None:
        super().__init__(file, length, moved)
        self._packer: zlib._Compress | None = zlib.compressobj(6, wbits=31)

    def read(self, size: int = -1) -> bytes:
        """The next piece, of any length; nothing at the end."""
        while self._packer is not None:
            piece = super().read(size if size > 0 else CHUNK)
            if not piece:
                rest, self._packer = self._packer.flush(), None
                return rest
            packed = self._packer.compress(piece)
            if packed:
                return packed
        return b""


def _usable(goal: Goal, part: _Part) -> int:
    """How many bytes of a part are a beginning of the file."""
    if not 0 < part.size <= goal.size or part.sha256 is None:
        return 0
    hashed, left = hashlib.sha256(), part.size
    with read_here(goal.local), goal.local.open("rb") as file:
        while left and (piece := file.read(min(CHUNK, left))):
            hashed.update(piece)
            left -= len(piece)
    return part.size if hashed.hexdigest() == part.sha256 else 0


def _shrinks(goal: Goal, offset: int) -> bool:
    """Whether what is left of a file is worth packing, by samples of it."""
    left = goal.size - offset
    if left < _PACKED_AT_LEAST:
        return False
    sample = io.BytesIO()
    with read_here(goal.local), goal.local.open("rb") as file:
        for place in (offset, offset + left // 2, goal.size - _SAMPLE):
            file.seek(place)
            sample.write(file.read(_SAMPLE))
    raw = sample.getvalue()
    return len(zlib.compress(raw, 6)) < SHRINKS * len(raw)
