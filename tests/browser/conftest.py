from __future__ import annotations

import functools
from pathlib import Path

import pytest

from support import browsers
from support.browsers import Look


@pytest.fixture(scope="session")
def packages() -> Path:
    """What drives the browser, once for all tests."""
    return browsers.installed()


@pytest.fixture(scope="session")
def look(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Look:
    """Makes visits with the browser, and gives what it saw of each."""
    browsers.browser()
    folder = tmp_path_factory.mktemp("browser")
    return functools.partial(browsers.visits, packages=packages, folder=folder)
