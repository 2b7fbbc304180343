"""The plot of a history: what is drawn are the history's own figures."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.dates import date2num
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from support.histories import BEGIN, figures, run, write
from toolchain.errors import ModelError
from toolchain.profile.history import Run
from toolchain.profile.series import Series, read_trends
from toolchain.report.history_plot import MOST_PANELS, figure_of, panels_of, plot_history


def series(tmp_path: Path, *runs: Run) -> list[Series]:
    return read_trends(write(tmp_path / "h.jsonl", runs)).series


def drawn(tmp_path: Path, *runs: Run) -> Figure:
    return figure_of(panels_of(series(tmp_path, *runs)))


def panel(figure: Figure) -> Axes:
    (axes,) = figure.axes
    return axes


def numbers(line: Line2D) -> list[tuple[float, float]]:
    x, y = np.asarray(line.get_data(), np.float64)
    return list(zip(x.tolist(), y.tolist(), strict=True))


def marked(axes: Axes, what: str) -> list[Line2D]:
    return [line for line in axes.lines if line.get_gid() == what and numbers(line)]


def names(axes: Axes) -> list[str]:
    legend = axes.get_legend()
    assert legend is not None
    return [text.get_text() for text in legend.get_texts()]


def day(number: float) -> float:
    return float(date2num(BEGIN)) + number  # type: ignore[no-untyped-call]


# --- the numbers -----------------------------------------------------------------------------


def test_the_line_of_a_series_goes_through_its_medians(tmp_path: Path) -> None:
    times = [1000.0, 1250.5, 1100.0]
    axes = panel(drawn(tmp_path, *(run(figures("m", us), day=x) for x, us in enumerate(times))))
    expected = [(day(x), us / 1000) for x, us in enumerate(times)]
    assert numbers(axes.lines[0]) == expected
    (sound,) = marked(axes, "sound")
    assert numbers(sound) == expected
    assert axes.get_ylabel() == "median, ms"
    assert axes.get_title(loc="left") == "Raspberry Pi 4 (rpi4)"
    assert names(axes) == ["m, 1 thread"]


def test_where_the_median_lies_is_a_band(tmp_path: Path) -> None:
    runs = [run(figures("m", us), day=x) for x, us in enumerate((1000.0, 2000.0))]
    (band,) = panel(drawn(tmp_path, *runs)).collections
    ends = np.asarray(band.get_paths()[0].vertices, np.float64).round(6)
    corners = {(float(x), float(y)) for x, y in ends}
    for x, low, high in ((0, 0.99, 1.01), (1, 1.98, 2.02)):
        assert {(round(day(x), 6), low), (round(day(x), 6), high)} <= corners


def test_a_series_without_intervals_has_no_band(tmp_path: Path) -> None:
    bare = replace(figures("m"), interval_us=None)
    figure = drawn(tmp_path, run(bare))
    assert not panel(figure).collections
    assert figure.legends == []


def test_doubtful_runs_are_hollow(tmp_path: Path) -> None:
    figure = drawn(
        tmp_path, run(figures("m", 1000.0)), run(figures("m", 1100.0, doubts=["warm"]), day=1)
    )
    (sound,), (hollow,) = (marked(panel(figure), what) for what in ("sound", "doubtful"))
    assert numbers(sound) == [(day(0), 1.0)]
    assert numbers(hollow) == [(day(1), 1.1)]
    assert hollow.get_markerfacecolor() == "white"
    assert to_hex(hollow.get_color()) == to_hex(sound.get_color())
    assert "hollow: may be unstable" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_another_file_of_the_model_is_marked(tmp_path: Path) -> None:
    hashes = ["a" * 64, "b" * 64, "b" * 64]
    figure = drawn(
        tmp_path, *(run(figures("m", sha256=text), day=x) for x, text in enumerate(hashes))
    )
    (ticks,) = marked(panel(figure), "other file")
    assert numbers(ticks) == [(day(1), 1.0)]
    said = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "another file of the model" in said
    assert "hollow: may be unstable" not in said


def test_instructions_are_drawn_of_an_emulated_board_and_are_never_hollow(tmp_path: Path) -> None:
    runs = [
        run(figures("m", 5.0, instructions=2e6 + x, doubts=["few runs"]), day=x, emulated=True)
        for x in range(2)
    ]
    axes = panel(drawn(tmp_path, *runs))
    (sound,) = marked(axes, "sound")
    assert numbers(sound) == [(day(0), 2.0), (day(1), 2.000001)]
    assert marked(axes, "doubtful") == []
    assert not axes.collections
    assert axes.get_ylabel() == "instructions, million"
    assert axes.get_title(loc="left").endswith(", emulated")


def test_a_run_without_a_time_is_no_point(tmp_path: Path) -> None:
    runs = [run(figures("m", us), day=x) for x, us in enumerate((1000.0, None, 1200.0))]
    (sound,) = marked(panel(drawn(tmp_path, *runs)), "sound")
    assert numbers(sound) == [(day(0), 1.0), (day(2), 1.2)]


@pytest.mark.parametrize(("us", "unit"), [(2e6, "s"), (2e3, "ms"), (2.0, "µs")])
def test_the_unit_suits_the_times(tmp_path: Path, us: float, unit: str) -> None:
    axes = panel(drawn(tmp_path, run(figures("m", us))))
    assert axes.get_ylabel() == f"median, {unit}"
    assert numbers(axes.lines[0])[0][1] == 2.0


def test_noise_does_not_fill_a_panel(tmp_path: Path) -> None:
    runs = [run(figures("m", 1000.0 + x), day=x) for x in range(2)]
    low, high = panel(drawn(tmp_path, *runs)).get_ylim()
    assert high - low > 0.1
    assert low < 1.0 < high


# --- panels ----------------------------------------------------------------------------------


def test_each_board_has_a_panel_and_no_panel_has_two_units(tmp_path: Path) -> None:
    found = panels_of(
        series(
            tmp_path,
            run(figures("a"), figures("b")),
            run(figures("a"), board="rpi5"),
            run(figures("a", instructions=1000.0), emulated=True),
        )
    )
    assert [(one.title, [x.model for x in one.series]) for one in found] == [
        ("Raspberry Pi 4 (rpi4)", ["a", "b"]),
        ("Raspberry Pi 4 (rpi4), emulated", ["a"]),
        ("Raspberry Pi 5 (rpi5)", ["a"]),
    ]


def test_times_that_are_far_apart_have_panels_of_their_own(tmp_path: Path) -> None:
    run_of_all = run(figures("tiny", 9.0), figures("large", 1000.0), figures("half", 500.0))
    found = panels_of(series(tmp_path, run_of_all))
    assert [[one.model for one in each.series] for each in found] == [["large", "half"], ["tiny"]]
    assert [each.title for each in found] == [
        "Raspberry Pi 4 (rpi4), 1 of 2", "Raspberry Pi 4 (rpi4), 2 of 2",
    ]  # fmt: skip


def test_no_two_series_of_a_panel_look_alike(tmp_path: Path) -> None:
    many = run(*(figures(f"m{number:02}", 1000.0 + number) for number in range(19)))
    figure = drawn(tmp_path, many)
    assert [len(names(axes)) for axes in figure.axes] == [8, 8, 3]
    for axes in figure.axes:
        looks = [(to_hex(line.get_color()), line.get_marker()) for line in marked(axes, "sound")]
        assert len({colour for colour, _ in looks}) == len({shape for _, shape in looks})
        assert len(set(looks)) == len(looks) == len(names(axes))


def test_a_model_looks_alike_on_all_boards(tmp_path: Path) -> None:
    figure = drawn(
        tmp_path, run(figures("a"), figures("b", 900.0)), run(figures("b"), board="rpi5")
    )
    first, second = figure.axes
    assert names(first) == ["a, 1 thread", "b, 1 thread"]
    of_b, again = marked(first, "sound")[1], marked(second, "sound")[0]
    assert (of_b.get_color(), of_b.get_marker()) == (again.get_color(), again.get_marker())


def test_what_there_is_no_room_for_is_told(tmp_path: Path) -> None:
    found = series(
        tmp_path,
        *(run(figures("m"), board=f"b{number}", day=number) for number in range(MOST_PANELS + 2)),
        run(figures("no time", None), board="c"),
    )
    left_out = plot_history(found, tmp_path / "p.png", tmp_path / "h.jsonl")
    assert [(one.board, one.model) for one in left_out] == [
        ("b0", "m"), ("b1", "m"), ("c", "no time"),
    ]  # fmt: skip


def test_where_there_is_nothing_to_draw_nothing_is_written(tmp_path: Path) -> None:
    found = series(tmp_path, run(figures("m", None)))
    with pytest.raises(ModelError, match="nothing to draw"):
        plot_history(found, tmp_path / "p.png", tmp_path / "h.jsonl")
    assert not (tmp_path / "p.png").exists()


# --- the file --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "magic"), [("p.png", b"\x89PNG"), ("p.svg", b"<?xml"), ("P.PDF", b"%PDF")]
)
def test_a_plot_is_written_in_the_format_of_its_name(
    tmp_path: Path, name: str, magic: bytes
) -> None:
    found = series(tmp_path, run(figures("m")), run(figures("m"), day=1))
    assert plot_history(found, tmp_path / name, tmp_path / "h.jsonl") == []
    assert (tmp_path / name).read_bytes().startswith(magic)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "name", ["_hidden", "$\\foo$", "$x$", "a\x1b[2J\nb\x00", "日本\u202e", "x" * 300, ""]
)
def test_any_name_is_drawn_to_the_letter(tmp_path: Path, name: str) -> None:
    odd = run(figures(name), board=f"b{name}")
    titled = replace(odd, board=replace(odd.board, title=name))
    found = series(tmp_path, titled)
    plot_history(found, tmp_path / "p.svg", tmp_path / "h.jsonl")
    ElementTree.fromstring((tmp_path / "p.svg").read_bytes())  # noqa: S314 - we made it
    (shown,) = names(panel(figure_of(panels_of(found))))
    if len(name) < 20 and name.isprintable():
        assert shown == f"{name}, 1 thread"
    assert shown.isprintable()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("values", [(0.0,), (1e-9, 2e-9), (-5.0, 5.0), (1.8e19, 1.0), (7.0, 7.0)])
def test_any_figures_can_be_drawn(tmp_path: Path, values: tuple[float, ...]) -> None:
    found = series(tmp_path, *(run(figures("m", us), day=x) for x, us in enumerate(values)))
    plot_history(found, tmp_path / "p.png", tmp_path / "h.jsonl")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("years", [(1,), (9999,), (1, 9999)])
def test_any_dates_can_be_drawn(tmp_path: Path, years: tuple[int, ...]) -> None:
    runs = [
        replace(run(figures("m"), day=year), created=datetime(year, 12, 31, tzinfo=UTC))
        for year in years
    ]
    plot_history(series(tmp_path, *runs), tmp_path / "p.png", tmp_path / "h.jsonl")
