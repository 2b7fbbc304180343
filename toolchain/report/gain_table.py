"""Tables of ``deploy gain``: what masks would gain, and which layers get none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from rich.console import Group, RenderableType

from toolchain.foreign_text import harmless
from toolchain.profile.figures import ratio
from toolchain.profile.gain import Gain
from toolchain.report.estimate_table import milliseconds
from toolchain.report.fitting import NAME, Column, fitted_table, note
from toolchain.timing.model import Bound

_NAMED = 4
"""Layers that are named of those that get no mask for one reason."""
_BOUNDS: tuple[Bound, ...] = ("core", "L2", "L3", "memory")


def gain_table(gain: Gain, width: int = 200) -> RenderableType:
    """A line a sparsity, and below what masks there are.

    Args:
        gain: with an estimate.
        width: columns that there are.
    """
    estimate = gain.estimate
    assert estimate is not None  # noqa: S101 (the caller's document)
    rows = estimate.models
    sparsities = [0.0, *gain.sparsities]
    columns = [
        Column("masked\npixels", [f"{share:.0%}" for share in sparsities], NAME),
        Column("estimated\nms", [milliseconds(one.ms) for one in rows], 1),
        Column(
            "nine of ten\nbetween",
            [f"{milliseconds(one.low_ms)} to {milliseconds(one.high_ms)}" for one in rows], 3,
        ),
        Column("times as\nfast", [ratio(estimate.speedup(one)) for one in rows], 1),
        Column("by\nplan", [ratio(rows[0].macs_computed / one.macs_computed) for one in rows], 2),
        *(
            Column(
                name if name == "core" or name.startswith("L") else "memory",
                [f"{one.by_bound.get(name, 0.0) / one.ms:.0%}" for one in rows],
                5 + number,
            )
            for number, name in enumerate(_BOUNDS)
            if any(one.by_bound.get(name) for one in rows)
        ),
    ]  # fmt: skip
    title = f"{rows[0].name} on {estimate.title}, {estimate.clock_mhz} MHz, threads: "
    interval = estimate.timing_model.interval.of(estimate.threads)
    return Group(
        fitted_table(columns, width, title=f"{title}{estimate.threads}"),
        note(
            "Estimated, not measured: nine of ten published times of other networks lie within "
            f"{interval:.0%} of such an estimate. By plan: multiply-accumulates of the file over "
            "those that the runtime computes with masks. Core, L2, memory: what is waited for."
        ),
        *map(note, _notes(gain)),
    )


def _notes(gain: Gain) -> Iterator[str]:
    count = len(gain.masked)
    yield (
        f"Masks: {gain.policy}, on {count} layer{'s'[: count != 1]} that have "
        f"{gain.masked_share:.0%} of the multiply-accumulates. Nothing was trained: accuracy is "
        "not told."
    )
    reasons = Counter(one.why for one in gain.left_out)
    for why, number in reasons.most_common():
        names = [one.layer for one in gain.left_out if one.why == why]
        more = f" and {number - _NAMED} more" if number > _NAMED else ""
        yield harmless(f"Not masked: {', '.join(names[:_NAMED])}{more}: {why}.")
