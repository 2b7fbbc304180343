"""Operators by their layers' names, one model's beside another's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from support.tflite_writer import GraphWriter
from support.timed_ops import IGEMM, LIVE, PIXELS, conv, listed, other, two_layers
from toolchain.profile.operators import LayerTrace, Operator, Tile, operator_row, slots, trace
from toolchain.profile.runner_output import Op
from toolchain.profile.timed_operators import TimedRow, live_share, macs_computed, timed_rows
from toolchain.tflite_file.graph import read_model
from toolchain.tflite_file.layers import find_layers

KEPT = round(0.75 * PIXELS)


@pytest.fixture
def layers(tmp_path: Path) -> list[LayerTrace]:
    return two_layers(tmp_path)


@pytest.fixture
def dense_layers(tmp_path: Path) -> list[LayerTrace]:
    return two_layers(tmp_path, sparsity=0)


def rows_of(layers: list[LayerTrace], dense_layers: list[LayerTrace]) -> list[TimedRow]:
    dense = listed(conv(100.0), other(10.0), conv(200.0))
    first, second = (layer.kept for layer in layers)
    masked = listed(
        conv(75.0, kept=first), other(3.0, "Copy (NC)"), other(10.0), conv(180.0, kept=second)
    )
    return timed_rows((dense, dense_layers), (masked, layers))


def test_every_operator_has_a_row_with_the_dense_one_beside_it(
    layers: list[LayerTrace], dense_layers: list[LayerTrace]
) -> None:
    rows = rows_of(layers, dense_layers)
    first, second = (layer.name for layer in layers)
    assert [(row.name, row.dense, row.masked) for row in rows] == [
        (first, 100.0, 75.0),
        (f"Copy after {first}", 0, 3.0),
        (f"Add after {first}", 10.0, 10.0),
        (second, 200.0, 180.0),
        ("outside of operators", 5.0, 5.0),
    ]
    assert sum(row.masked for row in rows) == 75 + 3 + 10 + 180 + 5  # nothing is left out


def test_what_is_lost_is_the_time_beyond_the_share_of_kept_pixels(
    layers: list[LayerTrace], dense_layers: list[LayerTrace]
) -> None:
    rows = rows_of(layers, dense_layers)
    first, second = (layer.kept / PIXELS for layer in layers)
    assert [row.lost for row in rows] == [
        pytest.approx(75 - 100 * first), 3.0, 0.0, pytest.approx(180 - 200 * second), 0.0,
    ]  # fmt: skip
    assert rows[0].by_pixels == pytest.approx(1 / first)
    assert rows[3].reason is not None
    assert rows[0].reason is None
    assert rows[1].reason == "only this model has it, a change of layout"


@pytest.mark.parametrize(
    ("masked", "said"),
    [
        (conv(100.0, kept=KEPT, kernel=LIVE), "another micro-kernel: live igemm 6x8"),
        (conv(90.0, kept=197), "tiles of 4: 200 rows computed for 197 kept, dense 256 for 256"),
        (conv(100.0, kept=KEPT, kernel=IGEMM), "which a time does not tell apart"),
        (conv(100.0), "its mask is not skipped"),
        (conv(98.0, kernel=LIVE), "its mask is not skipped"),
    ],
)
def test_a_reason_names_what_a_time_can_tell(
    layers: list[LayerTrace], dense_layers: list[LayerTrace], masked: Op, said: str
) -> None:
    dense = listed(conv(100.0), conv(100.0))
    own = listed(masked, conv(50.0, kept=KEPT))
    row = timed_rows((dense, dense_layers), (own, layers))[0]
    assert said in str(row.reason)


def test_another_network_is_shown_alone(layers: list[LayerTrace], tmp_path: Path) -> None:
    one = [layers[0]]
    rows = timed_rows((listed(conv(100.0)), one), (listed(conv(1.0), conv(2.0)), layers))
    assert [row.name for row in rows][:2] == [layer.name for layer in layers]
    assert not any(row.dense or row.reason for row in rows)
    assert two_layers(tmp_path) == layers


def test_operators_that_are_not_those_of_the_file_keep_their_types(
    layers: list[LayerTrace],
) -> None:
    """As where another runtime fused two of them."""
    rows = timed_rows(None, (listed(conv(1.0), other(2.0)), layers))
    assert [row.name for row in rows] == ["Convolution", "Add", "outside of operators"]
    assert rows[0].kind == "Convolution (NHWC, F32) IGEMM"


def test_operators_that_are_no_layers_are_told_apart_by_the_layer_before_them(
    layers: list[LayerTrace],
) -> None:
    first, second = (layer.name for layer in layers)
    binary, mean = "Binary Elementwise (ND)", "Mean (ND) Mean"
    ops = [other(1.0, binary), conv(1.0), other(1.0, binary), conv(1.0), other(1.0, mean)]
    rows = timed_rows(None, (listed(*ops), layers))
    assert [row.name for row in rows[:-1]] == [
        f"Binary before {first}", first, f"Binary after {first}", second, f"Mean after {second}",
    ]  # fmt: skip


def test_the_live_share_weighs_layers_by_what_masks_leave_of_them(
    layers: list[LayerTrace],
) -> None:
    ops = listed(conv(1.0, kept=KEPT), conv(1.0, kept=KEPT, dead=0.4))
    left = [layer.macs - layer.macs_saved for layer in layers]
    assert live_share(ops, layers) == pytest.approx(1 - 0.4 * left[1] / sum(left))
    assert live_share(None, layers) is None
    assert live_share(listed(conv(1.0)), layers) is None


def test_the_ideal_is_by_the_plans_where_the_runtime_tells_them(
    layers: list[LayerTrace], dense_layers: list[LayerTrace]
) -> None:
    """With dead taps a time may be far below the share of pixels, and never below the plan's."""
    dense = listed(conv(100.0, macs=1000), conv(100.0, macs=1000))
    own = listed(conv(65.0, kept=KEPT, macs=600), conv(100.0, kept=KEPT))
    first, second, *_ = timed_rows((dense, dense_layers), (own, layers))
    assert first.by_plan == pytest.approx(1 / 0.6)
    assert first.ideal == pytest.approx(60.0)
    assert first.lost == pytest.approx(5.0)
    assert first.by_pixels == pytest.approx(PIXELS / layers[0].kept)
    assert (second.by_plan, second.ideal) == (None, 100.0 * layers[1].kept / PIXELS)


