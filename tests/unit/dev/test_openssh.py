"""OpenSSH's own server for measurements."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from support.patience import PATIENCE
from toolchain.dev import openssh


@pytest.mark.parametrize("name", ["plain", "a b", "100%u"])
def test_its_options_log_in_whatever_its_folder_is_called(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir(mode=0o700)
    with openssh.serving(folder) as server:
        words = ["ssh", *server.options(), "-p", str(server.port), f"{server.user}@127.0.0.1"]
        done = subprocess.run(
            [*words, "echo $HOME"], check=False, capture_output=True, text=True, timeout=PATIENCE
        )
    assert (done.stdout, done.stderr) == (f"{folder}\n", "")
