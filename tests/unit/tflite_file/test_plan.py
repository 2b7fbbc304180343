from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from support.plans import kernel, operator, runner_plan
from support.tflite_writer import GraphWriter
from toolchain.errors import BoardError
from toolchain.tflite_file.graph import read_model
from toolchain.tflite_file.inspection import inspect_model, with_plan
from toolchain.tflite_file.layers import Layer, find_layers
from toolchain.tflite_file.plan import CorePlan, parse_plan, plan_layers

LIVE = operator(
    path="live-taps", kept=157, rows=157, taps=1413, live_taps=1256, macs_computed=80384,
    reads="compact", writes="compact",
)  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A 3x3 convolution, 14x14, that keeps 157 pixels."""
    graph = GraphWriter()
    shape = (1, 14, 14, 8)
    x = graph.tensor(shape)
    conv = graph.conv_2d(x, np.ones((8, 3, 3, 8), np.float32), np.zeros(8, np.float32), shape)
    mask = graph.constant((np.arange(196) < 157).reshape(1, 14, 14, 1))
    fill = graph.constant(np.zeros((), np.float32))
    return graph.write(tmp_path / "m.tflite", [x], [graph.select(mask, conv, fill, shape)])


@pytest.fixture
def layers(path: Path) -> list[Layer]:
    return find_layers(read_model(path))


def planned(layers: list[Layer], text: str) -> CorePlan:
    plan = plan_layers(layers, parse_plan(text), "Cortex-A72")
    assert plan is not None
    return plan


def test_a_layer_has_the_operator_that_computes_it(layers: list[Layer]) -> None:
    plan = planned(layers, runner_plan([kernel(1, type="SIN"), LIVE]))
    (each,) = plan.layers
    assert each.operator is not None
    assert (each.operator.path, each.skipped) == ("live-taps", True)
    assert (each.macs_dense, each.macs_computed) == (112896, 80384)
    assert plan.speedup == each.speedup == pytest.approx(112896 / 80384)


def test_rows_that_nobody_wants_count_on_both_sides(layers: list[Layer]) -> None:
    """Else a layer that wastes rows while it is dense would seem to beat its ideal."""
    dense = operator(kept=157, rows=160, dense_rows=200, macs_computed=160 * 576)
    (each,) = planned(layers, runner_plan([dense])).layers
    assert each.macs_dense == 200 * 576
    assert each.speedup == pytest.approx(200 / 160)


def test_what_another_kernel_computes_is_computed_whole(layers: list[Layer]) -> None:
    (each,) = planned(layers, runner_plan([kernel(0, why_all_pixels="a reason")])).layers
    assert (each.macs_dense, each.macs_computed, each.speedup) == (112896, 112896, 1.0)
    assert each.skipped is False
    assert each.reasons == ["all pixels are computed: a reason"]


def test_a_layer_that_is_not_told_is_not_guessed(layers: list[Layer]) -> None:
    (each,) = planned(layers, runner_plan([operator(node=None)])).layers
    assert each.operator is None
    assert each.skipped is None
    assert each.reasons == []
    assert each.speedup == 1.0


def test_where_nothing_is_computed_there_is_no_bound(layers: list[Layer]) -> None:
    plan = planned(layers, runner_plan([operator(path="fill", kept=0, rows=0, macs_computed=0)]))
    assert plan.speedup is None


def test_operators_that_change_a_layout_are_counted(layers: list[Layer]) -> None:
    expand = kernel(None, path="expand", delegated=True, reads="compact")
    assert planned(layers, runner_plan([LIVE, expand, expand])).expansions == 2


def test_an_unpatched_runtime_has_no_plan(layers: list[Layer]) -> None:
    assert plan_layers(layers, parse_plan(runner_plan(None)), "any") is None


def test_the_ideal_of_a_file_is_what_its_plan_allows(path: Path, layers: list[Layer]) -> None:
    report = inspect_model(path)
    assert report.ideal_speedup == report.speedup_by_pixels == pytest.approx(196 / 157)
    plan = planned(layers, runner_plan([LIVE]))
    assert with_plan(report, plan).ideal_speedup == plan.speedup
    assert with_plan(report, plan).speedup_by_pixels == report.speedup_by_pixels


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kept": 197}, "197 of 196"),
        ({"live_taps": 1765}, "1765 of 1764"),
        ({"kept": None}, "kept and pixels go together"),
        ({"path": "unknown"}, "path"),
        ({"reads": "sparse"}, "reads"),
        ({"more": 1}, "more"),
    ],
)
def test_what_makes_no_sense_is_refused(change: dict[str, object], said: str) -> None:
    document = json.loads(runner_plan([operator()]))
    document["plan"][0].update(change)
    with pytest.raises(BoardError, match=said):
        parse_plan(json.dumps(document))
