"""Work over SSH that is interrupted in a thread ends there, and leaves nothing."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.interrupted import told_in_a_thread
from support.leases import Told, Waiting
from support.patience import PATIENCE, await_that, written
from toolchain.board.connection import Connection
from toolchain.board.lease import Lease
from toolchain.board.ssh import SshConnection
from toolchain.interrupts import Interrupt

from .conftest import Reachable


@pytest.fixture
def connection(reachable: Reachable) -> Iterator[SshConnection]:
    with SshConnection("pi", reachable.target) as opened:
        yield opened


def test_a_program_that_is_waited_for_ends(connection: Connection, reachable: Reachable) -> None:
    mark = reachable.home / "begun"

    def work() -> None:
        connection.run(["sh", "-c", "echo $$ >begun; exec sleep 600"])

    (error,) = told_in_a_thread(Interrupt(), work, lambda: written(mark))
    assert isinstance(error, KeyboardInterrupt)
    folder = Path("/proc") / mark.read_text().strip()
    await_that("the program is gone", lambda: not folder.exists())
    mark.unlink()
    assert connection.run(["echo", "still"]).text == "still\n"


def test_a_file_that_is_sent_leaves_no_part(
    connection: Connection, reachable: Reachable, tmp_path: Path
) -> None:
    local = tmp_path / "file"
    local.write_bytes(os.urandom(8 << 20))
    begun, go = threading.Event(), threading.Event()
    sent: list[int] = []

    def advance(moved: int) -> None:
        sent.append(moved)
        begun.set()
        go.wait(PATIENCE)

    interrupt = Interrupt()

    def ask() -> bool:
        if begun.is_set():
            interrupt.ask()
            go.set()
        return begun.is_set()

    connection.make_directory("sent")
    (error,) = told_in_a_thread(
        interrupt, lambda: connection.put(local, "sent/file", advance=advance), ask
    )
    assert isinstance(error, KeyboardInterrupt)
    assert sum(sent) < 8 << 20
    assert list((reachable.home / "sent").iterdir()) == []


def test_who_waits_for_a_board_waits_no_longer(
    connection: Connection, reachable: Reachable
) -> None:
    told = Told()
    with SshConnection("pi", reachable.target) as other:
        first = Waiting(other, "profile a.tflite")
        assert first.held.wait(PATIENCE)

        def work() -> None:
            with Lease(connection, "profile b.tflite", note=told):
                raise AssertionError("the board is in use")

        (error,) = told_in_a_thread(Interrupt(), work, told.has("waiting for"))
        first.finish()
    assert isinstance(error, KeyboardInterrupt)
