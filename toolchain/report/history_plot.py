"""A plot of a history: the figure of each series over time, a panel a board.

Series whose figures are far apart have panels of their own, as a change of a few percent would not
be seen beside them; so have more than there are colours.
"""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from toolchain.errors import ModelError
from toolchain.profile.series import Point, Series, moment
from toolchain.report.fitting import printable, shortened
from toolchain.report.page.palette import LIGHT, MODELS, SHAPES, on_paper
from toolchain.report.profile_plot import write_plot

if TYPE_CHECKING:  # matplotlib is slow to import
    import numpy as np
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

MOST_PANELS = 8
_MOST_LINES = len(SHAPES)
_APART = 4.0
"""How many times as large as another one a figure in the same panel may be."""
_LEAST_SPAN = 0.1
"""Of a figure, that its axis spans at least: noise has to look like noise."""
_NAME, _TITLE = 28, 80
"""Letters of a model's name in a legend, and of a panel's title."""
_MARKERS = {
    "circle": "o", "square": "s", "triangle-up": "^", "diamond": "D", "cross": "X",
    "triangle-down": "v", "triangle-right": ">", "triangle-left": "<",
}  # fmt: skip
_TIMES = ((1e6, "s"), (1e3, "ms"), (1.0, "µs"))
_COUNTS = ((1e9, "thousand million"), (1e6, "million"), (1e3, "thousand"), (1.0, ""))


@dataclass(frozen=True)
class Panel:
    """Series that share an axis: of one board, and in one unit."""

    title: str
    series: list[Series]
    """No more than there are colours; the one with the largest figures first."""

    @property
    def scale(self) -> tuple[float, str]:
        """By what figures are divided, and what stands at the axis."""
        level = abs(_level(self.series[0]))
        if self.series[0].emulated:
            scale, unit = next((one for one in _COUNTS if level >= one[0]), _COUNTS[-1])
            return scale, f"instructions{', ' if unit else ''}{unit}"
        scale, unit = next((one for one in _TIMES if level >= one[0]), _TIMES[-1])
        return scale, f"median, {unit}"


def plot_history(series: Sequence[Series], path: Path, log: Path) -> list[Series]:
    """Draw series into a file whose suffix names the format.

    Args:
        series: with the runs that are to be drawn.
        path: of the plot.
        log: the history, for messages.

    Returns:
        Those that were left out: they have no figure, or there is no room for their panel.

    Raises:
        ModelError: none has a figure.
        OutputError: the file cannot be written.
    """
    panels = panels_of(series)
    if not panels:
        raise ModelError(f"{log}: there is nothing to draw: no run has a time, or a count")
    shown = panels
    if len(panels) > MOST_PANELS:
        latest = sorted(panels, key=lambda panel: max(one.last for one in panel.series))
        shown = [panel for panel in panels if panel in latest[-MOST_PANELS:]]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing")  # of a name in another script
        write_plot(path, lambda: figure_of(shown))
    drawn = {id(one) for panel in shown for one in panel.series}
    return [one for one in series if id(one) not in drawn]


def panels_of(series: Sequence[Series]) -> list[Panel]:
    """Series that have figures, by board, and those of a board by how large the figures are."""
    boards: dict[tuple[str, bool], list[Series]] = {}
    for one in series:
        if any(one.value(point) is not None for point in one.points):
            boards.setdefault((one.board, one.emulated), []).append(one)
    found = []
    for (board, emulated), of_board in boards.items():
        parts: list[list[Series]] = []
        for one in sorted(of_board, key=_level, reverse=True):
            full = not parts or len(parts[-1]) == _MOST_LINES
            if full or _level(one) * _APART < _level(parts[-1][0]):
                parts.append([])
            parts[-1].append(one)
        title = printable(f"{of_board[-1].title} ({board})") + (", emulated" if emulated else "")
        for number, part in enumerate(parts, 1):
            which = f", {number} of {len(parts)}" if len(parts) > 1 else ""
            found.append(Panel(shortened(title, _TITLE) + which, part))
    return found


