"""How long PyTorch's threads keep a core while they wait, as libgomp itself says it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.places import REPOSITORY
from toolchain.openmp import wait_briefly


def _spin_count(folder: Path, **given: str) -> str:
    """What is in force in a command that imports PyTorch."""
    inherited = {n: v for n, v in os.environ.items() if not n.startswith(("GOMP_", "OMP_"))}
    (folder / "mine.py").write_text("import torch\ndef network(): raise ValueError\n")
    done = subprocess.run(
        [sys.executable, REPOSITORY / "deploy.py", "convert", "--model", "mine:network"],
        cwd=folder, capture_output=True, text=True, check=False,
        env=inherited | given | {"OMP_DISPLAY_ENV": "VERBOSE"},
    )  # fmt: skip
    said = [line for line in done.stderr.splitlines() if "GOMP_SPINCOUNT" in line]
    return said[0].split("'")[1] if said else done.stderr


def test_threads_of_a_command_wait_briefly(tmp_path: Path) -> None:
    assert _spin_count(tmp_path) == "3000"


@pytest.mark.parametrize(
    ("given", "found"), [({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "passive"}, "0")]
)
def test_what_the_user_says_holds(tmp_path: Path, given: dict[str, str], found: str) -> None:
    assert _spin_count(tmp_path, **given) == found


def test_no_variable_of_the_user_is_changed() -> None:
    for mine in ({"OMP_WAIT_POLICY": "active"}, {"GOMP_SPINCOUNT": "infinite"}):
        environment = dict(mine)
        wait_briefly(environment)
        assert environment == mine
