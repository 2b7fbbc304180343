from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.patience import PATIENCE
from support.played_board import PlayedBoard
from toolchain.board import ssh
from toolchain.doctor.patient import Patient
from toolchain.hardware.board_file import load_board


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder and a home of the test's own, both empty; neither keys nor an agent."""
    for name in ("work", "user"):
        (tmp_path / name).mkdir(mode=0o755)
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setenv("TILESKIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.setattr(ssh, "CONNECT_TIMEOUT_S", PATIENCE)
    return tmp_path


@pytest.fixture
def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PlayedBoard:
    """A Raspberry Pi 4 that is well."""
    return PlayedBoard(tmp_path / "board", monkeypatch)


@pytest.fixture
def patient(played: PlayedBoard) -> Iterator[Patient]:
    """The same, as checks look at it."""
    with played:
        yield Patient(played, load_board("rpi4"), None, ("ssh", "pi@raspberrypi"), emulated=False)