def test_a_mask_that_is_not_skipped_has_an_ideal_by_pixels(
    layers: list[LayerTrace], dense_layers: list[LayerTrace]
) -> None:
    dense = listed(conv(100.0, macs=1000), conv(100.0, macs=1000))
    own = listed(conv(100.0, macs=1000), conv(100.0, macs=1000))
    row = timed_rows((dense, dense_layers), (own, layers))[0]
    assert row.by_plan is None
    assert row.ideal < 100.0


def test_the_macs_of_a_model_are_those_that_the_runtime_computes(
    layers: list[LayerTrace],
) -> None:
    told = listed(conv(1.0, macs=600), conv(1.0))
    assert macs_computed(told, layers) == 600 + layers[1].macs
    assert macs_computed(listed(conv(1.0), conv(1.0)), layers) is None
    assert macs_computed(listed(conv(1.0, macs=600)), layers) is None
    assert macs_computed(None, layers) is None


# --- one row -------------------------------------------------------------------------------------

DENSE = Operator("Convolution (NHWC, F32) IGEMM", 1000, 900, IGEMM, 4, 100, 100)
MASKED = Operator("Convolution (NHWC, F32) IGEMM", 700, 560, LIVE, 6, 100, 75)


def test_a_row_has_both_costs_and_the_ideal_between_them(layers: list[LayerTrace]) -> None:
    row = operator_row(3, DENSE, MASKED, layers[0], 0.8)
    assert (row.index, row.name, row.kind, row.shape) == (
        3, layers[0].name, "3x3", "3 -> 8, 16x16",
    )  # fmt: skip
    assert (row.macs, row.pixels, row.kept, row.live) == (layers[0].macs, 100, 75, 0.8)
    assert (row.dense, row.masked) == (1000, 700)
    assert row.ideal == pytest.approx(600.0)
    assert (row.dense_outside, row.masked_outside) == (100, 140)
    assert row.dense_tile == Tile(ukernel=IGEMM, mr=4, rows=100)
    assert row.masked_tile == Tile(ukernel=LIVE, mr=6, rows=75)


