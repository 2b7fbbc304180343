"""The plugin of pytest from a wheel, in a repository of its own, on an emulated board."""

from __future__ import annotations

import shutil
import site
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.bundles import write_masked_model
from support.patience import PATIENCE
from support.places import REPOSITORY
from support.plugin import Ran, run_pytest
from toolchain.board import emulator
from toolchain.build.bundle import Bundle
from toolchain.hardware.board_file import Board, load_board
from toolchain.progress import Silent

_TESTS = """
import numpy as np
import pytest
import toolchain

@pytest.fixture(scope="module")
def net(deployed_model):
    return deployed_model("net.tflite")

def test_it_is_the_wheel():
    assert "site-packages" in toolchain.__file__

def test_it_runs(net):
    (output,) = net.run(np.zeros((1, 16, 16, 3), np.float32))
    assert output.shape == (1, 16, 16, 8)

def test_it_is_right(net):
    assert net.verify(inputs=1).passed

def test_it_takes_what_it_took(net):
    (found,) = net.profile(estimate=False).measurements
    assert 1e4 < found.instructions < 1e8
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An environment with the wheel, and what else is installed here for it to import."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    source = folder / "source"
    for name in ("boards", "runtime_patch", "toolchain"):  # setuptools leaves files where it builds
        shutil.copytree(REPOSITORY / name, source / name)
    for name in ("LICENSE", "NOTICE", "README.md", "deploy.py", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, source)
    subprocess.run(
        [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source],
        check=True, timeout=PATIENCE,
    )  # fmt: skip
    (wheel,) = folder.glob("tileskip-*.whl")
    venv.create(folder / "venv")
    (packages,) = (folder / "venv/lib").glob("python*/site-packages")
    subprocess.run(
        [*pip, "install", "--no-deps", "--no-index", "--target", packages, wheel], check=True
    )
    (packages / "others.pth").write_text("\n".join(site.getsitepackages()))
    return str(folder / "venv/bin/python")


@pytest.fixture
def its_board(make_plugin_board: Board) -> Iterator[Board]:
    yield make_plugin_board
    assert emulator.status(make_plugin_board) is None, "the board was left running"


@pytest.fixture
def make_plugin_board(tmp_path: Path) -> Iterator[Board]:
    """A board of this test's own, which does not run yet."""
    path = tmp_path / f"plugin-{tmp_path.name}.toml"
    shutil.copyfile(REPOSITORY / "boards/qemu.toml", path)
    made = load_board(str(path))
    yield made
    emulator.stop(made, Silent())


def run(folder: Path, python: str, board: Board, bundle: Bundle, *words: str) -> Ran:
    write_masked_model(folder / "net.tflite")
    (folder / "test_net.py").write_text(_TESTS)
    return run_pytest(
        folder, f"--board={board.given}", f"--tileskip-bundle={bundle.path.absolute()}", *words,
        python=python,
    )  # fmt: skip


@pytest.mark.parametrize("words", [[], ["-n", "2"]], ids=["alone", "xdist"])
def test_a_board_is_booted_used_and_shut_down(
    words: list[str], tmp_path: Path, python: str, its_board: Board, qemu_bundle: Bundle
) -> None:
    folder = tmp_path / "repository"
    folder.mkdir()
    done = run(folder, python, its_board, qemu_bundle, *words)
    assert (done.code, done.count("passed")) == (0, 4), done.text


def test_a_board_that_ran_before_is_left_running(
    tmp_path: Path, python: str, make_plugin_board: Board, qemu_bundle: Bundle
) -> None:
    emulator.start(make_plugin_board, Silent())
    folder = tmp_path / "repository"
    folder.mkdir()
    done = run(folder, python, make_plugin_board, qemu_bundle, "-k", "wheel or runs")
    assert (done.code, done.count("passed")) == (0, 2), done.text
    assert emulator.status(make_plugin_board) is not None
