"""What every chart of a report has, and what its makers share.

Every chart takes its numbers from data sets that have names, so that what is drawn can be read back
and compared. Texts of models stand in data alone, never in an expression. Colours are variables of
CSS (``palette.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import altair as alt

from toolchain.report.page.palette import MODELS, seen
from toolchain.report.page.tables import Scale, Table, scale_of
from toolchain.report.page.view import Model, Result

INK, SOFT = "var(--ink)", "var(--soft)"
FIRST, OTHER, PARETO = MODELS[0], MODELS[1], MODELS[2]
Rows = list[dict[str, Any]]

VEGA_LITE = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
"""The version of Vega-Lite that Altair checks for, and that draws."""
_FIT = alt.AutoSizeParams(type="fit-x", contains="padding")
_FORMATS = {"share": ".1%", "accuracy": ".2%", "ratio": ".3f"}
_TEXTS = frozenset(("model", "layer", "what", "how", "kind", "shape", "kept", "why", "unit"))
_SYMBOL, _LETTER = 30, 7
"""Of an entry of a legend, in pixels: its symbol with what is around it, and each letter."""


@dataclass(frozen=True)
class Control:
    """Radio buttons that set a parameter of a chart."""

    parameter: str
    legend: str
    choices: Sequence[tuple[int, str]]
    """Values, the first of which is set, and their names."""


@dataclass(frozen=True)
class Chart:
    """One chart with everything that stands around it."""

    name: str
    """Of its file, and in the page."""
    section: str
    title: str
    place: str
    """The board, and what is known of the figures."""
    says: str
    """What is to be seen, for those who do not see it."""
    notes: Sequence[str]
    """What to know about it."""
    spec: dict[str, Any]
    table: Table
    controls: Sequence[Control] = ()
    key: str = ""
    """What its marks are, in a line; files have it below the title."""
    parameters: dict[str, dict[str, int]] = field(default_factory=dict)
    """What is appended to the name of its file, where it has several -> parameters of each."""


def spec(
    layers: Sequence[alt.Chart],
    data: dict[str, Rows],
    height: int,
    *,
    parameters: Sequence[alt.Parameter] = (),
    marks: Literal["shared", "independent"] = "independent",
    entries: Sequence[str] = (),
) -> dict[str, Any]:
    """A specification that Altair has checked, without a configuration of its own.

    Args:
        layers: what is drawn, the first below.
        data: rows by the names that layers ask for.
        height: of the plot, in pixels.
        parameters: that the page's controls set.
        marks: whether layers share their scales of colours and shapes.
        entries: of the legend, which stand in a row where there is room. The page and files set
            how many letters they have, and names of axes.
    """
    chart = alt.layer(*layers, datasets=seen(data)).resolve_scale(
        color=marks, shape=marks, strokeDash="independent"
    )
    chart = chart.properties(width="container", height=height, autosize=_FIT)
    room = [alt.param(name="axisLetters", value=40), alt.param(name="legendLetters", value=40)]
    made: dict[str, Any] = chart.add_params(*parameters, *room).to_dict()
    made.pop("config", None)
    widths = [_SYMBOL + _LETTER * len(name) for name in entries]
    made["usermeta"] = {"legend": sum(widths), "entry": max(widths, default=0)}
    return made


def legend(**settings: Any) -> alt.Legend:
    """A legend above the plot, without a title."""
    return alt.Legend(
        title=None, orient="top", labelExpr=_short("legendLetters"), labelLimit=0, **settings
    )


def names_axis() -> alt.Axis:
    """An axis of names, which lose their middle where there is no room."""
    short = _short("axisLetters")
    return alt.Axis(ticks=False, domain=False, labelExpr=short, labelLimit=0)


def _short(most: str) -> str:
    """An expression for a label of so many letters: names often differ at their end alone."""
    cut = f"slice(datum.label, 0, {most} - 9) + '…' + slice(datum.label, -8)"
    return f"length(datum.label) > {most} ? {cut} : datum.label"


def tips(*names: str) -> list[alt.Tooltip]:
    """What is shown where the pointer is: texts as they are, figures with four digits."""
    return [
        alt.Tooltip(f"{name}:N")
        if name in _TEXTS
        else alt.Tooltip(f"{name}:Q", format=_FORMATS.get(name, ".4~g"))
        for name in names
    ]


def cost_scale(result: Result) -> Scale:
    """The unit of a result's charts."""
    return scale_of([one.cost or 0.0 for one in result.models], result.unit)


def cost_title(result: Result, scale: Scale) -> str:
    """What stands at the axis of costs."""
    if result.unit == "instructions":
        return scale.unit
    said = "estimated time" if result.kind == "estimated" else "time"
    return f"{said}, {scale.unit}"


def what(result: Result) -> str:
    """What a result's costs are, to begin a heading."""
    words = {"measured": "Time", "counted": "Instructions", "estimated": "Estimated time"}
    return words[result.kind]


def listed(result: Result, models: Sequence[Model], scale: Scale) -> str:
    """Models with their figures, in a sentence."""
    said = [
        f"{one.name} {scale.of(one.cost or 0.0):.3g} {scale.unit}"
        + ("" if one.accuracy is None else f" at {one.accuracy:.1%}")
        for one in models
    ]
    return f"On {result.title}: {', '.join(said)}."


def place_of(result: Result) -> str:
    """The board with its threads, and whether figures are measured, counted or estimated."""
    used = "1 thread" if result.threads == 1 else f"{result.threads} threads"
    return f"{result.title}, {used}, {result.kind}"
