"""What happened on a board: its journal, its kernel's messages, or the emulated one's serial line.

Lines come from the board, and may hold anything. They are made harmless before they are kept.
"""

from __future__ import annotations

import io
import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from toolchain.board import emulator
from toolchain.board.connection import COMMAND_S, MOST, Bounded, Connection
from toolchain.errors import BoardError, EmulatorError
from toolchain.foreign_text import harmless, last_line
from toolchain.hardware.board_file import Board
from toolchain.hints import command

_LONGEST = 4096
"""Bytes of a line that are shown."""
_PIECE = 64 * 1024
_LOOK_S = 0.5
"""So often a file that is followed is looked at."""

# The first of these that has anything to say. A user who may not read the journal still has one of
# his own, and journalctl says so on standard error.
_SCRIPT = r"""
lines=$1 follow=$2
if command -v journalctl >/dev/null 2>&1 \
  && [ -n "$(journalctl -q -n 1 --no-pager 2>/dev/null)" ]; then
  echo journalctl
  exec journalctl --no-pager -n "$lines" ${follow:+-f}
fi
for file in /var/log/syslog /var/log/messages; do
  if [ -r "$file" ] && [ -s "$file" ]; then
    echo "$file"
    exec tail -n "$lines" ${follow:+-f} "$file"
  fi
done
echo dmesg
if [ -n "$follow" ]; then exec dmesg -w; fi
said=$(dmesg) || exit
printf '%s\n' "$said" | tail -n "$lines"
"""


@dataclass(frozen=True)
class Log:
    """The last lines of a board's log."""

    source: str
    """What told them: ``journalctl``, ``dmesg``, or a file."""
    lines: list[str]
    """Harmless for a terminal."""
    remark: str = ""
    """What the program that told them said beside: who may see more, for example."""


class _Lines:
    """A sink that cuts into lines what comes, and passes each on."""

    def __init__(self, take: Callable[[str], None]) -> None:
        self._take, self._rest = take, b""

    def write(self, piece: bytes) -> int:
        """Take a piece."""
        *lines, rest = (self._rest + piece).split(b"\n")
        self._rest = rest[:_LONGEST]
        for line in lines:
            self._take(_line(line))
        return len(piece)

    def finish(self) -> None:
        """Nothing more comes: what is left is a line, too."""
        if self._rest.rstrip(b"\r"):
            self._take(_line(self._rest))


def read_log(connection: Connection, lines: int) -> Log:
    """The last lines of a real board's log.

    Raises:
        BoardError: nothing there tells what happened.
        ConnectionFailed: the board went away.
    """
    output = io.BytesIO()
    argv = ["sh", "-c", _SCRIPT, "sh", str(lines), ""]
    code, said = connection.execute(argv, stdout=Bounded(output, MOST), timeout=COMMAND_S)
    source, *rest = output.getvalue().split(b"\n") or [b""]
    if code:
        raise _refused(connection, said, code)
    while rest and not rest[-1].strip():
        rest.pop()
    return Log(harmless(source.decode(errors="replace")), [_line(one) for one in rest[-lines:]],
               _remark(said))  # fmt: skip


def follow_log(connection: Connection, lines: int, take: Callable[[str], None]) -> None:
    """Pass on a real board's log, line by line, until it ends or this is interrupted.

    Args:
        connection: the board.
        lines: that are told of before.
        take: is given each line; the first one is what tells them.

    Raises:
        BoardError: nothing there tells what happened.
        ConnectionFailed: the board went away.
    """
    argv = ["sh", "-c", _SCRIPT, "sh", str(lines), "1"]
    code, said = connection.execute(argv, stdout=_Lines(take))
    if code:
        raise _refused(connection, said, code)


def read_serial(board: Board, lines: int) -> Log:
    """The last lines that an emulated board wrote to its serial line, also one that has ended.

    Args:
        board: with an ``[emulator]`` table.
        lines: how many.

    Raises:
        EmulatorError: it has never run.
    """
    path = emulator.serial_log(board)
    kept: deque[str] = deque(maxlen=lines)
    try:
        with path.open("rb") as stream:
            # A line has a hundred bytes or so; what is before is not read of a log that is huge.
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - MOST))
            sink = _Lines(kept.append)
            while piece := stream.read(_PIECE):
                sink.write(piece)
            sink.finish()
    except OSError as error:
        raise EmulatorError(
            f"the emulated board '{board.name}' has no log: {path}: {error.strerror or error}",
            hint=command("emulator", "start", "--board", board.given),
        ) from error
    return Log(str(path), list(kept))


def follow_serial(board: Board, take: Callable[[str], None]) -> None:
    """Pass on what an emulated board writes from now on, until it ends or this is interrupted."""
    sink = _Lines(take)
    with emulator.serial_log(board).open("rb") as stream:
        stream.seek(0, os.SEEK_END)
        while True:
            going = emulator.status(board) is not None  # before the last look
            while piece := stream.read(_PIECE):
                sink.write(piece)
            if not going:
                return
            time.sleep(_LOOK_S)


def _line(data: bytes) -> str:
    text = data[:_LONGEST].decode("utf-8", errors="replace").rstrip("\r")
    return harmless(text)


def _remark(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return harmless(" ".join(lines[:4]))[:_LONGEST]


def _refused(connection: Connection, said: str, code: int) -> BoardError:
    return BoardError(
        f"{connection.name}: its log is not told: {last_line(said) or f'exit code {code}'}",
        hint="its user may not read it: let him be in the group adm or systemd-journal there, or "
        "see it as root",
    )
