from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from support.plans import kernel, operator, runner_plan
from support.tflite_writer import GraphWriter
from toolchain.hardware.tile import CoreTiles, Tiles
from toolchain.report.plan_table import plan_table
from toolchain.report.tiling_table import tiling_table
from toolchain.tflite_file.inspection import Inspection, inspect_model, with_plan
from toolchain.tflite_file.plan import PlannedOperator, parse_plan, plan_layers

CORE = CoreTiles("rpi4", Tiles(rows=4, columns=8), "rpi4")


def report_of(folder: Path, *operators: PlannedOperator, between: str | None = None) -> Inspection:
    """A 3x3 convolution, 14x14, that keeps 157 pixels, and its plan."""
    graph = GraphWriter()
    shape = (1, 14, 14, 8)
    x = graph.tensor(shape)
    value = graph.conv_2d(x, np.ones((8, 3, 3, 8), np.float32), np.zeros(8, np.float32), shape)
    if between is not None:
        value = graph.operator(between, [value], shape)
    mask = graph.constant((np.arange(196) < 157).reshape(1, 14, 14, 1))
    fill = graph.constant(np.zeros((), np.float32))
    path = graph.write(folder / "m.tflite", [x], [graph.select(mask, value, fill, shape)])
    report = inspect_model(path, CORE)
    text = runner_plan(operators, ["delegate: a note"])
    plan = plan_layers(report.layers, parse_plan(text), "Cortex-A72")
    assert plan is not None
    return with_plan(report, plan)


def shown(report: Inspection, width: int = 200) -> str:
    assert report.plan is not None
    console = Console(width=width, force_terminal=False)
    with console.capture() as captured:
        console.print(plan_table(report, report.plan, width))
    return captured.get()


LIVE = operator(
    path="live-taps", kept=157, rows=157, taps=1413, live_taps=1256, macs_computed=80384,
    reads="dense", writes="compact", why_dense=None,
)  # fmt: skip


def test_a_line_says_path_and_what_pixels_alone_and_the_plan_allow(tmp_path: Path) -> None:
    text = shown(report_of(tmp_path, LIVE))
    line, total = (
        next(line.split() for line in text.splitlines() if part in line)
        for part in ("CONV 3x3", "total")
    )
    assert line[-10:] == [
        "live-taps", "4x8", "157/196", "157", "88.9%", "dense", "to", "compact", "1.248", "1.404",
    ]  # fmt: skip
    assert total == ["total", "1.248", "1.404"]
    assert "computes on Cortex-A72" in text
    assert "delegate: a note" in text
    assert "speed-up by pixels 1.248, by the plan 1.404" in text
    assert "masks rounded to tiles would gain nothing" in text


def test_rows_that_nobody_wants_are_what_rounded_masks_can_save(tmp_path: Path) -> None:
    told = operator(path="masked-igemm", kept=157, rows=160, macs_computed=92160, taps=1413,
                    live_taps=1413)  # fmt: skip
    text = shown(report_of(tmp_path, told))
    assert "3 rows belong to no kept pixel; `[masks] board` in a recipe" in text
    assert "rounds masks where that gains, `tile_rows = 4` all of them" in text


def test_what_is_not_skipped_has_its_reason(tmp_path: Path) -> None:
    told = operator(kept=157, rows=160, macs_computed=92160, taps=1413, live_taps=1413,
                    why_all_taps="why taps", why_dense="why dense")  # fmt: skip
    text = shown(report_of(tmp_path, told))
    assert "[1][2]" in text
    assert "[1] all taps are computed: why taps" in text
    assert "[2] the output is dense: why dense" in text


def test_of_a_mask_that_is_not_skipped_the_file_s_reason_stands_there(tmp_path: Path) -> None:
    told = operator(why_all_pixels="what is masked is no convolution's output")
    text = shown(report_of(tmp_path, told, kernel(1, type="SELECT_V2"), between="LOGISTIC"))
    assert "[1] its mask is not skipped: LOGISTIC between the convolution and its mask" in text
    assert "[2]" not in text


@pytest.mark.parametrize("width", [50, 80, 120])
def test_it_fits_the_width_there_is(tmp_path: Path, width: int) -> None:
    table = shown(report_of(tmp_path, LIVE), width)
    assert max(map(len, table.splitlines())) <= width
    assert "live-taps" in table or width == 50


def test_without_a_plan_the_tiles_say_why(tmp_path: Path) -> None:
    report = report_of(tmp_path, LIVE).model_copy(update={"plan": None, "no_plan": "run: build it"})
    assert report.tiling is not None
    console = Console(width=200, force_terminal=False)
    with console.capture() as captured:
        console.print(tiling_table(report, report.tiling, 200))
    text = captured.get()
    assert "no plan, so pixels and tiles alone are counted: run: build it" in text
