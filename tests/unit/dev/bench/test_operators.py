"""Operators of a masked model beside the dense one's: pairs and ideals."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.benches import model_count, op_count
from support.bundles import write_masked_model
from toolchain.dev.bench.counts import OpCount
from toolchain.dev.bench.operators import compare_operators
from toolchain.errors import ModelError
from toolchain.tflite_file.graph import read_model
from toolchain.tflite_file.layers import find_layers

ADD = op_count(50, kind="Binary Elementwise (ND)", mr=None, pixels=None, kept=None)
COPY = op_count(30, kind="Copy (NC)", mr=None, pixels=None, kept=None)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Two 3x3 convolutions on 16x16 pixels, dense and masked."""
    return (
        write_masked_model(tmp_path / "dense.tflite", sparsity=0),
        write_masked_model(tmp_path / "masked.tflite", sparsity=0.25),
    )


def conv(instructions: int, kept: int = 256) -> OpCount:
    return op_count(instructions, pixels=256, kept=kept)


def test_the_ideal_is_dense_times_kept_over_all_pixels(files: tuple[Path, Path]) -> None:
    kept = [layer.kept for layer in find_layers(read_model(files[1]))]
    table = compare_operators(
        (files[0], model_count([conv(1000), conv(2000)])),
        (files[1], model_count([conv(800, kept[0]), conv(1500, kept[1])])),
    )
    assert [row.ideal for row in table.rows] == [1000 * kept[0] / 256, 2000 * kept[1] / 256]
    assert [row.speedup for row in table.rows] == [1000 / 800, 2000 / 1500]
    assert (table.dense, table.masked) == (3010, 2310)
    macs = [layer.macs for layer in find_layers(read_model(files[1]))]
    left = sum(m * k / 256 for m, k in zip(macs, kept, strict=True))
    assert table.ideal == pytest.approx(sum(macs) / left, rel=1e-6)


def test_what_one_model_alone_has_is_a_row_with_nothing_beside_it(
    files: tuple[Path, Path],
) -> None:
    table = compare_operators(
        (files[0], model_count([conv(1000), ADD, conv(2000), ADD])),
        (files[1], model_count([conv(800), COPY, ADD, conv(1500), COPY])),
    )
    shown = [(row.name, row.dense, row.masked) for row in table.rows]
    assert shown[1:3] == [("Copy (NC)", 0, 30), ("Binary Elementwise (ND)", 50, 50)]
    assert sorted(shown[4:]) == [("Binary Elementwise (ND)", 50, 0), ("Copy (NC)", 0, 30)]
    assert sum(row.dense for row in table.rows) == 3100


def test_another_network_is_refused(files: tuple[Path, Path], tmp_path: Path) -> None:
    other = write_masked_model(tmp_path / "other.tflite", channels=4)
    two = model_count([conv(1000), conv(2000)])
    with pytest.raises(ModelError, match="not the same network"):
        compare_operators((files[0], two), (other, two))
    with pytest.raises(ModelError, match="1 operators with multiply-accumulates ran"):
        compare_operators((files[0], model_count([conv(1000)])), (files[1], two))
