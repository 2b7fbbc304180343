"""Every turn of every model, with medians and intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import altair as alt

from toolchain.report.page import tables
from toolchain.report.page.chart import (
    INK,
    OTHER,
    PARETO,
    SOFT,
    Chart,
    Rows,
    cost_scale,
    cost_title,
    listed,
    names_axis,
    place_of,
    spec,
    tips,
)
from toolchain.report.page.palette import seen
from toolchain.report.page.view import Result, Span

_BEYOND = 0.15
"""By how much a turn may lie beyond every interval and be drawn where it lies."""


def turns_chart(result: Result, prefix: str) -> Chart:
    """Every turn of every model of one result; of an estimate its interval."""
    scale = cost_scale(result)
    low, high = _domain(result)
    rows: Rows = [
        {
            "model": one.name,
            "turn": turn.number,
            "median": scale.of(turn.median),
            "low": scale.of(turn.span.low),
            "high": scale.of(turn.span.high),
            "beyond": turn.median > high,
            "at": scale.of(min(turn.median, high)),
            "to": scale.of(min(turn.span.high, high)),
        }
        for one in result.models
        for turn in one.turns
    ]
    spans: Rows = [
        {
            "model": one.name,
            "median": scale.of(one.cost or 0.0),
            "low": scale.of(one.interval.low) if one.interval else None,
            "high": scale.of(one.interval.high) if one.interval else None,
        }
        for one in result.models
    ]
    names: Any = list(dict.fromkeys(seen([one.name for one in result.models])))
    lanes = max(Counter(row["model"] for row in rows).values(), default=0)
    height = min(max(44, 7 * lanes), 120) if len(names) < 5 else min(max(36, 5 * lanes), 84)
    ends = [scale.of(low), scale.of(high)]
    layers = _layers(names, ends, cost_title(result, scale), height, turns=bool(rows))
    data = {"turns": rows, "models": spans} if rows else {"models": spans}
    beyond = [turn.median for one in result.models for turn in one.turns if turn.median > high]
    notes = list(_turn_notes(result))
    if beyond:
        most = tables.written(max(beyond), result.unit)
        notes.append(f"Triangle: a turn that lies beyond the edge: {len(beyond)}, up to {most}.")
    heads = {
        "measured": "Every turn of every model",
        "counted": "Every run of every model",
        "estimated": "Estimated times and how far they may be off",
    }
    return Chart(
        name=f"{prefix}turns",
        section="turns",
        title=heads[result.kind],
        place=place_of(result),
        says=listed(result, result.models, scale),
        notes=notes,
        spec=spec(layers, data, height * len(names)),
        table=tables.turn_table(result),
        key=_KEYS[result.kind],
    )


_KEYS = {
    "measured": "Point: a turn. Line: the median. Band: its 95% interval.",
    "counted": "Point: a run. Line: the median.",
    "estimated": "Line: the estimate. Band: nine of ten times are expected in it.",
}


def _domain(result: Result) -> tuple[float, float]:
    """What the axis shows: all, but for turns that would press the others together."""
    models = result.models
    ends = [one.interval or Span(low=one.cost or 0.0, high=one.cost or 0.0) for one in models]
    turns = [turn for one in models for turn in one.turns]
    low = min([*(one.low for one in ends), *(turn.span.low for turn in turns)])
    likely = max(one.high for one in ends)
    most = max([likely, *(turn.span.high for turn in turns)])
    high = min(most, max(likely + _BEYOND * (likely - low), (1 + _BEYOND) * likely))
    room = 0.03 * (high - low) or 0.01 * high
    return low - room, high + room


def _layers(
    names: Any, ends: Sequence[float], title: str, height: int, *, turns: bool
) -> list[alt.Chart]:
    y = alt.Y("model:N", sort=names, title=None, axis=names_axis())
    ticks = alt.Axis(tickCount=8)
    x = alt.X(
        "low:Q", title=title, axis=ticks, scale=alt.Scale(zero=False, nice=False, domain=list(ends))
    )
    models, every = alt.Chart(alt.NamedData("models")), alt.Chart(alt.NamedData("turns"))
    told = tips("model", "median", "low", "high")
    band = models.mark_bar(opacity=0.22, color=OTHER).encode(x=x, x2="high:Q", y=y, tooltip=told)
    median = models.mark_tick(color=INK, thickness=2, size=height * 0.86).encode(
        x=alt.X("median:Q", title=title, axis=ticks), y=y, tooltip=told
    )
    if not turns:
        return [band, median]
    lane = alt.YOffset("turn:O", scale=alt.Scale(paddingOuter=0.6))
    each = tips("model", "turn", "median", "low", "high")
    spans = every.mark_rule(color=SOFT, opacity=0.55, clip=True).encode(
        x=x, x2="to:Q", y=y, yOffset=lane
    )
    inside = every.transform_filter("!datum.beyond").mark_circle(size=34, color=OTHER, opacity=1)
    beyond = every.transform_filter("datum.beyond").mark_point(
        shape="triangle-right", filled=True, size=60, color=PARETO, opacity=1
    )
    points = [
        one.encode(x=alt.X("at:Q", title=title, axis=ticks), y=y, yOffset=lane, tooltip=each)
        for one in (inside, beyond)
    ]
    return [band, spans, median, *points]


def _turn_notes(result: Result) -> Iterator[str]:
    if result.kind == "estimated":
        yield "Line: the estimate. Band: nine of ten times are expected in it. Nothing is measured."
        return
    if result.kind == "counted":
        yield "Point: the instructions of one run. Emulated, they repeat exactly."
        return
    turns = any(one.interval for one in result.models)
    if turns:
        yield (
            "Point: the median of a turn, which is a process of its own; the first turn is at the "
            "top. Grey line: nine of ten of its runs. Black or white line: the median of all runs. "
            "Band: where the median is likely to lie (95%)."
        )
    else:
        yield "Point: one run, or one turn. There are too few turns for an interval."
