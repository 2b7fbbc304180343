"""Layers under the roof of their core."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from toolchain.report.page import tables
from toolchain.report.page.chart import INK, Chart, Rows, legend, place_of, spec, tips
from toolchain.report.page.palette import colours_of, seen, shapes_of
from toolchain.report.page.view import Result, Roofline

_HEIGHT = 360
_NOTE = (
    "A point is a layer: how many multiply-accumulates it computes for each byte that it has to "
    "move at least, and how many a second. Under the slope memory is the limit, unless a cache "
    "holds the data; under the flat part the core is."
)


def roofline_chart(result: Result, found: Roofline, prefix: str) -> Chart:
    """One point a layer.

    Args:
        result: whose layers they are.
        found: the roof and the layers.
        prefix: of the chart's name.
    """
    ridge = found.peak / found.bandwidth
    low = min(min(one.intensity for one in found.points), ridge) / 2
    high = max(max(one.intensity for one in found.points), ridge) * 2
    names = list(dict.fromkeys(one.model for one in found.points))
    x = alt.X(
        "intensity:Q",
        title="multiply-accumulates a byte",
        scale=alt.Scale(type="log", nice=False, domain=[low, high]),
        axis=alt.Axis(format="~g", tickCount=6),
    )
    y = alt.Y(
        "rate:Q",
        title="billion multiply-accumulates a second",
        scale=alt.Scale(type="log", nice=True),
        axis=alt.Axis(format="~g", tickCount=5),
    )
    best = max(found.points, key=lambda one: one.rate)
    share = best.rate / found.peak
    return Chart(
        name=f"{prefix}roofline",
        section="roofline",
        title=f"Layers under the roof of a {found.core}",
        place=place_of(result),
        says=f"The fastest layer, {best.layer} of {best.model}, reaches {share:.0%} of the peak.",
        notes=[_NOTE, *found.sources],
        spec=spec(
            [*_roof(x, y), _marks(x, y, names, [one.name for one in result.models])],
            _data(found, (low, ridge, high)),
            _HEIGHT,
            marks="shared",
            entries=names,
        ),
        table=tables.roofline_table(found),
        key="Point: a layer. Line: what the core and its memory can do at most.",
    )


def _data(found: Roofline, ends: tuple[float, float, float]) -> dict[str, Rows]:
    """Layers, the roof, and what is written at its two ends; ``ends`` are along x."""
    roof = [{"intensity": at, "rate": min(found.peak, found.bandwidth * at) / 1e9} for at in ends]
    return {
        "points": [
            {
                "model": one.model,
                "layer": one.layer,
                "intensity": one.intensity,
                "rate": one.rate / 1e9,
            }
            for one in found.points
        ],
        "roof": roof,
        "labels": [
            roof[0] | {"text": f"memory {found.bandwidth / 1e9:.3g} GB/s", "right": False},
            roof[2] | {"text": f"peak {found.peak / 1e9:.3g}", "right": True},
        ],
    }


def _roof(x: alt.X, y: alt.Y) -> list[alt.Chart]:
    line = alt.Chart(alt.NamedData("roof")).mark_line(color=INK, strokeWidth=2).encode(x=x, y=y)
    labels = alt.Chart(alt.NamedData("labels"))
    peak = labels.transform_filter("datum.right").mark_text(align="right", dx=-4, dy=-10)
    memory = labels.transform_filter("!datum.right").mark_text(align="left", dx=26, dy=14)
    return [line, *(one.encode(x=x, y=y, text="text:N") for one in (peak, memory))]


def _marks(x: alt.X, y: alt.Y, names: Sequence[str], every: Sequence[str]) -> alt.Chart:
    """Points of the models ``names``, coloured by their places among ``every``."""
    domain: Any = seen(names)
    places = [every.index(name) for name in names]
    colours, shapes = colours_of(every), shapes_of(every)
    hues = alt.Scale(domain=domain, range=[colours[place] for place in places])
    forms = alt.Scale(domain=domain, range=[shapes[place] for place in places])
    points = alt.Chart(alt.NamedData("points")).mark_point(size=70, filled=True, opacity=0.85)
    drawn: alt.Chart = points.encode(
        x=x,
        y=y,
        color=alt.Color("model:N", scale=hues, legend=legend(), title=None),
        shape=alt.Shape("model:N", scale=forms, legend=legend(), title=None),
        tooltip=tips("model", "layer", "intensity", "rate"),
    )
    return drawn
