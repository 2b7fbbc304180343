"""Processes that look like an emulated board's QEMU from outside, and states of such boards."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from support.patience import await_that
from toolchain.board import emulator_state
from toolchain.board.emulator_state import State
from toolchain.hardware.board_file import Board


@contextmanager
def sleeping(program: str, *words: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that does nothing, with further words on its command line.

    Args:
        program: a shell's path.
        words: the last one is the path of a serial line.
    """
    arguments = [*map(str, words[:-1]), emulator_state.serial(Path(words[-1]))]
    command = [program, "-c", "sleep 600 & wait", "qemu", *arguments]
    with subprocess.Popen(command, start_new_session=True) as process:
        # The kernel closes files on exec before it shows the new command line.
        line = Path(f"/proc/{process.pid}/cmdline")
        await_that("it has begun", lambda: line.read_bytes().endswith(b"log\0"))
        # Until its child runs another program that, too, looks like it, and outlives it a moment.
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        await_that("its child is a sleep", lambda: _is_sleep(children.read_text()))
        yield process
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _is_sleep(pids: str) -> bool:
    return bool(pids) and all(
        Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"sleep\0") for pid in pids.split()
    )


@contextmanager
def played_qemu(folder: Path, name: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that looks like a board's QEMU.

    Args:
        folder: for its program.
        name: of the board.
    """
    program = folder / "qemu-system-aarch64"
    if not program.exists():
        shutil.copy("/bin/sh", program)
    with sleeping(str(program), "-serial", emulator_state.log_file(name)) as process:
        yield process


def record(board: Board, pid: int, **changes: object) -> Path:
    """Write the state that a start would have left; returns its file."""
    folder = emulator_state.folder(board.name)
    folder.mkdir(parents=True, exist_ok=True)
    assert board.emulator is not None
    state = State(
        board=board.name, settings=board.emulator, pid=pid, port=1,
        user_key=folder / "key", known_hosts=folder / "known_hosts",
        log=emulator_state.log_file(board.name), ready=True,
    ).model_copy(update=changes)  # fmt: skip
    emulator_state.save(state)
    return emulator_state.state_file(board.name)
