"""Networks of sparse weights, which x86 with AVX computes as if they were dense.

The boards do not: tests/emulated/test_sparse_weights.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from support.runtimes import Runtime
from support.sparse_nets import ENDS, check_sparse


@pytest.mark.parametrize("masked", [False, True], ids=["dense", "masked"])
@pytest.mark.parametrize("end", ENDS)
def test_networks_of_sparse_weights(
    tmp_path: Path, patched: Runtime, end: str, *, masked: bool
) -> None:
    for seed in range(8):
        check_sparse(
            tmp_path / "sparse.tflite", patched, end, seed,
            batch=1 + seed % 2, masked=masked, threads=1 + seed % 3,
        )  # fmt: skip
