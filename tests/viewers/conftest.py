"""A run that is measured on this machine and saved, and the programs that open what is saved."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.places import REPOSITORY
from support.viewers import NETWORKS, Script
from toolchain.board.invoke import load_bundle
from toolchain.errors import BundleError
from toolchain.hardware.board_file import load_board
from toolchain.profile.document import Profile, load_profile

_PYTHON = REPOSITORY / os.environ.get("VENV_VIEWERS", ".venv-viewers") / "bin/python"
_HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def script() -> Script:
    """The environment of the viewers."""
    if not _PYTHON.is_file():
        pytest.skip(f"{_PYTHON} is not there: make test-viewers installs it")

    def run(name: str, *arguments: object, given: object = None) -> Any:
        done = subprocess.run(
            [_PYTHON, _HERE / name, *map(str, arguments)],
            input=json.dumps(given), capture_output=True, text=True, check=False, cwd=_HERE,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.fixture(scope="session")
def node() -> str:
    """Node, which runs WebAssembly."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("node is not installed: apt-get install nodejs")
    return found


def deploy(*arguments: object) -> None:
    done = subprocess.run(
        [sys.executable, REPOSITORY / "deploy.py", *map(str, arguments)],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two networks of the zoo, one of them masked, as files."""
    folder = tmp_path_factory.mktemp("models")
    for name in NETWORKS:
        checkpoint = REPOSITORY / f"toolchain/zoo/checkpoints/fashion_resnet_{name}.safetensors"
        deploy("convert", checkpoint, "--output", folder / f"{name}.tflite")
    return {name: folder / f"{name}.tflite" for name in NETWORKS}


@pytest.fixture(scope="session")
def saved(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``deploy profile --per-op --save`` leaves."""
    try:
        load_bundle(load_board("host"))
    except BundleError as error:
        pytest.skip(f"{error.what}; {error.hint}")
    folder = tmp_path_factory.mktemp("saved") / "run"
    deploy(
        "profile", *models.values(), "--board", "host", "--per-op", "--runs", 40, "--save", folder,
        "--no-history",
    )  # fmt: skip
    return folder


@pytest.fixture(scope="session")
def profile(saved: Path) -> Profile:
    """The same as a document."""
    return load_profile(saved / "profile.json")
