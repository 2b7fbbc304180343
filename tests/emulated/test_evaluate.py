"""``deploy evaluate`` on the emulated board."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.brightness import bright_images, write_classifier
from support.places import REPOSITORY
from toolchain.build.bundle import Bundle
from toolchain.hardware.board_file import Board


@pytest.fixture
def place(tmp_path: Path) -> Path:
    # The user's cache is used, which may have what an earlier run of this test has left.
    pixels, labels = bright_images(150, seed=secrets.randbelow(2**31))
    np.savez(tmp_path / "data.npz", x=pixels, y=labels)
    write_classifier(tmp_path / "float.tflite")
    write_classifier(tmp_path / "calibrated.tflite", calibrated=True)
    return tmp_path


def test_a_board_is_as_often_right_as_this_machine_and_goes_on_where_it_ended(
    board: Board, qemu_bundle: Bundle, place: Path
) -> None:
    def deploy(*words: str) -> dict[str, Any]:
        line = ["evaluate", "float.tflite", "calibrated.tflite", "--data", "data.npz", "--json"]
        where = ["--board", str(board.given), "--bundle", str(qemu_bundle.path.resolve())]
        done = subprocess.run(
            [sys.executable, REPOSITORY / "deploy.py", *line, *where, *words],
            cwd=place, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    first = deploy("--limit", "100", "--again")
    assert [(row["name"], row["where"]) for row in first["rows"]] == [
        ("float", "host"), ("float", "board"), ("calibrated", "host"), ("calibrated", "board"),
    ]  # fmt: skip
    assert all(row["top1"]["value"] == 1 for row in first["rows"])
    between = [pair for pair in first["pairs"] if pair["kind"] == "place"]
    assert len(between) == 2
    assert all(pair["agreement"]["value"] == 1 for pair in between)
    assert all(pair["relative_diff"] < 1e-2 for pair in between)
    more = deploy()
    assert [row["kept"] for row in more["rows"]] == [100] * 4
    assert {row["images"] for row in more["rows"]} == {150}
