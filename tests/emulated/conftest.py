"""The bundle of the emulated board, and the board itself, booted once a session."""

from __future__ import annotations

import pytest

from toolchain.board.config import Board, load_board
from toolchain.build.bundle import Bundle, build
from toolchain.cache import locked


@pytest.fixture(scope="session")
def qemu_board() -> Board:
    """The emulated board."""
    return load_board("qemu")


@pytest.fixture(scope="session")
def qemu_bundle(qemu_board: Board) -> Bundle:
    """The patched runtime for the emulated board."""
    with locked("tests-qemu-bundle"):  # pytest-xdist starts several sessions at once
        return build(qemu_board)
