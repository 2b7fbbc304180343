"""The plot of ``deploy gain``: bars by what bounds them, and the plan."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.patches import Rectangle

from support.gains import estimated_gain, measured_gain
from toolchain.report.gain_plot import figure_of, plot_gain


def test_bars_are_as_high_as_the_times_and_cut_by_what_bounds_them(tmp_path: Path) -> None:
    gain = estimated_gain(tmp_path)
    (axes,) = figure_of(gain).axes
    heights = [0.0] * len(gain.rows)
    for bar in axes.patches:
        assert isinstance(bar, Rectangle)
        heights[round(bar.get_x() + bar.get_width() / 2)] += bar.get_height()
    assert heights == pytest.approx([row.ms for row in gain.rows])
    handles, names = axes.get_legend_handles_labels()
    assert len(handles) == len(names)
    assert set(names) == {"what the plan allows", "core", "memory", "nine of ten lie in"}


def test_the_plan_is_the_file_s_time_by_the_work_that_masks_leave(tmp_path: Path) -> None:
    gain = estimated_gain(tmp_path)
    (axes,) = figure_of(gain).axes
    (line,) = [one for one in axes.lines if one.get_gid() == "plan"]
    dense = gain.rows[0].ms
    assert dense is not None
    assert np.asarray(line.get_ydata()) == pytest.approx([dense, dense / 1.25, dense / 1.25])


def test_it_says_what_was_measured_and_that_nothing_was_trained(tmp_path: Path) -> None:
    for gain, unit in (
        (estimated_gain(tmp_path), "ms of an inference, estimated"),
        (measured_gain(tmp_path), "ms of an inference, measured"),
        (measured_gain(tmp_path, emulated=True), "million instructions of an inference"),
    ):
        (axes,) = figure_of(gain).axes
        assert axes.get_ylabel() == unit
        assert "not trained" in axes.get_title(loc="left")
        assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0%", "20%", "40%"]


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_it_is_written_in_the_format_of_its_name(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"gain.{suffix}"
    plot_gain(estimated_gain(tmp_path), path)
    assert path.stat().st_size > 1000
