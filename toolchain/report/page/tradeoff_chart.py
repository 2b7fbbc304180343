"""What a model costs against what it gains: accuracy, or the work that masks leave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from toolchain.report.page import tables
from toolchain.report.page.chart import (
    PARETO,
    SOFT,
    Chart,
    Rows,
    cost_scale,
    cost_title,
    legend,
    listed,
    place_of,
    spec,
    tips,
    what,
)
from toolchain.report.page.palette import colours_of, seen, shapes_of
from toolchain.report.page.tables import Scale
from toolchain.report.page.view import Model, Result
from toolchain.sweep.document import pareto_front as front_of

_LABELLED = 6
"""So many models at most have their names beside their points."""
_NEAR = (0.36, 0.09)
"""Parts of a chart's width and height within which the names of two models overlap."""
_WIDE = 420
"""From this width on, in pixels, there is room for names."""
_HEIGHT = 340
_HOWS = ["ideal by pixels", "ideal by plan"]
_DASH = [[5, 4]]
_TICKS = {True: "M0,-1.7L0,1.7", False: "M-1.7,0L1.7,0"}
"""A line across the axis of costs, which lies or stands."""
_IDEALS = (
    "Ideal by pixels: the first model's figure times the share of multiply-accumulates that masks "
    "leave. Ideal by plan: times the share that the runtime computes, as it says itself: dead taps "
    "are not in it, rows of tiles that nobody wants are."
)


@dataclass(frozen=True)
class _Plane:
    """What the two ways to draw it share: the models, their unit and the axes."""

    result: Result
    models: Sequence[Model]
    scale: Scale
    x: alt.X
    y: alt.Y

    @property
    def by_accuracy(self) -> bool:
        """Whether costs lie along x; else along y."""
        return self.models[0].accuracy is not None

    def spec(
        self, layers: Sequence[alt.Chart], data: dict[str, Rows], line: Sequence[str]
    ) -> dict[str, Any]:
        """What is drawn.

        Args:
            layers: of it.
            data: that they take.
            line: the name that a line has in the legend, where it has one of its own.
        """
        entries = [*(one.name for one in self.models), *_HOWS, *line]
        return spec(layers, data, _HEIGHT, entries=entries)


def tradeoff_chart(result: Result, prefix: str) -> Chart:
    """The models of one result, those with an accuracy alone where there are any.

    Args:
        result: of which every model has a cost.
        prefix: of the chart's name.
    """
    accurate = [one for one in result.models if one.accuracy is not None]
    return _by_accuracy(result, accurate, prefix) if accurate else _by_work(result, prefix)


def pareto_front(models: Sequence[Model]) -> list[Model]:
    """Models that no other one beats in both cost and accuracy, the fastest first."""
    return front_of(models, lambda one: one.cost or 0.0, lambda one: one.accuracy or 0.0)


def _by_accuracy(result: Result, models: Sequence[Model], prefix: str) -> Chart:
    scale, front = cost_scale(result), pareto_front(models)
    plane = _Plane(
        result,
        models,
        scale,
        alt.X(
            "cost:Q",
            title=cost_title(result, scale),
            axis=alt.Axis(tickCount=8),
            scale=alt.Scale(zero=False, padding=36),
        ),
        alt.Y(
            "accuracy:Q",
            title="accuracy",
            axis=alt.Axis(format="%", tickCount=6),  # as many digits as tell ticks apart
            scale=alt.Scale(zero=False, padding=24),
        ),
    )
    names = [one.name for one in front]
    stairs: Rows = [
        {"cost": scale.of(one.cost or 0), "accuracy": one.accuracy, "line": "Pareto front"}
        for one in front
    ]
    ring = (
        alt.Chart(alt.NamedData("points"))
        .transform_filter("datum.front")
        .mark_point(size=300, filled=False, color=PARETO, strokeWidth=1.5)
        .encode(x=plane.x, y=plane.y)
    )
    layers = [_dashed(plane, "Pareto front", PARETO), ring, *_marks(plane, _HOWS)]
    notes = [
        "Up and to the left is better. A ring marks the Pareto front: no other model is both "
        "faster and more accurate."
    ]
    if left_out := len(result.models) - len(models):
        notes.append(f"Models without an accuracy are not shown: {left_out}.")
    data = {"points": _points(plane, names), "ideals": _ideals(plane, _HOWS), "line": stairs}
    return Chart(
        name=f"{prefix}tradeoff",
        section="tradeoff",
        title=f"{what(result)} against accuracy",
        place=place_of(result),
        says=f"{listed(result, models, scale)} On the Pareto front: {', '.join(names)}.",
        notes=[*notes, _IDEALS],
        spec=plane.spec(layers, data, ["Pareto front"]),
        table=tables.tradeoff_table(result, names),
        key="Up and to the left is better. Ring: on the Pareto front.",
    )


