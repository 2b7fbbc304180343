"""Operators of a masked model beside the dense one's: pairs, ideals, reasons."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.benches import GEMM, KERNEL, model_count, op_count, operator_row
from support.bundles import write_masked_model
from toolchain.dev.bench.counts import OpCount
from toolchain.dev.bench.operators import compare_operators
from toolchain.errors import ModelError
from toolchain.profile.operators import UNEXPLAINED, OperatorRow, reason
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


REASONS: list[tuple[OperatorRow, str | None]] = [
    (operator_row(masked=800), None),
    (operator_row(masked=840), None),  # 0.952 of the ideal
    # Three pixels less are no tile less.
    (
        operator_row(dense=1600, masked=1600, pixels=16, kept=13),
        "tiles of 4: 16 rows computed for 13 kept, dense 16 for 16",
    ),
    (operator_row(masked=1000, outside=(0, 200)), "outside of the micro-kernel 2.5 instructions"),
    (operator_row(masked=900, kernels=(GEMM, KERNEL)), "another micro-kernel: igemm, dense gemm"),
    (operator_row(masked=900, kind="dw 3x3", mr=(1, 1)), "more calls of the micro-kernel"),
    (operator_row(masked=800, live=0.75), "masked taps are computed"),
    (operator_row(masked=610, live=0.75), None),
    (operator_row(masked=1100, pixels=None, kept=None), f"{UNEXPLAINED}: not masked"),
    (operator_row(masked=900), f"{UNEXPLAINED}: 100 instructions more"),
    (operator_row(dense=0, masked=50, pixels=None, kept=None), "a change of layout (5.00%"),
    (operator_row(masked=0), None),
]  # fmt: skip


@pytest.mark.parametrize(("row", "said"), REASONS)
def test_a_sentence_says_what_the_gap_is_made_of(row: OperatorRow, said: str | None) -> None:
    found = reason(row, None, total=1000)
    if said is None:
        assert found is None
    else:
        assert said in str(found)
        assert (UNEXPLAINED in said) == (UNEXPLAINED in str(found))


def test_what_a_rule_leaves_over_stays_unexplained() -> None:
    row = operator_row(masked=1200, outside=(0, 100))
    said = str(reason(row, None, total=10_000))
    assert "outside of the micro-kernel" in said
    assert f"{UNEXPLAINED}: 300 instructions more" in said
