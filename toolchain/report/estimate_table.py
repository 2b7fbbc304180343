"""Tables of ``deploy estimate``."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from toolchain.profile.estimate_document import (
    CalibrationRow,
    Estimate,
    EstimatedOperator,
    ModelEstimate,
)
from toolchain.profile.figures import count, ratio
from toolchain.report.fitting import NAME, Column, fitted_table, note
from toolchain.timing.model import Bound

_MIB = 1 << 20
_LINE = 64


def estimate_table(estimate: Estimate, width: int = 200) -> RenderableType:
    """A line a model, and below what the figures are.

    Args:
        estimate: of one board.
        width: columns that there are.
    """
    rows = estimate.models
    several = len(rows) > 1
    columns = [
        Column("model", [one.label for one in rows], NAME, right=False),
        Column("estimated\nms", [milliseconds(one.ms) for one in rows], 1),
        Column("nine of ten\nbetween", [_interval(one) for one in rows], 2),
        Column(
            "times as\nfast", [ratio(estimate.speedup(one)) for one in rows] if several else [], 1
        ),
        Column("core", [_part(one, "core") for one in rows], 4),
        Column("L2", [_part(one, "L2") for one in rows], 5),
        Column("L3", [_part(one, "L3") for one in rows], 6),
        Column("memory", [_part(one, "memory") for one in rows], 3),
        Column("of the\npeak", [_share(one.peak_share) for one in rows], 7),
        Column("instructions", [count(one.instructions) for one in rows], 8),
    ]
    title = f"{estimate.title}, {estimate.clock_mhz} MHz, threads: {estimate.threads}"
    shown = [column for column in columns if any(column.cells)]
    interval = estimate.timing_model.interval.of(estimate.threads)
    return Group(
        fitted_table(shown, width, title=title),
        note(
            "Estimated, not measured. Core, L2, memory: the parts of the time in which each is "
            "waited for. Nine of ten published times of other networks lie within "
            f"{interval:.0%} of such an estimate."
        ),
    )


def calibration_table(estimate: Estimate, width: int = 200) -> RenderableType:
    """A line a model that was measured: how good the model of time is on that board.

    Args:
        estimate: that was calibrated.
        width: columns that there are.
    """
    rows = estimate.calibration

    def off(ms: float | None, row: CalibrationRow) -> str:
        return "" if ms is None else f"{ms / row.measured_ms - 1:+.1%}"

    columns = [
        Column("model", [row.name for row in rows], NAME, right=False),
        Column("measured\nms", [milliseconds(row.measured_ms) for row in rows], 1),
        Column("by published\ntimes", [off(row.published_ms, row) for row in rows], 3),
        Column("fitted", [off(row.calibrated_ms, row) for row in rows], 2),
        Column("fitted to\nthe others", [off(row.left_out_ms, row) for row in rows], 1),
    ]
    shown = [column for column in columns if any(column.cells)]
    return Group(Text(), fitted_table(shown, width, title="Estimates less what was measured"))


def estimated_operators(estimate: Estimate, width: int = 200) -> RenderableType:
    """A table a model: its operators, those that take longest first.

    Those of a model that has the layers of the first one stand beside the first one's.

    Args:
        estimate: of one board.
        width: columns that there are.
    """
    # Where the first model stands beside others it needs no table of its own.
    beside = any(one.beside for one in estimate.models)
    tables = [
        _beside(estimate, one, width) if one.beside else _operators(one, width)
        for one in estimate.models[1 if beside else 0 :]
    ]
    return Group(*(part for table in tables for part in (Text(), table)))


def _operators(model: ModelEstimate, width: int) -> RenderableType:
    rows = sorted(model.operators, key=lambda one: -one.ms)
    columns = [
        Column("operator", [one.name for one in rows], NAME, right=False),
        Column("estimated\nms", [milliseconds(one.ms) for one in rows], 1),
        Column("share", [f"{one.share:.1%}" for one in rows], 3),
        Column("bound by", [one.bound for one in rows], 1, right=False),
        Column("of the\npeak", [_share(one.peak_share) for one in rows], 2),
        Column("kept", [_kept(one) for one in rows], 5),
        Column("MMACs", [_millions(one.macs_computed) for one in rows], 7),
        Column("MiB\nmoved", [f"{one.memory_lines * _LINE / _MIB:.2f}" for one in rows], 4),
        Column("micro-kernel", _kernels(rows), 9, right=False),
    ]
    shown = [column for column in columns if any(column.cells)]
    rest = note(f"Outside of operators: {milliseconds(model.outside_ms)} ms.")
    return Group(fitted_table(shown, width, title=f"{model.label}, by operator"), rest)


def _beside(estimate: Estimate, model: ModelEstimate, width: int) -> RenderableType:
    rows = sorted(model.beside, key=lambda row: (not (row.dense or row.masked), -row.lost))
    bounds = {one.name: one.bound for one in model.operators}
    numbers: dict[str, int] = {}
    marks = [
        f"[{numbers.setdefault(row.reason, len(numbers) + 1)}]" if row.reason else ""
        for row in rows
    ]
    columns = [
        Column("operator", [row.name for row in rows], NAME, right=False),
        Column("kind", [row.kind if row.shape else "" for row in rows], 8, right=False),
        Column("shape", [row.shape for row in rows], 10, right=False),
        Column("dense\nms", [_ms(row.dense) for row in rows], 4),
        Column("masked\nms", [_ms(row.masked) for row in rows], 3),
        Column("times as\nfast", [_speedup(row.speedup) for row in rows], 1),
        Column("by\nplan", [_speedup(row.by_plan) for row in rows], 5),
        Column("lost\nms", [_ms(row.lost) for row in rows], 2),
        Column("bound by", [bounds.get(row.name, "") for row in rows], 6, right=False),
        Column("why", marks, 7),
    ]
    title = f"{model.label} beside {estimate.models[0].label}, by operator"
    reasons = {"why": [f"[{number}] {why}" for why, number in numbers.items()]}
    shown = [one for one in columns if any(one.cells)]
    table = fitted_table(shown, width, title=title, explained=reasons)
    rest = note(
        "Lost: time beyond that of the dense operator by the plan, the most first; below 0 the "
        "operator beats it."
    )
    return Group(table, rest)


def _ms(us: float) -> str:
    return f"{us / 1e3:.3f}" if us else ""


def _speedup(value: float | None) -> str:
    return f"{value:.2f}" if value else ""


def milliseconds(value: float) -> str:
    """Three digits, or as many as stand before the point."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.{2 if value < 1 else 1 if value >= 10 else 2}f}"


def _interval(one: ModelEstimate) -> str:
    return f"{milliseconds(one.low_ms)} to {milliseconds(one.high_ms)}"


def _part(one: ModelEstimate, name: Bound) -> str:
    part = one.by_bound.get(name)
    return f"{part / one.ms:.0%}" if part is not None and one.ms else ""


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"


def _kept(one: EstimatedOperator) -> str:
    return "" if one.pixels is None else f"{one.kept}/{one.pixels}"


def _millions(value: int | None) -> str:
    return "" if value is None else f"{value / 1e6:,.1f}"


def _kernels(rows: Sequence[EstimatedOperator]) -> list[str]:
    names = [one.ukernel or "" for one in rows]
    return [name.partition("_ukernel_")[2] or name for name in names]
