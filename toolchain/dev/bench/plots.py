"""The plots of the bench's page."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from toolchain.dev.bench.models import NETWORKS
from toolchain.dev.bench.results import BenchResults, CaseResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = dict(
    zip(NETWORKS, ("#3b6ea5", "#7fb0dd", "#1d3a5c", "#c8553d", "#5a9367", "#8e6bb0"), strict=True)
)
_STYLE = {"svg.hashsalt": "bench", "svg.fonttype": "none", "font.size": 9}
_KINDS = (("3x3", "o"), ("1x1", "s"), ("dw", "^"), ("other", "x"))
_LINES = {"fp32": "-", "int8": "--"}


def speedup_plot(results: BenchResults, file_format: str = "svg") -> bytes:
    """Speed-up against sparsity: instructions left, times right; one thread."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):  # type: ignore[arg-type]
        figure = Figure(figsize=(10, 4.4), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        left.set_title(f"instructions, emulated {results.core}")
        right.set_title("time, x86-64 (quartiles)")
        for axes in (left, right):
            sparsities = [s / 100 for s in range(0, 52, 2)]
            axes.plot(sparsities, [1 / (1 - s) for s in sparsities], color="0.6", linewidth=1)
            axes.annotate(
                "1/(1-s)", (0.35, 1 / 0.65), (0.4, 1.25), color="0.4", ha="left", va="center",
                arrowprops={"arrowstyle": "-", "color": "0.6"},
            )  # fmt: skip
            axes.set_xlabel("masked share of pixels, s")
            axes.grid(color="0.9")
        left.set_ylabel("dense over masked")
        for name, colour in _COLOURS.items():
            for dtype, line in _LINES.items():
                cases = sorted(
                    (
                        case
                        for case in results.cases
                        if (case.network, case.dtype, case.threads) == (name, dtype, 1)
                    ),
                    key=lambda case: case.sparsity,
                )
                _instructions_line(left, results, cases, colour, line, f"{name} {dtype}")
                _times_line(right, cases, colour, line)
        if left.get_legend_handles_labels()[1]:
            left.legend(frameon=False, fontsize=8)
        return _bytes(figure, file_format)


def _instructions_line(
    axes: Axes, results: BenchResults, cases: list[CaseResult], colour: str, line: str, label: str
) -> None:
    points = [(case.sparsity, ratio) for case in cases if (ratio := results.speedup(case))]
    if points:
        axes.plot(*zip(*points, strict=True), line, color=colour, marker="o", markersize=3,
                  linewidth=1, label=label)  # fmt: skip


def _times_line(axes: Axes, cases: list[CaseResult], colour: str, line: str) -> None:
    timed = [(case.sparsity, case.timed.speedup) for case in cases if case.timed]
    if timed:
        axes.errorbar(
            [s for s, _ in timed],
            [speedup.median for _, speedup in timed],
            [
                [speedup.median - speedup.low for _, speedup in timed],
                [speedup.high - speedup.median for _, speedup in timed],
            ],
            fmt=line, color=colour, marker="o", markersize=3, linewidth=1, capsize=2,
        )  # fmt: skip


def gap_plot(results: BenchResults, file_format: str = "svg") -> bytes:
    """Each masked operator's part of its ideal, against its part of the inference."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    shown = [
        case for case in results.cases if case.operators and case.sparsity == _usual(results, case)
    ]
    columns = min(3, max(1, len(shown)))
    rows = max(1, -(-len(shown) // columns))
    with mpl.rc_context(_STYLE):  # type: ignore[arg-type]
        figure = Figure(figsize=(10, 3 * rows), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
        for axes, case in zip(grid.flat, shown, strict=False):
            _gaps(axes, case)
        for axes in list(grid.flat)[len(shown) :]:
            axes.set_visible(False)
        return _bytes(figure, file_format)


def _usual(results: BenchResults, case: CaseResult) -> float | None:
    """0.2 where it was measured, else the least sparsity of the network and type."""
    there = sorted(
        other.sparsity
        for other in results.cases
        if other.operators and (other.network, other.dtype) == (case.network, case.dtype)
    )
    return 0.2 if 0.2 in there else next(iter(there), None)


def _gaps(axes: Axes, case: CaseResult) -> None:
    total = case.counted.instructions if case.counted else 1
    axes.axhline(1, color="0.6", linewidth=1)
    axes.axhline(0.95, color="#c8553d", linewidth=0.7, linestyle=":")
    for kind, marker in _KINDS:
        points = [
            (100 * row.masked / total, row.of_ideal)
            for row in case.operators
            if row.of_ideal and row.kept is not None and row.kept != row.pixels
            and _kind(row.kind) == kind
        ]  # fmt: skip
        if points:
            shares, ratios = zip(*points, strict=True)
            axes.scatter(shares, ratios, s=12, marker=marker, label=kind)
    axes.set_title(f"{case.network} {case.dtype}, s = {case.sparsity:g}")
    axes.set_xscale("log")
    axes.set_xticks([0.1, 0.3, 1, 3, 10], ["0.1", "0.3", "1", "3", "10"])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("percent of the inference")
    axes.set_ylabel("ratio over ideal")
    axes.grid(color="0.92")
    axes.legend(frameon=False, fontsize=7)


def _kind(kind: str) -> str:
    known = ("dw", "3x3", "1x1")
    return next((one for one in known if kind.startswith(one)), "other")


def _bytes(figure: Figure, file_format: str) -> bytes:
    stream = io.BytesIO()
    metadata = {"Date": None} if file_format == "svg" else None
    figure.savefig(stream, format=file_format, metadata=metadata)
    return stream.getvalue()
