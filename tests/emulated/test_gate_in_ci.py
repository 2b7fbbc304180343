"""``how-to/gate.md``: its commands, and the jobs that it shows, step by step.

What a job installs is there already; ``unit/test_ci_jobs.py`` holds that part to the README. The
cache is this machine's, so that nothing is compiled that was.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.ci_jobs import Ended, installed, run_github, run_gitlab
from support.pages import files, run_page
from support.places import REPOSITORY
from toolchain.board import emulator
from toolchain.hardware.board_file import Board
from toolchain.profile.document import load_profile
from toolchain.storage.cache import cache_dir

from .conftest import lent

PAGE = "how-to/gate.md"
SHOWN = files(PAGE)
CHECKPOINTS = REPOSITORY / "toolchain/zoo/checkpoints"


@pytest.fixture(scope="module")
def users_board_for_all(qemu_board: Board) -> Iterator[Board]:
    """The emulated board that users start, for the tests of this file; shut down after them."""
    with lent(qemu_board):
        yield qemu_board


@dataclass(frozen=True)
class System:
    """A system whose job the page shows."""

    pipeline: str
    """The file."""
    run: Callable[..., Ended]
    installs: tuple[str, ...]
    """The parts of the job that are left out."""


SYSTEMS = {
    "github": System(".github/workflows/tileskip.yml", run_github, ("packages", "install")),
    "gitlab": System(".gitlab-ci.yml", run_gitlab, ("before_script",)),
}


@dataclass(frozen=True)
class Runs:
    """A team's first three runs."""

    folder: Path
    first: Ended
    """Without a baseline."""
    same: Ended
    """With the profile of the first run as the baseline, and the same network."""
    slower: Ended
    """With the dense network in the place of the masked one."""


@pytest.fixture(scope="module", params=SYSTEMS)
def runs(
    request: pytest.FixtureRequest,
    users_board_for_all: Board,
    tmp_path_factory: pytest.TempPathFactory,
) -> Runs:
    del users_board_for_all
    system, root = SYSTEMS[request.param], tmp_path_factory.mktemp(request.param)
    folder = root / "repository"
    folder.mkdir()
    places = {"TILESKIP_HOME": str(installed(root / "tool")), "TILESKIP_CACHE": str(cache_dir())}
    (folder / "tileskip-gate.toml").write_text(SHOWN["tileskip-gate.toml"])

    def run(network: str) -> Ended:
        shutil.copyfile(CHECKPOINTS / f"fashion_resnet_{network}.safetensors",
                        folder / "net.safetensors")  # fmt: skip
        return system.run(SHOWN[system.pipeline], folder, places, without=system.installs)

    first = run("s20")
    (folder / "profile.json").replace(folder / "baseline.json")
    return Runs(folder, first, run("s20"), run("dense"))


def test_the_first_run_fails_and_tells_how_to_make_a_baseline(runs: Runs) -> None:
    assert runs.first.exit_code == 3, runs.first.log
    assert "There is no baseline yet" in runs.first.told
    assert "profile.json as baseline.json" in runs.first.told
    assert "profile.json" in runs.first.uploaded
    (measured,) = load_profile(runs.folder / "baseline.json").measurements
    assert measured.instructions


def test_a_network_that_is_as_it_was_passes(runs: Runs) -> None:
    assert runs.same.exit_code == 0, runs.same.log
    assert "**0 of 5 limited figures are past their limit.**" in runs.same.told
    assert "| net | instructions |" in runs.same.told
    assert "fails" not in runs.same.told
    assert "profile.json" in runs.same.uploaded


def test_a_slower_network_ends_with_the_exit_code_of_the_gate(runs: Runs) -> None:
    assert runs.slower.exit_code == 16, runs.slower.log
    assert "net: instructions: " in runs.slower.log
    assert "past 'instructions > +0.5%'" in runs.slower.log


def test_what_is_past_its_limit_is_told_although_the_gate_fails(runs: Runs) -> None:
    told = runs.slower.told.splitlines()
    for limit in ("instructions &gt; +0.5%", "estimate &gt; +2%"):
        (row,) = (line for line in told if line.startswith(f"| {limit} |"))
        assert row.endswith("| fails |")
    assert "limited figures are past their limit.**" in told[0]
    assert not told[0].startswith("**0 of")
    assert "| 🔴 worse |" in runs.slower.told
    assert "profile.json" in runs.slower.uploaded


def test_the_board_is_shut_down_by_the_job(runs: Runs, qemu_board: Board) -> None:
    assert runs.slower.exit_code == 16
    assert emulator.status(qemu_board) is None


@pytest.mark.usefixtures("users_board_for_all")
def test_every_command_of_the_page_runs(tmp_path: Path) -> None:
    run_page(PAGE, tmp_path, {})
    assert (tmp_path / "baseline.json").stat().st_size > 0
