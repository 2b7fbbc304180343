"""The functions of Python with the runtime that is built for this machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from support.bundles import write_masked_model
from toolchain import Board, profile
from toolchain.board import lease
from toolchain.build.bundle import Bundle


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else waits for this machine, and nothing stays of what it is given."""
    (tmp_path / "locks").mkdir(mode=0o1777)
    monkeypatch.setattr(lease, "PLACES", (str(tmp_path / "locks"),) * 2)
    monkeypatch.setenv("TILESKIP_CACHE", str(tmp_path / "cache"))


def test_models_are_measured_beside_each_other(host_bundle: Bundle, tmp_path: Path) -> None:
    dense = write_masked_model(tmp_path / "dense.tflite", sparsity=0)
    masked = write_masked_model(tmp_path / "masked.tflite")
    board = Board("host", bundle=host_bundle.path)
    done = profile([dense, masked], board=board, runs=3, max_wait=0.0, threads=1, per_op=True)
    assert [one.name for one in done.measurements] == ["dense", "masked"]
    assert all(one.operators for one in done.measurements)
    assert done.board.name == "host"
    with board.connect() as connected:
        assert connected.verify(dense, masked).models[1].passed
        (output,) = connected.run(masked, np.zeros((1, 16, 16, 3), np.float32))
    assert output.shape == (1, 16, 16, 8)
