from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("tileskip")
    group.addoption(
        "--board-host",
        metavar="USER@ADDRESS",
        help="run tests/hardware on this real board, reached over SSH",
    )
    group.addoption("--board", default="rpi4", help="what that board is (default: rpi4)")
