"""Time of each layer, dense against masked, in the order of the network or by what is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import altair as alt

from toolchain.profile.timed_operators import TimedRow
from toolchain.report.page import tables
from toolchain.report.page.chart import (
    FIRST,
    INK,
    OTHER,
    Chart,
    Control,
    Rows,
    legend,
    names_axis,
    place_of,
    spec,
    tips,
)
from toolchain.report.page.tables import Scale, scale_of
from toolchain.report.page.view import Layers, Result

_MANY = 28
"""From so many layers on, bars are thinner."""


def layers_chart(result: Result, prefix: str) -> Chart:
    """The layers of one result's models: beside those of the first one, where that is known.

    Args:
        result: that has layers.
        prefix: of the chart's name.
    """
    beside = [one for one in result.layers if one.beside]
    shown = beside or result.layers
    most = max((max(row.dense, row.masked) for one in shown for row in one.rows), default=0.0)
    scale = scale_of([most], "us")
    rows = [row for number, one in enumerate(shown) for row in _layer_rows(number, one, scale)]
    number = max((sum(1 for row in rows if row["of"] == n) for n in range(len(shown))), default=0)
    bars = 2 if beside else 1
    step = (9 if number / bars > _MANY else 12) * bars + 4
    title = f"time, {scale.unit}"
    made = _layer_spec(rows, title, step * number // bars, beside=bool(beside))
    controls = []
    if len(shown) > 1:
        choices = [(n, one.model) for n, one in enumerate(shown)]
        controls.append(Control("shown", "model", choices))
    if beside:
        controls.append(Control("order", "order", [(0, "of the network"), (1, "most lost first")]))
    hidden = sum(1 for row in shown[0].rows if not (row.dense or row.masked))
    first = shown[0].beside
    notes = (
        [f"Dense bars are of {first}, masked ones of the model that is chosen. " + _LOST_NOTE]
        if beside
        else []
    )
    if hidden:
        notes.append(f"Not shown, because no time was told for them: {hidden} operators.")
    if result.kind == "counted":
        notes.append("The board is emulated: these times stand for instructions, not for seconds.")
    return Chart(
        name=f"{prefix}layers",
        section="layers",
        title="Time of each layer" + (", dense and masked" if beside else ""),
        place=place_of(result),
        says=_most_lost(shown) if beside else "The time of each operator; the table has all.",
        notes=notes,
        spec=made,
        table=tables.layer_table(shown),
        controls=controls,
        parameters={one.model: {"shown": n} for n, one in enumerate(shown)},
    )


_LOST_NOTE = (
    "Ideal: the dense time by what the runtime computes of it, by pixels where it does not tell. "
    "What a bar goes past its mark is lost; short of it, the layer beats the ideal."
)


def _most_lost(shown: Sequence[Layers]) -> str:
    """In a sentence for each model, where most is lost."""
    said = []
    for one in shown:
        worst = max(one.rows, key=lambda row: row.lost if row.dense and row.masked else 0.0)
        if worst.lost > 0:
            said.append(f"{one.model} loses most in {worst.name}.")
    return " ".join(said) or "No layer loses anything against its ideal."


def _layer_rows(number: int, layers: Layers, scale: Scale) -> Iterator[dict[str, Any]]:
    timed = [row for row in layers.rows if row.dense or row.masked]
    ranks = {row.index: rank for rank, row in enumerate(sorted(timed, key=lambda r: -r.lost))}
    seen_names: Counter[str] = Counter()
    for row in timed:
        seen_names[row.name] += 1
        again = seen_names[row.name]
        name = f"{row.name} ({again})" if again > 1 else row.name
        both = [("dense", row.dense), ("masked", row.masked)] if layers.beside else []
        for what, us in both or [("time", row.masked)]:
            yield {
                "of": number,
                "model": layers.model,
                "layer": name,
                "place": row.index,
                "rank": ranks[row.index],
                "what": what,
                "time": scale.of(us),
                "ideal": scale.of(row.ideal) if what == "masked" and row.dense else None,
                "lost": scale.of(row.lost) if layers.beside else None,
                "kind": row.kind if row.shape else "",
                "shape": row.shape,
                "kept": _kept(row),
                "why": row.reason or "",
            }


def _kept(row: TimedRow) -> str:
    return "" if row.pixels is None else f"{row.kept} of {row.pixels}"


def _layer_spec(rows: Rows, title: str, height: int, *, beside: bool) -> dict[str, Any]:
    shown, order = alt.param(name="shown", value=0), alt.param(name="order", value=0)
    base = (
        alt.Chart(alt.NamedData("layers"))
        .transform_filter("datum.of === shown")
        .transform_calculate(position="order === 1 ? datum.rank : datum.place")
    )
    y = alt.Y(
        "layer:N",
        sort=alt.EncodingSortField("position", op="min", order="ascending"),
        title=None,
        axis=names_axis(),
    )
    x = alt.X("time:Q", title=title, axis=alt.Axis(orient="top", tickCount=5))
    told = tips("layer", "what", "time", "ideal", "lost", "kind", "shape", "kept", "why")
    if not beside:
        bars = base.mark_bar(color=OTHER).encode(x=x, y=y, tooltip=tips("layer", "time", "kind"))
        return spec([bars], {"layers": rows}, height, parameters=[shown, order])
    lane = alt.YOffset("what:N", sort=["dense", "masked"])
    bars = base.mark_bar().encode(
        x=x,
        y=y,
        yOffset=lane,
        color=alt.Color(
            "what:N",
            scale=alt.Scale(domain=["dense", "masked"], range=[FIRST, OTHER]),
            legend=legend(symbolType="square"),
            title=None,
        ),
        tooltip=told,
    )
    ideal = base.transform_filter("isValid(datum.ideal)").transform_calculate(mark="'ideal'")
    shape = alt.Shape(
        "mark:N",
        scale=alt.Scale(domain=["ideal"], range=["M0,-1.3L0,1.3"]),
        legend=legend(symbolStrokeColor=INK, symbolFillColor="transparent"),
        title=None,
    )
    rim, mark = (
        ideal.mark_point(size=110, strokeWidth=width, filled=False, color=colour, opacity=1).encode(
            x="ideal:Q", y=y, yOffset=lane, shape=shape, tooltip=told
        )
        for width, colour in ((5, "var(--card)"), (2.5, INK))  # a rim: bars may be as bright
    )
    rim.encoding.shape = shape.copy()
    rim.encoding.shape.legend = None
    return spec(
        [bars, rim, mark],
        {"layers": rows},
        height,
        parameters=[shown, order],
        entries=["dense", "masked", "ideal"],
    )
