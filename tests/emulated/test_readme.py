"""Every command of the README, as it stands there and in its order."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from support.emulated_home import home_of_a_user_with_a_board
from support.pages import SHORT, commands
from support.places import REPOSITORY
from toolchain.board import emulator
from toolchain.demo import DemoResult, NetworkResult
from toolchain.dev.bench.models import model_file
from toolchain.dev.figures.measured import TILED, load_measured, tile_rows
from toolchain.hardware.board_file import Board
from toolchain.storage.cache import cache_dir

COMMANDS = commands((REPOSITORY / "README.md").read_text(encoding="utf-8"))
DEPLOY = [command for command in COMMANDS if command.startswith("deploy ")]


def test_the_readme_has_no_other_kind_of_command() -> None:
    assert DEPLOY
    assert [item for item in COMMANDS if item not in DEPLOY] == ["make demo", "make test"]


@pytest.mark.skipif(
    Path(sys.prefix) != REPOSITORY / ".venv", reason="not in the environment that make sets up"
)
@pytest.mark.usefixtures("users_board")
def test_make_demo_gives_the_figures_of_the_readme() -> None:
    done = subprocess.run(
        ["make", "demo"],  # noqa: S607 - as a user types it
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for cell in ("accuracy", "instructions", "ratio", "dense", "s20", "s30"):
        assert cell in done.stdout
    result = DemoResult.model_validate_json((REPOSITORY / "build/demo/demo.json").read_bytes())
    kept = load_measured(REPOSITORY / "docs/figures.json")
    assert [one.name for one in result.networks] == [one.name for one in kept.demo]
    for one, told in zip(result.networks, kept.demo, strict=True):
        # On a busy machine a median of 1.2 million was once nine instructions more.
        assert _repeating(one) == pytest.approx(_repeating(told), rel=1e-4)


def _repeating(network: NetworkResult) -> tuple[float | None, ...]:
    """What does not depend on the machine that emulates."""
    return (
        network.images, network.accuracy_board, network.accuracy_host, network.instructions,
        network.ratio, network.ratio_by_pixels, network.ratio_by_taps,
    )  # fmt: skip


def test_tiles_of_masked_networks_are_those_of_the_docs() -> None:
    models = {name: model_file(name) for name, _ in TILED}
    assert tile_rows(models) == load_measured(REPOSITORY / "docs/figures.json").tiles


def test_deploy_commands_work_in_their_order(users_board: Board, tmp_path: Path) -> None:
    home, folder = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    folder.mkdir()
    (folder / "toolchain").symlink_to(REPOSITORY / "toolchain")
    environment = os.environ | {"HOME": str(home), "TILESKIP_CACHE": str(cache_dir())}
    environment |= SHORT | {"PYTHONPATH": str(REPOSITORY)}
    for command in DEPLOY:
        program, *arguments = shlex.split(command)
        line = [sys.executable, str(REPOSITORY / f"{program}.py"), *arguments]
        done = subprocess.run(
            line, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        if arguments[:2] == ["emulator", "start"]:
            state = emulator.status(users_board)
            assert state is not None
            home_of_a_user_with_a_board(home, state)
    assert (folder / "profile.json").stat().st_size > 0
    assert (folder / "profile.png").stat().st_size > 0
