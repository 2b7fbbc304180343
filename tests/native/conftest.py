"""The bundles of this machine, built once a session and taken from the cache after that."""

from __future__ import annotations

import pytest

from toolchain.board.config import load_board
from toolchain.build.bundle import Bundle, build


@pytest.fixture(scope="session")
def host_bundle() -> Bundle:
    """The patched runtime for this machine."""
    return build(load_board("host"))


@pytest.fixture(scope="session")
def host_stock_bundle() -> Bundle:
    """The unpatched runtime for this machine."""
    return build(load_board("host"), stock=True)
