"""Who has a board and who waits is read off the board; asking takes nothing from anybody."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from support.leases import Told, Waiting
from support.patience import PATIENCE, await_that
from toolchain.board import lease
from toolchain.board.connection import Connection
from toolchain.board.lease import Lease
from toolchain.board.lease_holders import LeaseState, Use, end_own, parse_state, read_lease
from toolchain.board.local import LocalConnection
from toolchain.board.ssh import SshConnection
from toolchain.errors import LeaseError

from .conftest import reached

pytestmark = pytest.mark.usefixtures("locks")


@pytest.fixture(params=["here", "openssh"])
def board(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Connection]:
    if request.param == "here":
        yield LocalConnection("host", tmp_path / "home")
        return
    server = reached(request.param, tmp_path)
    with server as there, SshConnection("pi", there.target) as opened:
        yield opened


def purposes(uses: tuple[Use, ...]) -> list[str]:
    return [use.words.rpartition(": ")[2] for use in uses]


def waits(board: Connection, count: int) -> bool:
    return len(read_lease(board).queue) == count


def test_a_board_that_nobody_uses_is_free(board: Connection) -> None:
    assert read_lease(board) == LeaseState((), ())


def test_who_has_it_and_who_waits_is_told_in_order(
    board: Connection, someone: Callable[..., Waiting]
) -> None:
    with Lease(board, "profile a.tflite", note=Told()) as first:
        for count, name in enumerate("bc", 1):
            waiting = someone(f"verify {name}", shared=True)
            await_that("it waits", waiting.told.has("waiting for"))
            await_that("it is seen", partial(waits, board, count))
        found = read_lease(board)
        assert purposes(found.holders) == ["profile a.tflite"]
        assert sorted(purposes(found.queue)) == ["verify b", "verify c"]
        assert found.queue[0].seconds >= found.queue[1].seconds
        (holder,) = found.holders
        assert (holder.shared, holder.own) == (False, True)
        assert all(use.shared for use in found.queue)
        first.require()


def test_several_who_share_it_are_all_told(
    board: Connection, someone: Callable[..., Waiting]
) -> None:
    for name in "ab":
        assert someone(f"run {name}", shared=True).held.wait(PATIENCE)
    found = read_lease(board)
    assert sorted(purposes(found.holders)) == ["run a", "run b"]
    assert found.queue == ()


def test_ones_own_are_ended_and_the_next_one_has_it(
    board: Connection, someone: Callable[..., Waiting]
) -> None:
    first = someone("profile a")
    assert first.held.wait(PATIENCE)
    second = someone("profile b")
    await_that("it waits", second.told.has("waiting for"))
    assert purposes(end_own(board)) == ["profile a"]

    def is_lost() -> bool:
        with suppress(LeaseError):
            first.lease.require()
            return False
        return True

    await_that("the first one learns of it", is_lost)
    assert second.held.wait(PATIENCE)
    second.lease.require()


def test_leases_of_other_places_are_not_told(
    board: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Lease(board, "profile a", note=Told()):
        folder = tmp_path / "elsewhere"
        folder.mkdir(mode=0o1777)
        monkeypatch.setattr(lease, "PLACES", (str(folder), str(folder)))
        assert read_lease(board) == LeaseState((), ())


def test_what_somebody_says_of_himself_is_harmless() -> None:
    lines = ["process ab 12 5 -x no me: \x1b[2Jx", "holder ab 12 3", "nonsense", "holder x 1 2"]
    (holder,) = parse_state(lines).holders
    assert holder == Use("me: \\x1b[2Jx", 3, shared=False, own=False)


def test_a_holder_whose_process_is_another_one_holds_nothing() -> None:
    assert parse_state(["process ab 12 5 -x no me", "holder ab 13 3"]) == LeaseState((), ())


def test_the_pattern_does_not_find_the_question_itself() -> None:
    from toolchain.board import lease_holders

    assert not re.search("tileskip[.]queue", lease_holders._SCRIPT)
