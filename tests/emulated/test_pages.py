"""Pages that need a board, on the emulated one: every command on them runs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from support.emulated_home import home_of_a_user_with_a_board, users_ssh
from support.fresh_pi import PASSWORD, USER, home_of_a_newcomer, make_user
from support.pages import TUTORIAL, files, run_page
from support.places import REPOSITORY, BoardMaker
from support.plugin import plugin_words
from toolchain.board import emulator
from toolchain.board.connect import connect
from toolchain.build.bundle import build
from toolchain.hardware.board_file import Board, boards_named, load_board
from toolchain.profile.estimate_document import Estimate
from toolchain.profile.gain_document import Gain
from toolchain.progress import Silent
from toolchain.storage.cache import cache_dir

CHECKPOINTS = REPOSITORY / "toolchain/zoo/checkpoints"


@pytest.mark.usefixtures("users_board")
def test_the_tutorial_leads_to_a_profile(tmp_path: Path) -> None:
    run_page(TUTORIAL, tmp_path, {})
    assert (tmp_path / "profile.json").stat().st_size > 0
    assert (tmp_path / "profile.png").stat().st_size > 0


def test_a_fresh_board_is_reached_and_measured_by_the_page_alone(
    make_board: BoardMaker, tmp_path: Path
) -> None:
    """``how-to/raspberry-pi.md``, word for word: who follows it has a new key and no record."""
    page = "how-to/raspberry-pi.md"
    path = Path(make_board("pi").given)
    path.write_text(f'{path.read_text()}server = "openssh"\n')
    described = load_board(str(path))
    state = emulator.start(described, Silent())
    with connect(described) as root:
        make_user(root)
        folder = tmp_path / "work"
        folder.mkdir()
        home = tmp_path / "home"
        programs = home_of_a_newcomer(home, files(page)[".ssh/config"], state.port)
        environment = {
            "HOME": str(home),
            "PATH": f"{programs}:{os.environ['PATH']}",
            "TILESKIP_CACHE": str(cache_dir()),
            "SSH_AUTH_SOCK": "",
        }
        run_page(page, folder, environment, answers={"? [y/N]": "y", "password:": PASSWORD})
        assert (folder / "outputs/output0.npy").stat().st_size > 0
        there = root.run(["find", f"/home/{USER}/tileskip", "-type", "f", "-user", USER]).text
        assert "dense.tflite" in there
        assert "s20.tflite" in there
        assert not root.exists("tileskip")
    # What the page says to do if something fails, where nothing has.
    words = [sys.executable, str(REPOSITORY / "deploy.py"), "doctor", "--board", "rpi4"]
    done = subprocess.run(
        [*words, "--host", "mypi"], cwd=folder, env=os.environ | environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no faults" in done.stdout


def test_many_boards_are_worked_on_at_once(tmp_path: Path) -> None:
    """``how-to/many-boards.md``, with the two boards of the page."""
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.setenv("TILESKIP_BOARDS", str(tmp_path / "boards.toml"))
        (tmp_path / "boards.toml").write_text(files("how-to/many-boards.md")["boards.toml"])
        for board in boards_named(["all"]):
            assert emulator.status(board) is None
            stack.callback(emulator.stop, board, Silent())
        run_page("how-to/many-boards.md", tmp_path, {})
    first, second = json.loads((tmp_path / "lab-verify.json").read_text())["boards"]
    assert first["models"][0]["passed"]
    assert second["error"]["exit_code"] == 12


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


@pytest.mark.usefixtures("users_board")
def test_a_model_is_tested_by_pytest(tmp_path: Path) -> None:
    page, words = "how-to/test-on-a-board.md", " ".join(plugin_words())
    run_page(page, tmp_path, {"PYTEST_ADDOPTS": words})
    (tmp_path / "build/qemu/manifest.json").read_bytes()


@pytest.mark.usefixtures("users_board")
def test_the_program_of_the_page_on_python_runs(tmp_path: Path, qemu_board: Board) -> None:
    """``reference/python.md``: what it shows first."""
    shutil.copy(CHECKPOINTS / "fashion_resnet_s20.safetensors", tmp_path / "net.safetensors")
    (tmp_path / "try_it.py").write_text(files("reference/python.md")["try_it.py"])
    build(qemu_board, out=tmp_path / "build/qemu")
    emulator.start(qemu_board, Silent())
    done = subprocess.run(
        [sys.executable, "try_it.py"], cwd=tmp_path, capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *_, last = done.stdout.splitlines()
    assert re.fullmatch(r"[0-9] [0-9.]+", last)
