"""This machine as a board, with a runtime that is written in Python."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.bundles import write_bundle
from support.python_runner import python_runner
from toolchain.board import lease


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of this test's own, in which it runs; the board's files and locks are there too."""
    folder = tmp_path / "here"
    folder.mkdir()
    (tmp_path / "locks").mkdir(mode=0o1777)
    monkeypatch.setattr(lease, "PLACES", (str(tmp_path / "locks"),) * 2)
    monkeypatch.setenv("TILESKIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def bundle(place: Path) -> Path:
    """A runtime that computes as the stock interpreter does."""
    return write_bundle(place / "build/host", python_runner()).path
