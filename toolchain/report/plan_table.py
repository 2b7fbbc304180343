"""The table of ``deploy inspect --board`` where the board's runtime is built: its plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.text import Text

from toolchain.report.fitting import NAME
from toolchain.report.layers import (
    heading,
    layer_table,
    operator_text,
    ratio_text,
    size_text,
    summary,
    unsupported_lines,
)
from toolchain.tflite_file.inspection import Inspection
from toolchain.tflite_file.layers import Layer
from toolchain.tflite_file.plan import CorePlan, LayerPlan

_RANKS = {
    "layer": NAME,
    "op": 4,
    "output": 8,
    "path": 2,
    "tile": 7,
    "kept": 3,
    "rows": 6,
    "live\ntaps": 3,
    "layout": 5,
    "pixels\nalone": 2,
    "plan": 1,
    "": 2,
}
"""The columns, and which of them give way first where there is little room: the highest."""
_TEXT = ("layer", "op", "output", "path", "tile", "layout")


def plan_table(report: Inspection, plan: CorePlan, width: int = 200) -> RenderableType:
    """A line a layer, what it comes to, and why something is not skipped.

    Args:
        report: of the file.
        plan: of the same file, of a board's core.
        width: columns that there are; what does not fit into few of them is left out.
    """
    reasons: dict[str, int] = {}
    rows = [
        _cells(layer, planned, reasons)
        for layer, planned in zip(report.layers, plan.layers, strict=True)
    ]
    footers = {
        "layer": "total",
        "pixels\nalone": ratio_text(report.speedup_by_pixels),
        "plan": ratio_text(plan.speedup),
    }
    table = layer_table(report, rows, _RANKS, footers, width, text=_TEXT)
    notes = [f"[{number}] {reason}" for reason, number in reasons.items()]
    notes += _notes(report, plan)
    return Group(
        heading(report), Text(), table, Text(), *map(Text, notes), *unsupported_lines(report)
    )


def _notes(report: Inspection, plan: CorePlan) -> Iterator[str]:
    yield (
        f"plan: what the runtime {plan.runner.version} computes on {plan.core}, and what that "
        "allows: dense over computed multiply-accumulates, rows of tiles that nobody wants with "
        "them"
    )
    if plan.expansions:
        yield f"operators that only change a layout: {plan.expansions}"
    yield from plan.notes
    yield f"{summary(report).plain}, by the plan {ratio_text(plan.speedup)}"
    if any(layer.skipped for layer in plan.layers):
        yield _retraining(plan)


def _retraining(plan: CorePlan) -> str:
    """Whether masks that are rounded to tiles would gain anything by this plan."""
    wasted = Counter[int]()
    for layer in plan.layers:
        if layer.wasted_rows and layer.operator is not None and layer.operator.mr is not None:
            wasted[layer.operator.mr] += layer.wasted_rows
    if not wasted:
        return "masks rounded to tiles would gain nothing: no row is computed for nobody"
    ((tile_rows, _),) = wasted.most_common(1)
    return (
        f"{sum(wasted.values()):,} rows belong to no kept pixel; `[masks] board` in a recipe "
        f"(docs/reference/recipes.md) rounds masks where that gains, `tile_rows = {tile_rows}` all "
        "of them"
    )


def _cells(layer: Layer, planned: LayerPlan, reasons: dict[str, int]) -> dict[str, str]:
    cells = dict.fromkeys(_RANKS, "")
    cells["layer"], cells["op"] = layer.name, operator_text(layer)
    cells["output"] = size_text(layer.output_shape)
    marks = planned.reasons
    if layer.mask and layer.mask.reason is not None:
        marks = [f"its mask is not skipped: {layer.mask.reason}", *marks[1:]]
    cells[""] = "".join(f"[{reasons.setdefault(why, len(reasons) + 1)}]" for why in marks)
    if layer.mask and layer.mask.skipped:
        cells["pixels\nalone"] = ratio_text(layer.pixels / layer.kept if layer.kept else None)
        cells["plan"] = ratio_text(planned.speedup)
    told = planned.operator
    if told is None:
        return cells
    cells["path"] = told.path
    cells["layout"] = told.reads if told.reads == told.writes else f"{told.reads} to {told.writes}"
    if told.mr is not None:
        cells["tile"], cells["rows"] = f"{told.mr}x{told.nr}", f"{told.rows:,}"
    if told.pixels is not None:
        cells["kept"] = f"{told.kept}/{told.pixels}"
    if told.taps and told.live_taps is not None and told.live_taps < told.taps:
        cells["live\ntaps"] = f"{told.live_taps / told.taps:.1%}"
        cells["plan"] = ratio_text(planned.speedup)
    return cells
