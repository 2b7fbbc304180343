"""The plot of ``deploy gain``: what an inference takes by sparsity, and what bounds it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from toolchain.profile.gain_document import Gain
from toolchain.report.fitting import printable, shortened
from toolchain.report.gain_table import LEAST_SHARE
from toolchain.report.page.palette import LIGHT
from toolchain.report.profile_plot import write_plot
from toolchain.timing.model import Bound

if TYPE_CHECKING:  # matplotlib is slow to import
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BOUNDS: tuple[tuple[Bound, str], ...] = (
    ("core", "m1"), ("L2", "m3"), ("L3", "m5"), ("memory", "m2"),
)  # fmt: skip
"""What time is spent on, and the colour of each."""
_TITLE = 90
"""Letters of a title."""


def plot_gain(gain: Gain, path: Path) -> None:
    """Draw what masks would gain into a file whose suffix names the format.

    Raises:
        OutputError: the file cannot be written.
    """
    write_plot(path, lambda: figure_of(gain))


def figure_of(gain: Gain) -> Figure:
    """The drawing: a bar a sparsity, cut by what bounds it, and what the plan allows."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.8 + 1.3 * max(len(gain.rows), 4), 4.4), layout="constrained")
    axes = figure.subplots()
    places = list(range(len(gain.rows)))
    costs = _costs(gain)
    _draw_bars(axes, gain, costs)
    plan = [(at, costs[0] / row.by_plan) for at, row in enumerate(gain.rows) if row.by_plan]
    if plan and costs[0]:
        axes.plot(
            *zip(*plan, strict=True), linestyle="none", marker="_", markersize=26,
            markeredgewidth=2, color=LIGHT["ink"], label="what the plan allows", gid="plan",
        )  # fmt: skip
    for at, row in enumerate(gain.rows):
        if row.speedup is not None and row.sparsity:
            axes.annotate(
                f"{row.speedup:.2f}x", (at, 0), xytext=(0, 4), textcoords="offset points",
                ha="center", color="white", fontsize="small",
            )  # fmt: skip
    axes.set_xticks(places, [f"{100 * one.sparsity:g}%" for one in gain.rows])
    axes.set_xlabel("masked pixels")
    axes.set_ylabel(_unit(gain))
    axes.grid(visible=True, axis="y", color=LIGHT["grid"])
    axes.set_axisbelow(True)
    axes.set_ylim(bottom=0)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize="small", frameon=False)
    title = f"{printable(Path(gain.model).name)} on {gain.title}, threads: {gain.threads}"
    axes.set_title(
        f"{shortened(title, _TITLE)}\nmasks for measuring: not trained",
        loc="left",
        fontsize="medium",
    )
    return figure


def _unit(gain: Gain) -> str:
    if gain.emulated:
        return "million instructions of an inference"
    return f"ms of an inference, {'measured' if gain.measured else 'estimated'}"


def _costs(gain: Gain) -> list[float]:
    if gain.emulated:
        return [(one.instructions or 0.0) / 1e6 for one in gain.rows]
    return [one.ms or 0.0 for one in gain.rows]


def _draw_bars(axes: Axes, gain: Gain, costs: list[float]) -> None:
    places = list(range(len(costs)))
    if any(one.by_bound for one in gain.rows):
        bottom = [0.0] * len(costs)
        for name, colour in _BOUNDS:
            parts = [one.by_bound.get(name, 0.0) for one in gain.rows]
            if any(part > LEAST_SHARE * cost for part, cost in zip(parts, costs, strict=True)):
                axes.bar(places, parts, 0.7, bottom, color=LIGHT[colour], label=name)
                bottom = [low + part for low, part in zip(bottom, parts, strict=True)]
    else:
        axes.bar(places, costs, 0.7, color=LIGHT["m1"], label="measured")
    known = [
        (at, cost, cost - one.low_ms, one.high_ms - cost)
        for at, (cost, one) in enumerate(zip(costs, gain.rows, strict=True))
        if one.low_ms is not None and one.high_ms is not None and not gain.emulated
    ]
    if known:
        at, middle, below, above = zip(*known, strict=True)
        what = "median lies in" if gain.measured else "nine of ten lie in"
        axes.errorbar(
            at, middle, [[max(0.0, one) for one in below], [max(0.0, one) for one in above]],
            linestyle="none", capsize=4, color=LIGHT["soft"], label=what,
        )  # fmt: skip