def _by_work(result: Result, prefix: str) -> Chart:
    scale, models, first = cost_scale(result), result.models, result.first
    ends = [one.interval.high if one.interval else one.cost or 0.0 for one in models]
    widest = 1.04 * max(one.share_left for one in models)
    plane = _Plane(
        result,
        models,
        scale,
        alt.X(
            "share:Q",
            title="multiply-accumulates that masks leave",
            axis=alt.Axis(format=".0%", tickCount=5),
            scale=alt.Scale(domain=[0, widest], nice=False),
        ),
        alt.Y(
            "cost:Q",
            title=cost_title(result, scale),
            axis=alt.Axis(tickCount=6),
            scale=alt.Scale(domain=[0, 1.08 * scale.of(max(ends))], nice=False),
        ),
    )
    by_pixels, by_plan = _HOWS
    line: Rows = [
        {"share": share, "cost": cost, "line": by_pixels}
        for share, cost in ((0.0, 0.0), (first.share_left, scale.of(first.cost or 0)))
    ]
    layers = [_dashed(plane, by_pixels, SOFT), *_marks(plane, [by_plan])]
    notes = [
        "Accuracies were not given (--accuracy), so the share of multiply-accumulates stands in "
        "their place. Below the dashed line a model beats the ideal by pixels."
    ]
    data = {"points": _points(plane, ()), "ideals": _ideals(plane, [by_plan]), "line": line}
    return Chart(
        name=f"{prefix}tradeoff",
        section="tradeoff",
        title=f"{what(result)} against what masks leave",
        place=place_of(result),
        says=listed(result, models, scale),
        notes=[*notes, _IDEALS],
        spec=plane.spec(layers, data, []),
        table=tables.tradeoff_table(result, ()),
    )


# --- what is drawn ---------------------------------------------------------------------------


def _dashed(plane: _Plane, name: str, colour: str) -> alt.Chart:
    """A dashed line with an entry in the legend."""
    dash = alt.StrokeDash(
        "line:N",
        scale=alt.Scale(domain=[name], range=_DASH),
        legend=legend(symbolSize=200),
        title=None,
    )
    line = alt.Chart(alt.NamedData("line"))
    drawn: alt.Chart = line.mark_line(
        interpolate="step-after" if plane.by_accuracy else "linear", color=colour, strokeWidth=1.5
    )
    return drawn.encode(x=plane.x, y=plane.y, strokeDash=dash)


