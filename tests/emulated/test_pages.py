"""Pages that need a board, on the emulated one: every command on them runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support.emulated_home import home_of_a_user_with_a_board, users_ssh
from support.pages import TUTORIAL, run_page
from toolchain.board import emulator
from toolchain.hardware.board_file import Board
from toolchain.profile.estimate_document import Estimate
from toolchain.profile.gain_document import Gain
from toolchain.progress import Silent
from toolchain.storage.cache import cache_dir


@pytest.mark.usefixtures("users_board")
def test_the_tutorial_leads_to_a_profile(tmp_path: Path) -> None:
    run_page(TUTORIAL, tmp_path, {})
    assert (tmp_path / "profile.json").stat().st_size > 0
    assert (tmp_path / "profile.png").stat().st_size > 0


def test_a_board_that_ssh_knows_is_reached_by_its_name(users_board: Board, tmp_path: Path) -> None:
    """``how-to/raspberry-pi.md``, with the emulated board in the place of the Raspberry Pi."""
    home, folder = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    folder.mkdir()
    home_of_a_user_with_a_board(home, emulator.start(users_board, Silent()))
    environment = {"HOME": str(home), "TILESKIP_CACHE": str(cache_dir())}
    run_page("how-to/raspberry-pi.md", folder, environment)
    assert (folder / "outputs/output0.npy").stat().st_size > 0


def test_a_board_gets_a_name(users_board: Board, tmp_path: Path) -> None:
    """``how-to/add-a-board.md``, likewise."""
    home, folder = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    folder.mkdir()
    home_of_a_user_with_a_board(home, emulator.start(users_board, Silent()))
    environment = {
        "HOME": str(home),
        "PATH": f"{users_ssh(home)}:{os.environ['PATH']}",
        "TILESKIP_CACHE": str(cache_dir()),
        "TILESKIP_BOARDS": str(tmp_path / "boards.toml"),
    }
    run_page("how-to/add-a-board.md", folder, environment)
    assert (folder / "build/mine/manifest.json").is_file()


def test_times_are_estimated_without_a_board(tmp_path: Path) -> None:
    run_page("how-to/estimate.md", tmp_path, {})
    found = Estimate.model_validate_json((tmp_path / "estimate.json").read_bytes())
    assert len(found.models) == 2


def test_what_masks_would_gain_is_told(tmp_path: Path) -> None:
    run_page("how-to/what-would-it-gain.md", tmp_path, {})
    found = Gain.model_validate_json((tmp_path / "gain.json").read_bytes())
    assert [row.sparsity for row in found.rows] == [0, 0.1, 0.2, 0.3]
    assert (tmp_path / "gain.png").stat().st_size > 0