def figure_of(panels: Sequence[Panel]) -> Figure:
    """The drawing.

    Args:
        panels: at least one.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 1.1 + 2.7 * len(panels)), layout="constrained")
    all_axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    styles = _styles(panels)
    for axes, panel in zip(all_axes, panels, strict=True):
        _draw(axes, panel, styles)
    every = [point for panel in panels for one in panel.series for point in one.points]
    _lay_out_dates(all_axes[-1], [moment(point.created) for point in every])
    handles = _marks(panels)
    if handles:
        figure.legend(
            handles=handles, loc="outside lower left", ncols=3, fontsize="small", frameon=False
        )
    return figure


def _level(one: Series) -> float:
    values = [value for point in one.points if (value := one.value(point)) is not None]
    return statistics.median(values)


def _styles(panels: Sequence[Panel]) -> dict[int, int]:
    """The number of each series' colour and shape, by the series' ``id``.

    What is the same but for the board looks alike in all panels, where there are colours enough.
    """
    labels = list(dict.fromkeys(one.label for panel in panels for one in panel.series))
    if len(labels) <= _MOST_LINES:
        return {id(one): labels.index(one.label) for panel in panels for one in panel.series}
    return {id(one): index for panel in panels for index, one in enumerate(panel.series)}


def _draw(axes: Axes, panel: Panel, styles: dict[int, int]) -> None:
    scale, unit = panel.scale
    handles = [
        _draw_series(axes, one, scale, str(on_paper(MODELS[number])), _MARKERS[SHAPES[number]])
        for one in panel.series
        for number in (styles[id(one)],)
    ]
    axes.set_title(panel.title, loc="left", fontsize="medium")
    axes.set_ylabel(unit)
    axes.grid(visible=True, color=LIGHT["grid"])
    axes.ticklabel_format(axis="y", useOffset=False, style="plain")
    low, high = axes.dataLim.intervaly
    middle = (low + high) / 2
    span = max(high - low, _LEAST_SPAN * abs(middle)) or 1.0
    axes.set_ylim(middle - 0.58 * span, middle + 0.58 * span)
    names = [
        f"{shortened(printable(one.model), _NAME)}{one.label[len(one.model) :]}"
        for one in panel.series
    ]
    axes.legend(
        handles, names, loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize="small", frameon=False
    )


def _draw_series(axes: Axes, one: Series, scale: float, colour: str, marker: str) -> Artist:
    """Draw one series; returns what stands for it in a legend."""
    import numpy as np
    from matplotlib.lines import Line2D

    points = [point for point in one.points if one.value(point) is not None]
    x = _days(moment(point.created) for point in points)
    y = np.array([one.value(point) for point in points], float) / scale
    size = min(5.0, max(1.5, 60.0 / len(points) ** 0.5))
    axes.plot(x, y, color=colour, linewidth=0.9)
    ends = np.array([_ends(one, point) for point in points], float) / scale
    if np.isfinite(ends).any():
        axes.fill_between(x, ends[:, 0], ends[:, 1], color=colour, alpha=0.2, linewidth=0)
    style = {"linestyle": "none", "marker": marker, "markersize": size, "color": colour}
    doubtful = np.array([one.in_doubt(point) for point in points], bool)
    axes.plot(x[~doubtful], y[~doubtful], gid="sound", **style)
    axes.plot(x[doubtful], y[doubtful], gid="doubtful", markerfacecolor="white", **style)
    other = np.array([point.other_file for point in points], bool)
    axes.plot(
        x[other], y[other], linestyle="none", marker="|", markersize=size + 12,
        markeredgewidth=1.2, color=LIGHT["ink"], gid="other file", zorder=5,
    )  # fmt: skip
    return Line2D([], [], color=colour, marker=marker, markersize=5, linewidth=1)


def _ends(one: Series, point: Point) -> tuple[float, float]:
    nothing = float("nan")
    return (nothing, nothing) if one.emulated else point.interval_us or (nothing, nothing)


def _days(when: Iterable[datetime]) -> NDArray[np.float64]:
    """Dates in days, as matplotlib counts them."""
    import numpy as np
    from matplotlib.dates import date2num

    return np.array(date2num(list(when)), np.float64)  # type: ignore[no-untyped-call]


def _lay_out_dates(axes: Axes, when: Iterable[datetime]) -> None:
    """Lay out the axis of dates, which all panels share."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    days = _days(when)
    first, last = _days(datetime(year, 1, 2, tzinfo=UTC) for year in (1, 9999))
    low, high = days.min(), days.max()
    room = max(0.5, 0.03 * (high - low))
    axes.set_xlim(max(first, low - room), min(last, high + room))
    locator = AutoDateLocator(tz=UTC)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(
        ConciseDateFormatter(locator, tz=UTC)  # type: ignore[no-untyped-call]
    )
    axes.set_xlabel("date (UTC)")


def _marks(panels: Sequence[Panel]) -> list[Artist]:
    """What marks mean, of those that there are."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    every = [(one, point) for panel in panels for one in panel.series for point in one.points]
    colour = LIGHT["soft"]
    found: list[Artist] = []
    if any(one.in_doubt(point) for one, point in every):
        found.append(
            Line2D(
                [], [], linestyle="none", marker="o", markerfacecolor="white", color=colour,
                label="hollow: may be unstable",
            )
        )  # fmt: skip
    if any(point.other_file for _, point in every):
        found.append(
            Line2D(
                [], [], linestyle="none", marker="|", markersize=14, color=LIGHT["ink"],
                label="another file of the model",
            )
        )  # fmt: skip
    if any(point.interval_us and not one.emulated for one, point in every):
        found.append(Patch(color=colour, alpha=0.2, label="where the median lies"))
    return found