def _marks(plane: _Plane, hows: Sequence[str]) -> list[alt.Chart]:
    """Points of models with their intervals, their ideals and their names."""
    x, y = plane.x, plane.y
    names = [one.name for one in plane.result.models]
    colours = dict(zip(seen(names), colours_of(names), strict=True))
    shapes = dict(zip(seen(names), shapes_of(names), strict=True))
    domain: Any = list(dict.fromkeys(seen([one.name for one in plane.models])))
    hues = alt.Scale(domain=domain, range=[colours[name] for name in domain])
    forms = alt.Scale(domain=domain, range=[shapes[name] for name in domain])
    plain = alt.Color("model:N", scale=hues, legend=None, title=None)
    how = alt.Shape(
        "how:N",
        scale=alt.Scale(
            domain=list(hows), range=["diamond", _TICKS[plane.by_accuracy]][-len(hows) :]
        ),
        legend=legend(symbolStrokeColor=SOFT, symbolFillColor="transparent"),
        title=None,
    )
    ends: Any = {"x": x, "y": alt.Y("low:Q"), "y2": alt.Y2("high:Q")}
    if plane.by_accuracy:
        ends = {"x": alt.X("low:Q"), "x2": alt.X2("high:Q"), "y": y}
    points, ideals = alt.Chart(alt.NamedData("points")), alt.Chart(alt.NamedData("ideals"))
    marks = [
        points.mark_rule(strokeWidth=3, opacity=0.35).encode(**ends, color=plain),
        ideals.mark_point(size=110, filled=False, strokeWidth=2).encode(
            x=x, y=y, color=plain, shape=how, tooltip=tips("model", "how", "cost")
        ),
        points.mark_point(size=130, filled=True, opacity=1).encode(
            x=x,
            y=y,
            color=alt.Color("model:N", scale=hues, legend=legend(), title=None),
            shape=alt.Shape("model:N", scale=forms, legend=legend(), title=None),
            tooltip=tips("model", "cost", "low", "high", "unit", "share", "accuracy", "ratio"),
        ),
    ]
    return [*marks, *_names(plane)] if plane.by_accuracy and _apart(plane.models) else marks


def _names(plane: _Plane) -> list[alt.Chart]:
    """The models' names beside their points, where the chart is wide; else the legend has them."""
    found = []
    for right in (False, True):
        side = alt.Chart(alt.NamedData("points")).transform_filter(
            "datum.right" if right else "!datum.right"
        )
        place: Any = {"align": "right" if right else "left", "dx": -2 if right else 2, "dy": -17}
        rim: Any = {"stroke": "var(--card)", "strokeWidth": 4, "strokeJoin": "round"}
        looks: tuple[Any, ...] = (rim, {})
        for look in looks:  # a rim first: lines may run behind
            text = side.transform_calculate(shown=f"width > {_WIDE} ? datum.model : ''")
            mark = text.mark_text(**place, **look, limit=240, fontWeight=600)
            found.append(mark.encode(x=plane.x, y=plane.y, text="shown:N"))
    return found


def _apart(models: Sequence[Model]) -> bool:
    """Whether the models' names do not overlap on a chart that is wide."""
    across = _parts([one.cost or 0.0 for one in models])
    up = _parts([one.accuracy or 0.0 for one in models])
    return len(models) <= _LABELLED and all(
        abs(across[one] - across[two]) > _NEAR[0] or abs(up[one] - up[two]) > _NEAR[1]
        for one in range(len(models))
        for two in range(one)
    )


def _parts(values: Sequence[float]) -> list[float]:
    low, high = min(values), max(values)
    return [(value - low) / (high - low) if high > low else 0.5 for value in values]


def _points(plane: _Plane, front: Sequence[str]) -> Rows:
    costs = [one.cost or 0.0 for one in plane.models]
    middle, of = (min(costs) + max(costs)) / 2, plane.scale.of
    return [
        {
            "model": one.name,
            "cost": of(cost),
            "low": of(one.interval.low if one.interval else cost),
            "high": of(one.interval.high if one.interval else cost),
            "share": one.share_left,
            "accuracy": one.accuracy,
            "ratio": one.ratio,
            "front": one.name in front,
            "right": cost > middle,
            "unit": plane.scale.unit,
        }
        for one, cost in zip(plane.models, costs, strict=True)
    ]


def _ideals(plane: _Plane, hows: Sequence[str]) -> Rows:
    """Where models would stand if cost were proportional to work; the first model is its own."""
    first = plane.result.first
    return [
        {
            "model": one.name,
            "how": how,
            "cost": plane.scale.of((first.cost or 0.0) / ratio),
            "share": one.share_left,
            "accuracy": one.accuracy,
        }
        for one in plane.models
        if one is not first
        for how, ratio in zip(_HOWS, (one.by_pixels, one.by_plan), strict=True)
        if ratio and how in hows
    ]
