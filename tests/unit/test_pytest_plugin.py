"""The plugin in repositories of users; the emulated board is in ``emulated/test_plugin.py``."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

import pytest

from support.bundles import write_bundle, write_masked_model
from support.places import REPOSITORY
from support.plugin import PLUGIN, Ran, run_pytest
from support.python_runner import python_runner

_TESTS = """
import sys
import numpy as np

LOADED = {"torch", "numpy", "pydantic", "paramiko"} & set(sys.modules)

def test_nothing_was_imported():
    assert LOADED <= {"numpy"}
"""
_ON_BOARD = """
import numpy as np
import pytest

def test_it_runs(deployed_model):
    (output,) = deployed_model("net.tflite").run(np.zeros((2, 4, 4, 3), np.float32))
    assert output.shape == (2, 4, 4, 2)

def test_it_is_right(deployed_model):
    assert deployed_model("net.tflite").verify(inputs=1, seed=3).seed == 3

def test_the_board_is_the_same_for_all(board, deployed_model):
    model = deployed_model("net.tflite")
    assert model.board is board
    assert repr(model) == "DeployedModel('net.tflite')"
    assert "torch" not in __import__("sys").modules
"""


_OWN_LOCKS = """
from pathlib import Path
from toolchain.board import lease

lease.PLACES = (str(Path("locks").absolute()),) * 2
"""
"""Whoever else uses this machine as a board is not waited for."""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A user's, whose board is this machine."""
    write_masked_model(tmp_path / "net.tflite", size=4, channels=2)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_net.py").write_text(_ON_BOARD)
    return tmp_path


def on_this_machine(folder: Path, *words: str, fault: str = "pass") -> Ran:
    write_bundle(folder / "build/host", python_runner(fault))
    (folder / "locks").mkdir(mode=0o1777)
    (folder / "own_locks.py").write_text(_OWN_LOCKS)
    return run_pytest(folder, "-p", "own_locks", *words, TILESKIP_CACHE=str(folder / "cache"))


def test_the_plugin_is_installed_under_its_name() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"tileskip": PLUGIN}


def test_models_are_tested_on_a_board(repository: Path) -> None:
    done = on_this_machine(repository, "--board=host")
    assert (done.code, done.count("passed")) == (0, 3), done.text


def test_a_board_that_computes_wrong_fails_the_test_that_verifies(repository: Path) -> None:
    done = on_this_machine(repository, "--board=host", fault="outputs[0] = outputs[0] + 1")
    assert done.code == 1
    assert (done.count("passed"), done.count("failed")) == (2, 1), done.text
    assert "the board does not compute what this machine does" in done.text


def test_a_run_of_pytest_that_uses_no_board_imports_nothing_of_ours(repository: Path) -> None:
    (repository / "test_net.py").write_text(_TESTS)
    done = run_pytest(repository)
    assert (done.code, done.count("passed")) == (0, 1), done.text


def test_the_options_are_told(repository: Path) -> None:
    text = run_pytest(repository, "--help").text
    assert "models on boards (Tileskip):" in text
    for option in ("--tileskip-board=BOARD", "--board=BOARD", "--tileskip-host=USER@ADDRESS"):
        assert option in text


@pytest.mark.parametrize("kind", ['default="mine"', 'action="store_true"', 'choices=["a", "b"]'])
def test_an_option_of_the_users_with_our_name_stays_theirs(repository: Path, kind: str) -> None:
    (repository / "conftest.py").write_text(
        f'def pytest_addoption(parser):\n    parser.addoption("--board", {kind})\n'
    )
    (repository / "test_net.py").write_text(
        'OWN = ("mine", False, None)\n\ndef test_own(pytestconfig):\n'
        '    assert pytestconfig.getoption("--board") in OWN\n'
        '    assert pytestconfig.getoption("--tileskip-board") == "host"\n'
    )
    done = run_pytest(repository, "--tileskip-board=host")
    assert (done.code, done.count("passed")) == (0, 1), done.text


def test_fixtures_of_the_users_go_before_ours(repository: Path) -> None:
    (repository / "conftest.py").write_text(
        'import pytest\n\n@pytest.fixture\ndef board():\n    return "theirs"\n'
    )
    (repository / "test_net.py").write_text('def test_it(board):\n    assert board == "theirs"\n')
    done = run_pytest(repository)
    assert (done.code, done.count("passed")) == (0, 1), done.text


def test_without_qemu_tests_are_skipped_and_the_reason_is_told(repository: Path) -> None:
    done = run_pytest(repository, PATH="/nowhere", TILESKIP_CACHE=str(repository / "cache"))
    assert (done.code, done.count("skipped")) == (0, 3), done.text
    assert "qemu-system-aarch64 is not installed" in done.text
    assert "apt-get install" in done.text


@pytest.mark.parametrize("option", ["--board=qemu", "--tileskip-board=qemu"])
def test_without_qemu_a_run_that_names_the_board_fails(repository: Path, option: str) -> None:
    done = run_pytest(repository, option, PATH="/nowhere", TILESKIP_CACHE=str(repository / "cache"))
    assert (done.code, done.count("error")) == (1, 3), done.text
    assert "qemu-system-aarch64 is not installed" in done.text


def test_a_board_that_is_not_there_is_told_without_a_traceback(repository: Path) -> None:
    done = run_pytest(repository, "--board=rpi44")
    assert done.code == 1
    assert "there is no board called 'rpi44'" in done.text
    assert "hint: " in done.text
    assert "Traceback" not in done.text
    assert "toolchain/pytest_plugin.py" not in done.text


def test_a_folder_that_is_no_runtime_is_told(repository: Path) -> None:
    done = run_pytest(repository, "--board=host", "--tileskip-bundle=none")
    assert done.code == 1
    assert "none is no bundle" in done.text


def test_the_run_of_this_project_has_its_own_options(tmp_path: Path) -> None:
    """Its conftest has a ``--board``, which is of the real board."""
    shutil.copy(REPOSITORY / "tests/conftest.py", tmp_path / "conftest.py")
    (tmp_path / "pytest.ini").write_text(f"[pytest]\npythonpath = {REPOSITORY / 'tests'}\n")
    (tmp_path / "test_it.py").write_text(
        'def test_it(pytestconfig):\n    assert pytestconfig.getoption("--board") == "rpi4"\n'
        '    assert pytestconfig.getoption("tileskip_board") is None\n'
    )
    done = run_pytest(tmp_path)
    assert (done.code, done.count("passed")) == (0, 1), done.text
