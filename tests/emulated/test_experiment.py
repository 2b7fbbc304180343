"""Trainings of the experiment, on a few of the real images (which are fetched, hence here)."""

from __future__ import annotations

from pathlib import Path

from toolchain.dev.experiment.runs import experiment, run_all
from toolchain.sparsity.checkpoint import load_checkpoint, load_metadata
from toolchain.sparsity.masked_conv import MASK_SUFFIX


def test_each_training_is_done_once_and_keeps_its_network(tmp_path: Path) -> None:
    chosen = experiment(
        [1], epochs=1, limit=512, policies=["lattice"], sparsities=[0.2], pruned=[0.25]
    )
    dense, lattice, pruned, both = first = run_all(chosen, tmp_path, jobs=2)
    assert both.macs_kept < pruned.macs_kept < lattice.macs_kept < dense.macs_kept == 4_444_352
    assert both.parameters == pruned.parameters < dense.parameters == lattice.parameters
    assert all(0.05 < one.accuracy < 1 for one in first)
    files = [tmp_path / f"{one.key}.safetensors" for one in first]
    masks = [sum(name.endswith(MASK_SUFFIX) for name in load_checkpoint(f)) for f in files]
    assert masks == [0, 7, 0, 7]
    assert "pruned" in load_metadata(files[3])

    done = [path.stat().st_mtime_ns for path in (tmp_path / "done").glob("*/result.json")]
    assert run_all(chosen, tmp_path, jobs=2) == first
    after = [path.stat().st_mtime_ns for path in (tmp_path / "done").glob("*/result.json")]
    assert sorted(after) == sorted(done)
    fewer = experiment([1], epochs=1, limit=256, policies=[], sparsities=[0.2], pruned=[0.25])
    assert {one.limit for one in run_all(fewer, tmp_path)} == {256}
