"""Networks of sparse weights on the cross-built runner: on ARM, XNNPACK keeps channels first."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.bundles import CrossBuilt
from support.runtimes import ByRunner, run_checked
from support.sparse_nets import ENDS, Network, check_sparse
from toolchain.profile.runner_output import parse_output


@pytest.mark.parametrize("masked", [False, True], ids=["dense", "masked"])
@pytest.mark.parametrize("end", ENDS)
def test_networks_of_sparse_weights(
    tmp_path: Path, cross_built: CrossBuilt, end: str, *, masked: bool
) -> None:
    runner = ByRunner(cross_built.bundle, under=cross_built.emulator)
    for seed in range(4):
        check_sparse(
            tmp_path / "sparse.tflite", runner, end, seed,
            batch=1 + seed % 2, masked=masked, threads=1 + seed % 3,
        )  # fmt: skip


def test_channels_come_first_there(tmp_path: Path, cross_built: CrossBuilt) -> None:
    """Otherwise the test above would be one of dense convolutions."""
    net = Network(0, 1, masked=False)
    net.first(8)
    net.pointwise(8)
    net.reduce("MEAN", keep=True)
    model = net.graph.write(tmp_path / "sparse.tflite", [net.x], [net.y])
    command = [*cross_built.emulator, str(cross_built.bundle.runner), "--model", str(model)]
    said = run_checked([*command, "--runs", "1", "--per-op", "--json", "-"])
    types = [item.type for item in parse_output(said).ops or []]
    assert [item for item in types if "NCHW" in item], types
