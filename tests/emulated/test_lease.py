"""A lease on a board of BusyBox, whose lock, clock and processes are its own."""

from __future__ import annotations

import pytest

from support.leases import Told, Waiting
from support.patience import PATIENCE, await_that
from toolchain.board import lease
from toolchain.board.connect import connect
from toolchain.board.connection import Connection
from toolchain.board.lease import Lease
from toolchain.board.lease_holders import read_lease
from toolchain.errors import LeaseError
from toolchain.hardware.board_file import Board


def test_two_connections_have_the_board_one_after_the_other(
    board: Board, connection: Connection
) -> None:
    with connect(board) as other:
        told = Told()
        with Lease(connection, "profile a.tflite", note=told) as first:
            assert first.is_kept
            assert told.lines == []
            second = Waiting(other, "profile b.tflite")
            await_that("it waits", second.told.has(r"waiting for .*: profile a\.tflite, for \d+ s"))
            first.require()
        assert second.held.wait(PATIENCE)
        with Lease(connection, "profile c.tflite", force=True, note=told) as third:
            assert told.has(r"interrupting .*: profile b\.tflite")()
            third.require()
        second.finish()
    assert connection.run(["sh", "-c", "ls /dev/shm"]).text.split() == [
        "tileskip.lease",
        "tileskip.queue",
    ]


def test_who_gives_up_waiting_leaves_the_queue_and_keeps_the_connection(
    board: Board, connection: Connection
) -> None:
    with connect(board) as other:
        ann = Waiting(other, "verify a.tflite", shared=True)
        assert ann.held.wait(PATIENCE)
        for _ in range(5):
            with (
                pytest.raises(LeaseError, match="in use"),
                Lease(connection, "profile b.tflite", wait=0.0, note=Told()),
            ):
                pytest.fail("it measures beside another one")
            with Lease(connection, "run c.tflite", shared=True, note=Told()) as third:
                third.require()
            assert read_lease(connection).queue == ()
        ann.finish()


def test_a_board_without_places_for_locks_is_worked_on_all_the_same(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No program begins while its script ends: dropbear may cut the whole link then."""
    monkeypatch.setattr(lease, "PLACES", ("/nowhere", "/nowhere"))
    for _ in range(40):
        told = Told()
        with connect(board) as own, Lease(own, "profile a.tflite", note=told) as held:
            assert held._ended
            for _ in range(3):
                own.run(["true"])
        assert not held.is_kept
        assert told.has("no lease keeps others from using it")()
