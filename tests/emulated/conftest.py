"""The bundle of the emulated board, and the board itself, booted once a session."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.bundles import CrossBuilt
from support.places import BoardMaker
from toolchain.board import emulator
from toolchain.board.connect import connect
from toolchain.board.connection import Connection
from toolchain.build.bundle import Bundle, build
from toolchain.build.qemu_user import emulator_command
from toolchain.hardware.board_file import Board, load_board
from toolchain.progress import Silent
from toolchain.resources import boards_dir
from toolchain.storage.cache import locked


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.emulated)


@pytest.fixture(scope="session")
def qemu_board() -> Board:
    """The emulated board, as it ships."""
    return load_board("qemu")


@pytest.fixture(scope="session")
def qemu_bundle(qemu_board: Board) -> Bundle:
    """The patched runtime for the emulated board."""
    with locked("tests-qemu-bundle"):  # pytest-xdist starts several sessions at once
        return build(qemu_board)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each test of a cross-built runtime for 64-bit boards and, with --armv7, for 32-bit ones."""
    if "cross_built" in metafunc.fixturenames:
        played = [("qemu", "cortex-a72")]
        if metafunc.config.getoption("--armv7"):
            played += [("rpi3-armv7", "cortex-a7"), ("rpi3-armv7", "cortex-a53")]
        names = [f"{name}-{core}" for name, core in played]
        metafunc.parametrize("cross_built", played, ids=names, indirect=True, scope="session")


@pytest.fixture(scope="session")
def cross_built(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> CrossBuilt:
    """The patched runtime for a board, and a core to run it as."""
    name, core = request.param
    board = load_board(name)
    with locked(f"tests-{name}-bundle"):
        bundle = build(board)
    root = tmp_path_factory.mktemp("root")
    return CrossBuilt(bundle, tuple(emulator_command(core, root, board.isa)))


@pytest.fixture
def users_board(qemu_board: Board) -> Iterator[Board]:
    """The emulated board that users start, for one test alone; it is shut down after it."""
    with lent(qemu_board):
        yield qemu_board


@contextmanager
def lent(board: Board) -> Iterator[None]:
    """The emulated board that users start; it is shut down at the end."""
    assert emulator.status(board) is None
    try:
        yield
    finally:
        emulator.stop(board, Silent())


@pytest.fixture(scope="session")
def make_board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BoardMaker]:
    """Emulated boards of names of their own, so that the user's board is left alone."""
    made: list[Board] = []
    folder = tmp_path_factory.mktemp("boards")

    def make(name: str) -> Board:
        path = folder / f"pytest-{os.getpid()}-{name}.toml"
        shutil.copyfile(boards_dir() / "qemu.toml", path)
        made.append(load_board(str(path)))
        return made[-1]

    yield make
    for board in made:
        emulator.stop(board, Silent())


@pytest.fixture(scope="session")
def board(make_board: BoardMaker) -> Board:
    """An emulated board that runs for the whole session."""
    made = make_board("main")
    emulator.start(made, Silent())
    return made


@pytest.fixture
def connection(board: Board) -> Iterator[Connection]:
    """A connection to :func:`board`."""
    with connect(board) as opened:
        yield opened