def test_what_one_model_lacks_is_nothing_in_a_row() -> None:
    row = operator_row(0, DENSE, None, None)
    assert (row.name, row.kind, row.shape, row.macs) == (DENSE.type, DENSE.type, "", 0)
    assert (row.pixels, row.kept, row.masked, row.masked_outside) == (None, None, 0, 0)
    assert (row.ideal, row.dense_outside, row.masked_tile) == (1000.0, 100, None)
    row = operator_row(0, None, MASKED, None)
    assert (row.dense, row.ideal, row.dense_outside, row.dense_tile) == (0, 0.0, 0, None)
    assert (row.pixels, row.kept, row.masked_outside) == (100, 75, 140)


def test_an_operator_without_pixels_or_rows_has_no_tile() -> None:
    plain = Operator("Add (ND, F32)", 10, 10, None, None, None, None)
    row = operator_row(0, plain, plain, None)
    assert (row.ideal, row.dense_tile, row.masked_tile) == (10.0, None, None)
    nothing = Operator("Convolution", 10, 10, IGEMM, 4, 100, 0)
    row = operator_row(0, DENSE, nothing, None)
    assert row.ideal == 0.0
    assert row.masked_tile == Tile(ukernel=IGEMM, mr=4, rows=0)


def test_operators_before_each_layer_stand_in_its_slot() -> None:
    add = Operator("Add (ND, F32)", 1, 1, None, None, None, None)
    counted = [
        Operator(kind, 1, 1, None, None, None, None)
        for kind in ("Fully Connected (NC, F32)", "CONV_2D")
    ]
    ops = [add, counted[0], add, add, counted[1]]
    assert slots(ops, 2) == [([add], counted[0]), ([add, add], counted[1]), ([], None)]
    assert slots(ops, 1) is None
    assert slots([], 0) == [([], None)]


def test_a_layer_is_traced_with_its_form(tmp_path: Path) -> None:
    graph = GraphWriter()
    source = graph.tensor((1, 8, 8, 4))
    bias = np.zeros(4, np.float32)
    strided = graph.conv_2d(source, np.ones((4, 3, 3, 4), np.float32), bias, (1, 4, 4, 4), stride=2)
    each = graph.conv_2d(
        strided, np.ones((1, 5, 5, 4), np.float32), bias, (1, 4, 4, 4), depthwise=True
    )
    flat = graph.tensor((1, 64))
    weights = graph.constant(np.ones((10, 64), np.float32))
    dense = graph.operator("FULLY_CONNECTED", [flat, weights, -1], (1, 10))
    path = graph.write(tmp_path / "m.tflite", [source, flat], [each, dense])
    layers = find_layers(read_model(path))
    traces = [trace(layer) for layer in layers]
    assert [(one.kind, one.shape) for one in traces] == [
        ("3x3 s2", "4 -> 4, 4x4"),
        ("dw 5x5", "4 -> 4, 4x4"),
        ("fully connected", "64 -> 10"),
    ]
    assert [one.form for one in traces] == [
        ("CONV_2D", (3, 3), (2, 2), (1, 4, 4, 4)),
        ("DEPTHWISE_CONV_2D", (5, 5), (1, 1), (1, 4, 4, 4)),
        ("FULLY_CONNECTED", None, None, (1, 10)),
    ]
    for own, layer in zip(traces, layers, strict=True):
        assert (own.name, own.macs, own.macs_saved) == (layer.name, layer.macs, 0)
        assert (own.pixels, own.kept, own.masked, own.fault) == (
            layer.pixels, layer.pixels, False, None,
        )  # fmt: skip


def test_a_traced_mask_is_told_with_what_it_saves(layers: list[LayerTrace]) -> None:
    first = layers[0]
    assert first.masked
    assert first.fault is None
    assert first.macs_saved == first.macs // PIXELS * (PIXELS - first.kept) > 0
