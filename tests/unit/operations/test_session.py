"""A board that is worked on: when it is connected to, what it is taken for."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.bundles import write_bundle
from support.leases import Told
from toolchain.board import lease
from toolchain.board.local import LocalConnection
from toolchain.errors import BoardError, BundleError, ConnectionFailed, LeaseError
from toolchain.hardware.board_file import load_board
from toolchain.operations.session import Access, BoardSession, Purpose
from toolchain.progress import Told as ToldProgress


class Counted(LocalConnection):
    """A connection to this machine; how many were opened and closed is noted."""

    opened: int
    closed: int

    def __exit__(self, *error: object) -> None:
        type(self).closed += 1
        super().__exit__(*error)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def connections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type[Counted]:
    """The board is a folder here, and its lease's place another."""
    (tmp_path / "locks").mkdir(mode=0o1777)
    monkeypatch.setattr(lease, "PLACES", (str(tmp_path / "locks"),) * 2)
    Counted.opened = Counted.closed = 0

    def connect(*_arguments: object, **_options: object) -> Counted:
        Counted.opened += 1
        return Counted("the board", tmp_path / "home")

    monkeypatch.setattr("toolchain.operations.session.connect", connect)
    return Counted


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "bundle", b"#!/bin/sh\nexit 0\n").path


def session(bundle: Path, told: Told | None = None, **access: object) -> BoardSession:
    progress = None if told is None else ToldProgress(told)
    return BoardSession(load_board("host"), Access(bundle=bundle, **access), progress)  # type: ignore[arg-type]


def test_nothing_is_connected_to_before_it_is_used(
    bundle: Path, connections: type[Counted]
) -> None:
    made = session(bundle)
    assert connections.opened == 0
    with made.runner() as runner:
        assert [item.local.name for item in runner.pushed] == [
            "tileskip-run",
            "libtileskip_delegate.so",
        ]
        assert connections.opened == 1
        assert connections.closed == 0
    assert connections.closed == 1


def test_a_session_that_is_entered_has_one_connection_for_all_uses(
    bundle: Path, connections: type[Counted]
) -> None:
    with session(bundle) as entered:
        for _ in range(2):
            with entered.runner(Purpose("test")) as runner:
                assert runner.bundle is entered.bundle
        assert (connections.opened, connections.closed) == (1, 0)
    assert (connections.opened, connections.closed) == (1, 1)


def test_a_session_is_closed_where_its_use_fails(bundle: Path, connections: type[Counted]) -> None:
    with pytest.raises(BoardError, match="it broke"), session(bundle).runner():
        raise BoardError("it broke")
    assert connections.closed == 1


def test_a_board_has_the_name_of_its_connection_once_the_runtime_is_there(bundle: Path) -> None:
    made = session(bundle)
    assert made.name == "host"
    with made.runner():
        assert made.name == "the board"
    assert made.name == "the board"


def test_a_bundle_that_is_not_there_is_told_before_a_connection_is_made(
    tmp_path: Path, connections: type[Counted]
) -> None:
    with pytest.raises(BundleError, match="there is no such folder"):
        session(tmp_path / "none").__enter__()
    assert connections.opened == 0


def test_an_address_that_is_none_is_told_before_all_else(tmp_path: Path) -> None:
    with pytest.raises(ConnectionFailed, match="is no address of a board"):
        session(tmp_path / "none", host="-x").__enter__()


def test_others_do_not_measure_while_a_board_is_taken_and_are_told_why(bundle: Path) -> None:
    told = Told()
    with session(bundle).runner(Purpose.of("profile", [Path("a.tflite"), Path("b.tflite")])):
        with pytest.raises(LeaseError, match=r"profile a\.tflite and 1 more"):
            take(session(bundle, told, queue=0.0), Purpose("another"))
        assert told.has("waiting for .*profile a.tflite and 1 more")()
        take(session(bundle), None)


def test_a_board_is_shared_by_those_who_do_not_measure(bundle: Path) -> None:
    shared = Purpose.of("run", [Path("a.tflite")], shared=True)
    with session(bundle).runner(shared):
        take(session(bundle, queue=0.0), shared)
        with pytest.raises(LeaseError):
            take(session(bundle, queue=0.0), Purpose("another"))


def take(other: BoardSession, purpose: Purpose | None) -> None:
    with other.runner(purpose):
        pass
