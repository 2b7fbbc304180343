"""The tables of ``deploy profile --per-op``: each layer of a model beside that of the first one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from toolchain.foreign_text import harmless
from toolchain.profile.document import Measurement, Profile
from toolchain.profile.figures import macs_a_second, microseconds
from toolchain.profile.operators import OperatorRow, Tile
from toolchain.profile.runner_output import REMAINDER, computes_any_rows
from toolchain.profile.timed_operators import TimedRow
from toolchain.report.fitting import NAME, Column, fitted_table, note

_NAMED = 3
"""Operators that are named where several stay off XNNPACK for one reason."""


def operator_tables(profile: Profile, width: int = 200, *, wide: bool = False) -> RenderableType:
    """A table a model: those of the same layers as the first model's have it beside them.

    Args:
        profile: of operators.
        width: columns that there are.
        wide: whether micro-kernels are named.
    """
    timed = [item for item in profile.measurements if item.operators]
    others = timed[1:]
    # Where the first model stands beside others it needs no table of its own.
    shown = others if any(_beside(item) for item in others) else timed
    tables = [operator_table(profile, item, width, wide=wide) for item in shown]
    return Group(*(part for table in tables for part in (Text(), table)))


def operator_table(
    profile: Profile, item: Measurement, width: int = 200, *, wide: bool = False
) -> RenderableType:
    """One row for each layer and each other operator, those that lose most first.

    Args:
        profile: that the measurement is of.
        item: one of its measurements, with operators.
        width: columns that there are.
        wide: whether micro-kernels are named.
    """
    beside = _beside(item)
    rows = item.operators
    if beside:
        rows = sorted(rows, key=lambda row: (not (row.dense or row.masked), -row.lost))
    numbers: dict[str, int] = {}
    marks = [
        f"[{numbers.setdefault(row.reason, len(numbers) + 1)}]" if row.reason else ""
        for row in rows
    ]
    total = sum(row.masked for row in rows)
    columns = [
        Column("layer", [_name(row) for row in rows], NAME, right=False),
        Column("kind", [row.kind if row.shape else "" for row in rows], 8, right=False),
        Column("shape", [row.shape for row in rows], 10, right=False),
        Column("kept", [_kept(row) for row in rows], 9),
        Column("masked" if beside else "time", [_time(row.masked) for row in rows], 4),
        Column("share", [f"{row.masked / total:.1%}" if total else "" for row in rows], 7),
        Column("by\npixels", [_ratio(row.by_pixels) for row in rows], 2),
        Column("by\nplan", [_ratio(row.by_plan) for row in rows], 3),
        Column("dead\ntaps", [_share(row.dead_tap_share) for row in rows], 6),
        Column("MACs\na second", [_rate(row) for row in rows], 9),
        Column("of the\npeak", [_share(row.of_peak) for row in rows], 5),
    ]
    if beside:
        columns.insert(4, Column("dense", [_time(row.dense) for row in rows], 5))
        columns.insert(6, Column("ratio", [_ratio(row.speedup) for row in rows], 1))
        columns.append(Column("lost", [_lost(row) for row in rows], 2))
        columns.append(Column("why", marks, 3))
    if wide:
        wasted = [_wasted(row.masked_tile) for row in rows]
        kernels = [_kernel(row.masked_tile) for row in rows]
        columns.append(Column("path", [row.path or "" for row in rows], 10, right=False))
        columns.append(Column("layout", [_layout(row) for row in rows], 11, right=False))
        columns.append(Column("wasted\nrows", wasted, 11))
        columns.append(Column("micro-kernel", kernels, 12, right=False))
    first, own = profile.label(profile.first(item)), profile.label(item)
    title = f"{own} beside {first}" if beside else own
    reasons = [f"[{number}] {why}" for why, number in numbers.items()]
    table = fitted_table(
        [column for column in columns if any(column.cells)], width, title=f"{title}, by layer",
        explained={"why": reasons},
    )  # fmt: skip
    notes = [*_notes(profile, item, rows, beside=beside), *_around(profile, item)]
    return Group(table, *map(note, notes))


def _notes(
    profile: Profile, item: Measurement, rows: Sequence[TimedRow], *, beside: bool
) -> Iterator[str]:
    if beside:
        yield (
            "Lost: time beyond that of the dense layer by the plan, or by the share of pixels kept "
            "where no plan is told, the most first; below 0 the layer beats it."
        )
    if any(row.dead_tap_share for row in rows):
        yield "Dead taps: read skipped pixels or padding alone, and are not computed either."
    if any(row.of_peak for row in rows):
        yield "Of the peak: of the multiply-accumulates that these cores can do at most."
    yield from _left(profile, rows)
    if profile.by_instructions:
        yield "Emulated: these times stand for instructions; they say nothing about seconds."
    elif item.doubts or (beside and profile.ratio_in_doubt(item)):
        yield "?: times of this model may be unstable, see above; so may those of its layers."


def _left(profile: Profile, rows: Sequence[TimedRow]) -> Iterator[str]:
    """What XNNPACK does not run, what that costs, and why; operators of one reason together."""
    left = [row for row in rows if not row.delegated and row.kind != REMAINDER]
    if not left:
        return
    total = sum(row.masked for row in rows)

    def cost(some: Sequence[TimedRow]) -> str:
        own = sum(row.masked for row in some)
        share = f"{own / total:.1%}" if total else "-"
        return share if profile.by_instructions else f"{microseconds(own)}, {share}"

    yield f"*: TensorFlow Lite's own kernels run it, not XNNPACK ({cost(left)} of the whole)."
    by_reason: dict[str, list[TimedRow]] = {}
    for row in left:
        why = harmless(row.why_not_delegated or "XNNPACK does not say why")
        by_reason.setdefault(why, []).append(row)
    for why, some in sorted(by_reason.items(), key=lambda each: -sum(r.masked for r in each[1])):
        names = ", ".join(row.name for row in some[:_NAMED])
        more = f" and {len(some) - _NAMED} more" if len(some) > _NAMED else ""
        yield f"* {names}{more} ({cost(some)}): {why}."


def _around(profile: Profile, item: Measurement) -> Iterator[str]:
    """What takes time around an inference, none of it in the table."""
    if profile.by_instructions:
        return
    output, per_op = item.output, item.output.per_op
    if per_op and per_op.total_us and item.median_us:
        beyond = per_op.total_us / item.median_us - 1
        yield (
            f"All rows take {microseconds(per_op.total_us)} together, {abs(beyond):.1%} "
            f"{'more' if beyond > 0 else 'less'} than the median of the runs that are not looked "
            "into."
        )
    told = {
        "load the file": output.load_us,
        "prepare the model": None if output.load_us is None else output.init_us - output.load_us,
        "the first run": output.first_run_us,
        "copy the input": per_op.input_copy_us if per_op else None,
        "copy the output": per_op.output_copy_us if per_op else None,
    }
    parts = [f"{what} {microseconds(us)}" for what, us in told.items() if us is not None]
    yield f"Around an inference of {profile.label(item)}: {', '.join(parts)}."


def _rate(row: TimedRow) -> str:
    return "" if row.macs_per_second is None else macs_a_second(row.macs_per_second)


def _beside(item: Measurement) -> bool:
    return any(row.dense for row in item.operators)


def _name(row: TimedRow) -> str:
    return row.name + ("" if row.delegated or row.kind == REMAINDER else " *")


def _kept(row: OperatorRow) -> str:
    return "" if row.pixels is None else f"{row.kept}/{row.pixels}"


def _time(value: float) -> str:
    return microseconds(value) if value else "-"


def _ratio(value: float | None) -> str:
    return f"{value:.3f}" if value else ""


def _share(value: float | None) -> str:
    return f"{value:.1%}" if value else ""


def _lost(row: OperatorRow) -> str:
    if not row.dense and not row.masked:
        return ""  # too short for earlier versions, which told whole microseconds
    sign = "-" if row.lost < 0 else ""
    return sign + microseconds(abs(row.lost))


def _layout(row: TimedRow) -> str:
    if row.reads is None or row.writes is None:
        return ""
    return row.reads if row.reads == row.writes else f"{row.reads} to {row.writes}"


def _wasted(tile: Tile | None) -> str:
    # Only matrix kernels work in tiles; others report one row.
    if tile is None or "gemm_" not in (tile.ukernel or "") or computes_any_rows(tile.ukernel):
        return ""
    return f"{tile.computed - tile.rows}"


def _kernel(tile: Tile | None) -> str:
    name = (tile.ukernel if tile else None) or ""
    return name.partition("_ukernel_")[2] or name
