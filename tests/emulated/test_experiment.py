"""Trainings of the experiment, on a few of the real images (which are fetched, hence here)."""

from __future__ import annotations

from pathlib import Path

from toolchain.dev.experiment.runs import Case, run_all
from toolchain.sparsity.checkpoint import load_checkpoint, load_metadata
from toolchain.sparsity.masked_conv import MASK_SUFFIX

CASES = [Case(1), Case(1, "lattice", 0.2), Case(1, "pooled", 0.3, 0.25, fine_tuned=True)]


def test_each_training_is_done_once_and_keeps_its_network(tmp_path: Path) -> None:
    first = run_all(CASES, tmp_path, epochs=1, limit=512, jobs=2)
    dense, lattice, both = first
    assert both.macs_kept < lattice.macs_kept < dense.macs_kept == 4_444_352
    assert both.parameters < dense.parameters == lattice.parameters
    assert all(0.05 < one.accuracy < 1 for one in first)
    files = [tmp_path / f"{case.key}.safetensors" for case in CASES]
    masks = [sum(name.endswith(MASK_SUFFIX) for name in load_checkpoint(f)) for f in files]
    assert masks == [0, 7, 7]
    assert "pruned" in load_metadata(files[2])

    before = [path.stat().st_mtime_ns for path in files]
    assert run_all(CASES, tmp_path, epochs=1, limit=512, jobs=2) == first
    assert [path.stat().st_mtime_ns for path in files] == before
    (other,) = run_all(CASES[:1], tmp_path, epochs=1, limit=256)
    assert other.limit == 256
    assert files[0].stat().st_mtime_ns > before[0]
