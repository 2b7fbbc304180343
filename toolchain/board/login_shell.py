"""The words that log in to a board by hand, with the user's own ``ssh``."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from toolchain.board import emulator, remote_shell
from toolchain.board.ssh_config import OPTIONAL_TOOLS
from toolchain.board.target import login_words
from toolchain.errors import BoardError, MissingToolError
from toolchain.hardware.board_file import Board
from toolchain.hints import apt_line
from toolchain.storage.cache import cache_place


def shell_words(
    board: Board, host: str | None, identity: Path | None, argv: Sequence[str]
) -> list[str]:
    """The program and arguments that log in to a board, or run a program there.

    What ``ssh`` does with an unknown host key is for its own configuration to say.

    Args:
        board: which.
        host: ``--host``, if given.
        identity: ``--identity``, if given.
        argv: what is run there, none of it as shell text; a login shell if empty.

    Raises:
        MissingToolError: OpenSSH's client is not installed.
        EmulatorError: the emulated board does not run.
        ConnectionFailed: no host is named anywhere, or one is malformed.
    """
    if host is None and board.connection == "local":
        return list(argv) or [os.environ.get("SHELL") or "/bin/sh"]
    if host is None and board.connection == "emulator":
        words = shlex.split(emulator.require_ready(board).ssh_command)
    else:
        words = login_words(board, host, identity)
    program = shutil.which(words[0])
    if program is None:
        raise MissingToolError(
            "OpenSSH's client is not installed, which logs in by hand",
            hint=apt_line(*OPTIONAL_TOOLS.values()),
        )
    if not argv:
        return [program, *words[1:]]
    # As ssh does by itself for a login: a program that draws on a terminal gets one.
    terminal = ["-t"] if sys.stdin.isatty() and sys.stdout.isatty() else []
    return [program, *terminal, *words[1:], remote_shell.plain_line(argv)]


def become(words: Sequence[str], *, local: bool) -> None:
    """Run a program in the place of this one; its exit code is this one's.

    Args:
        words: the program and its arguments.
        local: whether it is of a board that is this machine, whose folder it begins in.

    Raises:
        BoardError: it cannot be started.
    """
    home = cache_place() / "local-board"
    try:
        if local and home.is_dir():
            os.chdir(home)
        sys.stdout.flush()
        sys.stderr.flush()
        os.execvp(words[0], list(words))  # noqa: S606 - no shell is meant
    except OSError as error:
        raise BoardError(f"{words[0]}: cannot be started: {error.strerror or error}") from error
