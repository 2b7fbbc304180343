"""How long PyTorch's threads keep a core while they wait, as libgomp itself says it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from support.places import REPOSITORY
from toolchain.openmp import wait_briefly


def test_threads_of_a_command_wait_briefly(tmp_path: Path) -> None:
    inherited = {n: v for n, v in os.environ.items() if not n.startswith(("GOMP_", "OMP_"))}
    (tmp_path / "mine.py").write_text("import torch\ndef network(): raise ValueError\n")
    done = subprocess.run(
        [sys.executable, REPOSITORY / "deploy.py", "convert", "--model", "mine:network"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env=inherited | {"OMP_DISPLAY_ENV": "VERBOSE"},
    )  # fmt: skip
    said = [line for line in done.stderr.splitlines() if "GOMP_SPINCOUNT" in line]
    assert [line.split("'")[1] for line in said] == ["3000"], done.stderr


def test_no_variable_of_the_user_is_changed() -> None:
    for mine in ({"OMP_WAIT_POLICY": "active"}, {"GOMP_SPINCOUNT": "infinite"}):
        environment = dict(mine)
        wait_briefly(environment)
        assert environment == mine
