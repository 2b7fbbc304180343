"""On a real board: ``pytest tests/hardware --board-host pi@raspberrypi [--board rpi4]``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.bundles import write_masked_model
from toolchain.board.connect import connect
from toolchain.board.connection import Connection
from toolchain.board.invoke import BoardRunner, Settings
from toolchain.board.verify import verify
from toolchain.build import bundle
from toolchain.hardware.board_file import Board, load_board
from toolchain.profile.facts import read_facts
from toolchain.profile.measure import Session
from toolchain.progress import Silent

pytestmark = pytest.mark.hardware


@pytest.fixture(scope="module")
def host(request: pytest.FixtureRequest) -> str:
    named = request.config.getoption("--board-host")
    if not named:
        pytest.skip("no real board: name one with --board-host user@address")
    return str(named)


@pytest.fixture(scope="module")
def board(request: pytest.FixtureRequest, host: str) -> Board:  # noqa: ARG001
    return load_board(request.config.getoption("--board"))


@pytest.fixture(scope="module")
def connection(board: Board, host: str) -> Iterator[Connection]:
    with connect(board, host) as opened:
        yield opened


@pytest.fixture(scope="module")
def runner(connection: Connection, board: Board) -> BoardRunner:
    return BoardRunner(connection, board, bundle.build(board), Silent())


def test_it_is_the_board_that_was_named(connection: Connection, board: Board) -> None:
    facts = read_facts(connection)
    assert not facts.emulated
    assert board.cpu in facts.cores


@pytest.mark.parametrize("sparsity", [0.0, 0.3])
def test_its_outputs_are_the_hosts(runner: BoardRunner, tmp_path: Path, sparsity: float) -> None:
    verify(runner, write_masked_model(tmp_path / "m.tflite", sparsity=sparsity)).require()


def test_masks_make_it_faster(
    connection: Connection, board: Board, runner: BoardRunner, tmp_path: Path
) -> None:
    models = [
        write_masked_model(tmp_path / f"{name}.tflite", sparsity=sparsity, size=64, channels=64)
        for name, sparsity in (("dense", 0.0), ("masked", 0.3))
    ]
    session = Session(connection, board, runner, Silent(), Settings.measuring(board))
    session.measure(models)
    session.failures.require()
    measured = session.profile()
    assert measured is not None
    interval = measured.ratio_interval(measured.measurements[1])
    assert interval is not None
    assert interval.low > 1.1
