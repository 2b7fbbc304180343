"""The environment in which labgrid is."""

from __future__ import annotations

import os

import pytest

from support.places import REPOSITORY

_PYTHON = REPOSITORY / os.environ.get("VENV_LABGRID", ".venv-labgrid") / "bin/python"


@pytest.fixture(scope="session")
def labgrids_python() -> str:
    """Its Python."""
    if not _PYTHON.is_file():
        pytest.skip(f"{_PYTHON} is not there: make test-labgrid installs it")
    return str(_PYTHON)
