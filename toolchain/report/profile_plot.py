"""A plot of a profile: cost of each model, and its ratio beside the one by pixels."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from toolchain import extras
from toolchain.errors import OutputError
from toolchain.profile.document import Profile
from toolchain.storage.files import check_writable, same_place, write_whole

if TYPE_CHECKING:  # matplotlib is slow to import
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("png", "svg", "pdf")


def check_plot_path(
    path: Path, others: Iterable[Path] = (), *, inputs: Iterable[Path] = ()
) -> None:
    """Refuse a file name that no plot can be written to, before any work is done.

    Args:
        path: of the plot.
        others: what else is written; a plot in its place would take it away.
        inputs: files that the work reads.

    Raises:
        OutputError: an unknown suffix, no such folder, or it cannot be written.
        MissingToolError: there is nothing here to draw with.
    """
    check_writable(path, suffixes=[f".{name}" for name in FORMATS], inputs=inputs)
    if any(same_place(path, other) for other in others):
        raise OutputError(
            f"{path}: is to hold what --output writes, and the plot",
            hint="give the plot another name",
        )
    extras.require("a plot", "plot")


def plot_profile(profile: Profile, path: Path) -> None:
    """Draw a profile into a file whose suffix names the format.

    Raises:
        OutputError: the file cannot be written.
    """
    write_plot(path, lambda: _figure_of(profile))


def write_plot(path: Path, draw: Callable[[], Figure]) -> None:
    """Draw into a file whose suffix names the format.

    Raises:
        OutputError: the file cannot be written.
    """
    import matplotlib as mpl

    stream = io.BytesIO()
    # A model's name is no formula, whatever dollar signs are in it.
    with mpl.rc_context({"text.parse_math": False}):
        draw().savefig(stream, format=path.suffix.lstrip(".").lower(), dpi=150)
    write_whole(path, stream.getvalue())


def _figure_of(profile: Profile) -> Figure:
    from matplotlib.figure import Figure

    labels = [profile.label(item) for item in profile.measurements]
    rows = range(len(labels))
    figure = Figure(figsize=(10, 1.6 + 0.5 * len(labels)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)

    scale, unit = (1e6, "million user instructions") if profile.by_instructions else (1e3, "ms")
    costs = [(profile.cost(item) or 0.0) / scale for item in profile.measurements]
    spread = None
    if not profile.by_instructions:
        timings = [item.output.timing for item in profile.measurements]
        spread = [timing.mad_us / scale if timing else 0.0 for timing in timings]
    left.barh(rows, costs, xerr=spread, color="#3b6ea5")
    left.set_yticks(rows, labels)
    left.invert_yaxis()
    left.set_xlabel(f"per inference, {unit}")

    _draw_ratios(right, profile, labels)
    figure.legend(loc="outside lower right", ncols=3, fontsize="small", frameon=False)

    note = " (emulated: seconds mean nothing)" if profile.by_instructions else ""
    counts = ", ".join(map(str, profile.thread_counts))
    figure.suptitle(f"{profile.board.title}, threads: {counts}{note}")
    return figure


def _draw_ratios(axes: Axes, profile: Profile, labels: Sequence[str]) -> None:
    rows = range(len(labels))
    measured = profile.measurements
    ratios = [profile.ratio(item) or 0.0 for item in measured]
    intervals = [profile.ratio_interval(item) for item in measured]
    ends = None
    if any(intervals):
        pairs = list(zip(ratios, intervals, strict=True))
        ends = [
            [max(0.0, value - one.low) if one else 0.0 for value, one in pairs],
            [max(0.0, one.high - value) if one else 0.0 for value, one in pairs],
        ]
    axes.barh(rows, ratios, xerr=ends, color="#3b6ea5", label="measured")
    pixels = [profile.ratio_by_pixels(item) or 0.0 for item in measured]
    axes.plot(pixels, rows, "D", color="#c8553d", label="by pixels")
    plans = [profile.ratio_by_plan(item) for item in measured]
    if any(both and both != one for both, one in zip(plans, pixels, strict=True)):
        known = [(value, row) for value, row in zip(plans, rows, strict=True) if value]
        x, y = zip(*known, strict=True)
        axes.plot(x, y, "|", color="#c8553d", markersize=14, label="by plan")
    for row, item in enumerate(measured):
        if profile.ratio_in_doubt(item):
            axes.annotate("?", (ratios[row], row), xytext=(4, 0), textcoords="offset points")
    axes.axvline(1.0, color="0.5", linewidth=0.8)
    beside = " with as many threads" if len(profile.thread_counts) > 1 else ""
    over = f"ratio over {measured[0].label}{beside}"
    axes.set_xlabel("ratio" if profile.reference_failed else over)
