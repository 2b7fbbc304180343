"""Layers under the roof of their core."""

from __future__ import annotations

from typing import Any

import altair as alt

from toolchain.report.page import tables
from toolchain.report.page.chart import INK, Chart, Rows, legend, place_of, spec, tips
from toolchain.report.page.palette import colours_of, seen, shapes_of
from toolchain.report.page.view import Result, Roofline


def roofline_chart(result: Result, found: Roofline, prefix: str) -> Chart:
    """One point a layer.

    Args:
        result: whose layers they are.
        found: the roof and the layers.
        prefix: of the chart's name.
    """
    points: Rows = [
        {"model": one.model, "layer": one.layer, "intensity": one.intensity,
         "rate": one.rate / 1e9}
        for one in found.points
    ]  # fmt: skip
    ridge = found.peak / found.bandwidth
    low = min(min(one.intensity for one in found.points), ridge) / 2
    high = max(max(one.intensity for one in found.points), ridge) * 2
    roof: Rows = [
        {"intensity": at, "rate": min(found.peak, found.bandwidth * at) / 1e9}
        for at in (low, ridge, high)
    ]
    texts: Rows = [
        {"intensity": high, "rate": found.peak / 1e9, "text": f"peak {found.peak / 1e9:.3g}"},
        {"intensity": low, "rate": found.bandwidth * low / 1e9,
         "text": f"memory {found.bandwidth / 1e9:.3g} GB/s"},
    ]  # fmt: skip
    names = list(dict.fromkeys(one.model for one in found.points))
    every = [one.name for one in result.models]
    colours, shapes = colours_of(every), shapes_of(every)
    places = [every.index(name) for name in names]
    domain: Any = seen(names)
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
    line = alt.Chart(alt.NamedData("roof")).mark_line(color=INK, strokeWidth=2).encode(x=x, y=y)
    labels = [
        alt.Chart(alt.NamedData("labels"))
        .transform_filter(f"datum.intensity {'>' if right else '<'} {ridge}")
        .mark_text(
            align="right" if right else "left", dy=-10 if right else 14, dx=-4 if right else 26
        )
        .encode(x=x, y=y, text="text:N")
        for right in (True, False)
    ]
    marks = (
        alt.Chart(alt.NamedData("points"))
        .mark_point(size=70, filled=True, opacity=0.85)
        .encode(
            x=x,
            y=y,
            color=alt.Color(
                "model:N",
                scale=alt.Scale(domain=domain, range=[colours[place] for place in places]),
                legend=legend(),
                title=None,
            ),
            shape=alt.Shape(
                "model:N",
                scale=alt.Scale(domain=domain, range=[shapes[place] for place in places]),
                legend=legend(),
                title=None,
            ),
            tooltip=tips("model", "layer", "intensity", "rate"),
        )
    )
    best = max(found.points, key=lambda one: one.rate)
    share = best.rate / found.peak
    return Chart(
        name=f"{prefix}roofline",
        section="roofline",
        title=f"Layers under the roof of a {found.core}",
        place=place_of(result),
        says=f"The fastest layer, {best.layer} of {best.model}, reaches {share:.0%} of the peak.",
        notes=[
            "A point is a layer: how many multiply-accumulates it computes for each byte that it "
            "has to move at least, and how many a second. Under the slope memory is the limit, "
            "unless a cache holds the data; under the flat part the core is.",
            *found.sources,
        ],
        spec=spec(
            [line, *labels, marks],
            {"points": points, "roof": roof, "labels": texts},
            360,
            marks="shared",
            entries=names,
        ),
        table=tables.roofline_table(found),
        key="Point: a layer. Line: what the core and its memory can do at most.",
    )
