"""From a board to an open connection, whichever kind of board it is."""

from __future__ import annotations

from pathlib import Path

from toolchain.board import emulator
from toolchain.board.connection import Connection
from toolchain.board.local import LocalConnection
from toolchain.board.ssh import SshConnection
from toolchain.board.target import SshTarget, resolve
from toolchain.hardware.board_file import Board
from toolchain.interrupts import or_abandoned
from toolchain.storage.cache import cache_place


def connect(
    board: Board,
    host: str | None = None,
    *,
    identity: Path | None = None,
    look_only: bool = False,
) -> Connection:
    """Open a connection to a board.

    Args:
        board: which one.
        host: a real board, as one gives it to ``ssh``; goes before the board's file, and before
            the kind of connection that the file names.
        identity: a key to log in with, from its file or from the agent; no other is tried.
        look_only: make nothing on this machine where it is the board.

    Raises:
        HostKeyError: the host key is unknown or not the one on record.
        ConnectionFailed: it cannot be reached or refuses the user, or no host is named.
        EmulatorError: the emulated board does not run.
    """
    if host is None and board.connection == "local":
        return LocalConnection(board.name, cache_place() / "local-board", look_only=look_only)
    if host is None and board.connection == "emulator":
        return _logged_in(board.name, emulator.require_ready(board).target)
    return _logged_in(board.name, resolve(board, host, identity))


def _logged_in(name: str, target: SshTarget) -> SshConnection:
    return or_abandoned(lambda: SshConnection(name, target), SshConnection.close)
