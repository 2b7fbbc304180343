"""What ends a board with its owner, and carries its slow link; QEMU is played."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.patience import PATIENCE, await_that
from support.played_qemus import played_qemu, record
from toolchain.board import keeper
from toolchain.board.emulator_state import folder, keepers, log_file, state_file
from toolchain.board.session import Owner, owner
from toolchain.hardware.board_file import Board, load_board


@pytest.fixture
def board() -> Board:
    return load_board("qemu")


@pytest.fixture
def qemu(board: Board, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    folder(board.name).mkdir(parents=True)
    with played_qemu(tmp_path, board.name) as process:
        yield process
    await_that("its keeper has ended", lambda: not keepers(log_file(board.name)))


@pytest.fixture
def someone() -> Iterator[subprocess.Popen[bytes]]:
    """A process that has a board."""
    with subprocess.Popen(["sleep", "600"]) as process:  # noqa: S607 (of PATH)
        yield process
        process.kill()


def owning(process: subprocess.Popen[bytes]) -> Owner:
    found = owner(process.pid, "session")
    assert found is not None
    return found


def test_a_board_ends_with_its_owner(
    board: Board, qemu: subprocess.Popen[bytes], someone: subprocess.Popen[bytes]
) -> None:
    record(board, qemu.pid, owner=owning(someone))
    pid, port = keeper.start(board.name, log_file(board.name), qemu.pid, 1, owning(someone), None)
    assert port is None
    assert keepers(log_file(board.name)) == [pid]
    assert qemu.poll() is None
    someone.kill()
    assert qemu.wait(PATIENCE) == -signal.SIGTERM
    await_that("it is known no longer", lambda: not state_file(board.name).exists())


def test_an_owner_that_has_ended_before_ends_it_at_once(
    board: Board, qemu: subprocess.Popen[bytes], someone: subprocess.Popen[bytes]
) -> None:
    whose = owning(someone)
    someone.kill()
    someone.wait()
    record(board, qemu.pid, owner=whose)
    keeper.start(board.name, log_file(board.name), qemu.pid, 1, whose, None)
    assert qemu.wait(PATIENCE) == -signal.SIGTERM


def test_a_keeper_ends_with_its_board(
    board: Board, qemu: subprocess.Popen[bytes], someone: subprocess.Popen[bytes]
) -> None:
    state = record(board, qemu.pid, owner=owning(someone))
    keeper.start(board.name, log_file(board.name), qemu.pid, 1, owning(someone), None)
    os.killpg(qemu.pid, signal.SIGKILL)
    await_that("it has ended", lambda: not keepers(log_file(board.name)))
    assert state.exists(), "what was recorded is not its business"


def test_a_keeper_is_a_slow_link_to_the_board(
    board: Board, qemu: subprocess.Popen[bytes], someone: subprocess.Popen[bytes]
) -> None:
    record(board, qemu.pid, owner=owning(someone))
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            link, _ = server.accept()
            with link:
                link.sendall(b"SSH-2.0-x\r\n")

        greeter = threading.Thread(target=greet)
        greeter.start()
        _, port = keeper.start(
            board.name, log_file(board.name), qemu.pid, server.getsockname()[1],
            owning(someone), "1ms,1%",
        )  # fmt: skip
        assert port is not None
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
            assert client.makefile("rb").readline() == b"SSH-2.0-x\r\n"
        greeter.join()
    someone.kill()
    assert qemu.wait(PATIENCE) == -signal.SIGTERM


def test_a_keeper_that_does_not_begin_is_told_and_says_why(
    board: Board, qemu: subprocess.Popen[bytes]
) -> None:
    with pytest.raises(OSError, match="it ended at once"):
        keeper.start(board.name, log_file(board.name), qemu.pid, 1, None, "no link")
    assert (
        "'no link' is no part of a link" in log_file(board.name).with_name("keeper.log").read_text()
    )
