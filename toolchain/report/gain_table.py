"""Tables of ``deploy gain``: what masks would gain, where, and which layers get none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.text import Text

from toolchain.foreign_text import harmless
from toolchain.profile.figures import count, ratio
from toolchain.profile.gain_document import Gain, GainRow, LeftOut
from toolchain.report.estimate_table import milliseconds
from toolchain.report.fitting import FIRST, NAME, Column, fitted_table, note
from toolchain.report.profile_table import EMULATED, facts_line, profile_notes
from toolchain.timing.model import Bound

_NAMED = 4
"""Layers that are named of those that get no mask for one reason."""
_BOUNDS: tuple[Bound, ...] = ("core", "L2", "L3", "memory")
LEAST_SHARE = 0.005
"""Of the time: what less is spent on is not shown."""
_NO_LAYERS = (
    "By operator: those of the copies do not match the file's one by one, so that they cannot be "
    "set beside each other; deploy mask and deploy estimate --per-op show each model alone."
)
_WORTH_TELLING = 0.01
"""A share of pixels that is further than this from what was asked for is shown."""


def gain_table(gain: Gain, width: int = 200) -> RenderableType:
    """A line a sparsity, and below what masks there are.

    Args:
        gain: of a file and its copies.
        width: columns that there are.
    """
    rows = gain.rows
    kind = "measured" if gain.measured else "estimated"
    columns = [
        Column("sparsity", [f"{100 * one.sparsity:g}%" for one in rows], NAME),
        Column("masked\npixels", _masked(gain), 4),
        Column(f"{kind}\nms", [_ms(one.ms) for one in rows], FIRST),
        Column("instructions\nan inference", _instructions(gain), FIRST),
        Column(
            "median\nlies in" if gain.measured else "nine of ten\nbetween",
            [_interval(one.low_ms, one.high_ms) for one in rows], 3,
        ),
        Column("times as\nfast", [ratio(one.speedup) for one in rows], FIRST),
        Column("95%\ninterval", [_ratios(one) for one in rows], 4),
        Column("by\nplan", [ratio(one.by_plan) for one in rows], 2),
        Column("bound\nby", [one.bound or "" for one in rows], 2, right=False),
        *(
            Column(str(name), [_part(one, name) for one in rows], 5 + number)
            for number, name in enumerate(_BOUNDS)
            if any(one.by_bound.get(name, 0.0) > LEAST_SHARE * (one.ms or 0.0) for one in rows)
        ),
    ]  # fmt: skip
    shown = [column for column in columns if any(cell not in ("", "-") for cell in column.cells)]
    table = fitted_table(shown, width, title=_title(gain))
    lines = [*_what_it_is(gain), *gain.notes, *_masks(gain), *left_out_lines(gain.left_out)]
    if gain.profile is not None:
        lines += [line for line in profile_notes(gain.profile) if line.startswith("?")]
        board = Text(facts_line(gain.profile.board.facts, width))
        return Group(board, table, *map(note, lines))
    return Group(table, *map(note, lines))


def gain_by_layer(gain: Gain, width: int = 200) -> RenderableType:
    """A line an operator: its time in the file and in each copy, what saves most first.

    Args:
        gain: of a file and its copies.
        width: columns that there are.
    """
    rows = gain.by_layer
    if not rows:
        return Group(Text(), note(_NO_LAYERS))
    copies = [one for one in gain.rows if one.sparsity]
    last = f"{100 * copies[-1].sparsity:g}%"
    columns = [
        Column("operator", [one.name for one in rows], NAME, right=False),
        Column("kind", [one.kind if one.shape else "" for one in rows], 5, right=False),
        Column("shape", [one.shape for one in rows], 8, right=False),
        Column("bound by", [one.bound or "" for one in rows], 3, right=False),
        Column("without\nmasks, ms", [_fine(one.ms) for one in rows], FIRST),
        *(
            Column(
                f"at {100 * copy.sparsity:g}%\nms",
                [_fine(one.copies_ms[number]) for one in rows],
                FIRST if copy is copies[-1] else 6,
            )
            for number, copy in enumerate(copies)
        ),
        Column(f"saved at\n{last}, ms", [_fine(one.saved_ms) for one in rows], 2),
        Column(f"times as fast\nat {last}", [_times(one.ms, one.copies_ms[-1]) for one in rows], 4),
        Column("mask", _marks(gain), 7, right=False),
    ]
    shown = [column for column in columns if any(column.cells)]
    what = "measured" if gain.measured else "estimated"
    return Group(
        Text(),
        fitted_table(shown, width, title=f"{_name(gain)}, by operator, {what}"),
        note(f"What saves most at {last} comes first; below 0 an operator takes longer."),
    )


def left_out_lines(left_out: Sequence[LeftOut]) -> Iterator[str]:
    """Which layers get no mask, a sentence for each reason; harmless on a terminal.

    Args:
        left_out: in the file's order.
    """
    reasons = Counter(one.why for one in left_out)
    for why, number in reasons.most_common():
        names = [one.layer for one in left_out if one.why == why]
        more = f" and {number - _NAMED} more" if number > _NAMED else ""
        yield harmless(f"Not masked: {', '.join(names[:_NAMED])}{more}: {why}.")


def _name(gain: Gain) -> str:
    return harmless(Path(gain.model).name)


def _title(gain: Gain) -> str:
    clock = f", {gain.estimate.clock_mhz} MHz" if gain.estimate else ""
    return f"{_name(gain)} on {gain.title}{clock}, threads: {gain.threads}"


def _masked(gain: Gain) -> list[str]:
    """The share of pixels that is masked, where that is another one than was asked for."""
    found = {one.sparsity: one.share for one in gain.copies}
    if all(abs(share - asked) < _WORTH_TELLING for asked, share in found.items()):
        return [""] * len(gain.rows)
    return [f"{found.get(one.sparsity, 0.0):.1%}" for one in gain.rows]


def _instructions(gain: Gain) -> list[str]:
    return [count(one.instructions) if gain.emulated else "" for one in gain.rows]


def _ms(value: float | None) -> str:
    return "" if value is None else milliseconds(value)


def _fine(value: float | None) -> str:
    return "" if value is None else f"{round(value, 3) + 0.0:.3f}"  # no -0.000


def _times(before: float | None, after: float | None) -> str:
    return f"{before / after:.2f}" if before and after else ""


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{milliseconds(low)} to {milliseconds(high)}"


def _ratios(one: GainRow) -> str:
    ends = one.low_speedup, one.high_speedup
    return "" if None in ends else f"{ends[0]:.3f} to {ends[1]:.3f}"


def _part(one: GainRow, name: Bound) -> str:
    return f"{one.by_bound.get(name, 0.0) / one.ms:.0%}" if one.ms and one.by_bound else ""


def _marks(gain: Gain) -> Sequence[str]:
    masked = set(gain.masked)
    return ["yes" if one.name in masked else "" for one in gain.by_layer]


def _what_it_is(gain: Gain) -> Iterator[str]:
    if gain.estimate is not None:
        interval = gain.estimate.timing_model.interval.of(gain.threads)
        yield (
            "Estimated, not measured: nine of ten published times of other networks lie within "
            f"{interval:.0%} of such an estimate. Bound by: what most of the time is spent on; "
            "core, L2, L3, memory: the part of it in which each is waited for."
        )
    elif gain.emulated:
        yield EMULATED
    if any(one.by_plan is not None for one in gain.rows):
        yield (
            "By plan: multiply-accumulates of the file over those that the runtime computes with "
            "masks."
        )


def _masks(gain: Gain) -> Iterator[str]:
    number = len(gain.masked)
    yield (
        f"Masks: {gain.policy}, on {number} layer{'s'[: number != 1]} that have "
        f"{gain.masked_share:.0%} of the multiply-accumulates. They are for measuring: not "
        "trained, so that accuracy is not told."
    )
    if gain.other_graphs:
        graphs = f"{gain.other_graphs} other graph{'s'[: gain.other_graphs != 1]}"
        yield f"The file's {graphs}, of branches, loops or initial values, get no masks."
