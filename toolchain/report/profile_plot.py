"""A plot of a profile: cost of each model, and its ratio beside the ideal one."""

from __future__ import annotations

import io
from pathlib import Path

from toolchain.errors import OutputError
from toolchain.files import write_whole
from toolchain.profile.document import Profile

FORMATS = ("png", "svg", "pdf")


def check_plot_path(path: Path) -> None:
    """Refuse a file name that no plot can be written to, before any work is done.

    Raises:
        OutputError: an unknown suffix, or no such folder.
    """
    if path.suffix.lstrip(".").lower() not in FORMATS:
        raise OutputError(
            f"{path}: a plot cannot be written as '{path.suffix}'",
            hint=f"use one of .{', .'.join(FORMATS)}",
        )
    if not path.parent.is_dir():
        raise OutputError(f"{path}: there is no folder {path.parent}")


def plot_profile(profile: Profile, path: Path) -> None:
    """Draw a profile into a file whose suffix names the format.

    Raises:
        OutputError: the file cannot be written.
    """
    check_plot_path(path)
    from matplotlib.figure import Figure

    labels = [item.label for item in profile.measurements]
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

    ratios = [profile.ratio(item) or 0.0 for item in profile.measurements]
    ideals = [profile.ideal_ratio(item) or 0.0 for item in profile.measurements]
    right.barh(rows, ratios, color="#3b6ea5", label="measured")
    right.plot(ideals, rows, "D", color="#c8553d", label="ideal (multiply-accumulates)")
    right.axvline(1.0, color="0.5", linewidth=0.8)
    right.set_xlabel(f"ratio over {labels[0]}")
    figure.legend(loc="outside lower right", ncols=2, fontsize="small", frameon=False)

    note = " (emulated: seconds mean nothing)" if profile.by_instructions else ""
    figure.suptitle(f"{profile.board.title}, threads: {profile.threads}{note}")
    stream = io.BytesIO()
    figure.savefig(stream, format=path.suffix.lstrip(".").lower(), dpi=150)
    write_whole(path, stream.getvalue())
