"""Other runtimes beside ours, on a small model: they take turns, and compute the same."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from support.bundles import write_masked_model
from toolchain.build.bundle import Bundle
from toolchain.dev.bench.peers import LITERT, OURS, TFLITE, Contestant, race
from toolchain.errors import BoardError

_ROOT = Path(__file__).resolve().parents[2]
_TFLITE_PYTHON = _ROOT / os.environ.get("VENV_TFLITE", ".venv-tflite") / "bin/python"
_HERE = Path(sys.executable)


def test_runtimes_take_turns_and_agree(host_bundle: Bundle, tmp_path: Path) -> None:
    dense, masked = (
        write_masked_model(tmp_path / f"{s}.tflite", sparsity=s, size=96, channels=32)
        for s in (0, 0.8)
    )
    found = race(
        [
            Contestant(OURS, 0.0, _HERE, dense, host_bundle.delegate),
            Contestant(OURS, 0.8, _HERE, masked, host_bundle.delegate),
            Contestant(TFLITE, 0.0, _TFLITE_PYTHON, dense),
            Contestant(LITERT, 0.0, _HERE, dense),
        ],
        threads=1,
        rounds=9,
    )
    assert [one.us.samples for one in found] == [9] * 4
    assert [one.version for one in found[2:]] == ["2.14.0", "2.3.0"]
    assert found[0].over_ours is None
    assert found[0].difference is None
    assert found[1].over_ours is not None
    assert found[1].over_ours.median < 0.6
    for one in found[2:]:
        assert one.difference is not None
        assert one.difference < 1e-5


def test_a_runtime_that_fails_is_told_with_its_words(host_bundle: Bundle, tmp_path: Path) -> None:
    dense = write_masked_model(tmp_path / "m.tflite", sparsity=0)
    bad = tmp_path / "bad.tflite"
    bad.write_bytes(b"no model")
    ours = Contestant(OURS, 0.0, _HERE, dense, host_bundle.delegate)
    with pytest.raises(BoardError, match=r"ai-edge-litert with bad\.tflite failed: ValueError"):
        race([ours, Contestant(LITERT, 0.0, _HERE, bad)], threads=1, rounds=1)
