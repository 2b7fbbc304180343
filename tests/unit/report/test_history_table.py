"""The tables of a history: a row for each series, a row for each run, at every width."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import rich.console
from rich.console import RenderableType

from support.histories import figures, run, write
from toolchain.profile.history import Run
from toolchain.profile.series import Series, read_trends
from toolchain.report.history_table import runs_table, series_table


def shown(what: RenderableType, width: int = 160) -> str:
    console = rich.console.Console(width=width, file=io.StringIO())
    with console.capture() as capture:
        console.print(what)
    return capture.get()


def series(tmp_path: Path, *runs: Run) -> list[Series]:
    return read_trends(write(tmp_path / "h.jsonl", runs)).series


def alone(tmp_path: Path, *runs: Run) -> Series:
    (one,) = series(tmp_path, *runs)
    return one


def row(text: str, *begin: str) -> list[str]:
    """The cells of the one row that begins so."""
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in text.splitlines()]
    (found,) = (cells for cells in rows if tuple(cells[: len(begin)]) == begin)
    return found


def test_a_series_has_its_runs_its_dates_and_how_it_changed(tmp_path: Path) -> None:
    times = [1000.0, 1500.0, 1250.0]
    found = series(tmp_path, *(run(figures("s20", us), day=day) for day, us in enumerate(times)))
    assert row(shown(series_table(found)), "rpi4") == [
        "rpi4", "s20", "1", "3", "2026-01-02", "2026-01-04", "1.25 ms", "-16.67%", "0%",
    ]  # fmt: skip


def test_counts_of_an_emulated_board_stand_beside_times(tmp_path: Path) -> None:
    found = series(
        tmp_path,
        run(figures("a", 5.0, instructions=1234567.0), board="qemu", emulated=True),
        run(figures("a")),
    )
    text = shown(series_table(found))
    assert "1,234,567" in row(text, "qemu")
    assert "1.00 ms" in row(text, "rpi4")
    assert "median or" in text
    assert "median or" not in shown(series_table(found[1:]))


def test_the_runtime_is_shown_where_one_is_stock(tmp_path: Path) -> None:
    found = series(tmp_path, run(figures("a"), figures("a", stock=True)))
    text = shown(series_table(found))
    assert row(text, "rpi4", "a", "stock")
    assert row(text, "rpi4", "a", "patched")
    assert "runtime" not in shown(series_table(found[:1]))


def test_a_doubtful_figure_is_marked_and_told(tmp_path: Path) -> None:
    one = alone(tmp_path, run(figures("a")), run(figures("a", doubts=["it is warm"]), day=1))
    text = shown(series_table([one]))
    assert "1.00 ms ?" in row(text, "rpi4")
    assert "? may be unstable: deploy history MODEL says why." in text
    text = shown(runs_table(one))
    assert row(text, "2026-01-02 10:30")[3] == "1.00 ms"
    assert row(text, "2026-01-03 10:30")[3] == "1.00 ms ?"
    assert "? 2026-01-03 10:30: may be unstable: it is warm." in text


def test_the_doubts_of_the_newest_runs_are_told_and_the_others_counted(tmp_path: Path) -> None:
    runs = [run(figures("a", doubts=[f"reason {day}"]), day=day) for day in range(5)]
    text = shown(runs_table(alone(tmp_path, *runs)))
    assert [f"reason {day}" in text for day in range(5)] == [False, False, True, True, True]
    assert "? 2 more; --json says why." in text


def test_a_run_has_its_figures_and_the_newest_comes_last(tmp_path: Path) -> None:
    one = alone(
        tmp_path,
        run(figures("s20", 1000.0)),
        run(figures("s20", 1500.0, sha256="0123456789" + "a" * 54, instructions=500.0), day=1),
    )
    text = shown(runs_table(one))
    assert text.splitlines()[0].strip() == "s20, 1 thread, on Raspberry Pi 4 (rpi4)"
    assert row(text, "2026-01-02 10:30") == [
        "2026-01-02 10:30", "00000000", "0.1.0", "1.00 ms", "", "990 µs to 1.01 ms", "1.10 ms", "-",
        "2.0 MiB", "",
    ]  # fmt: skip
    assert row(text, "2026-01-03 10:30") == [
        "2026-01-03 10:30", "00000000", "0.1.0", "1.50 ms", "+50.00%", "1.49 ms to 1.51 ms",
        "1.65 ms", "500", "2.0 MiB", "01234567",
    ]  # fmt: skip
    assert text.index("2026-01-02 10:30") < text.index("2026-01-03 10:30")


def test_times_of_an_emulated_board_are_left_out(tmp_path: Path) -> None:
    runs = [
        run(figures("a", 777.0, instructions=100.0 + day, doubts=["x"]), day=day, emulated=True)
        for day in range(2)
    ]
    text = shown(runs_table(alone(tmp_path, *runs)))
    assert row(text, "2026-01-03 10:30")[3:5] == ["101", "+1.00%"]
    assert "777 µs" not in text
    assert "times mean nothing" in text
    assert "unstable" not in text


def test_what_was_not_measured_is_a_dash_or_an_empty_cell(tmp_path: Path) -> None:
    one = alone(tmp_path, run(figures("a", None)), run(figures("a"), day=1))
    assert row(shown(runs_table(one)), "2026-01-02 10:30")[3:6] == ["-", "", ""]
    assert "-" in row(shown(series_table([alone(tmp_path, run(figures("a", None)))])), "rpi4")


def test_runs_that_are_not_shown_are_counted(tmp_path: Path) -> None:
    one = alone(tmp_path, *(run(figures("a"), day=day) for day in range(5)))
    text = shown(runs_table(one.cut(2)))
    assert "The latest 2 of 5 runs; --last 5 shows all." in text
    assert "2026-01-04" not in text
    assert "--last" not in shown(runs_table(one))


@pytest.mark.parametrize("width", [50, 70, 100, 160])
def test_tables_fit_the_width_and_keep_what_matters(tmp_path: Path, width: int) -> None:
    runs = [run(figures("s20_int8", 1e3 + day, instructions=1e6), day=day) for day in range(2)]
    one = alone(tmp_path, *runs)
    for table in (series_table([one], width), runs_table(one, width)):
        text = shown(table, width)
        assert max(map(len, text.splitlines())) <= width
        assert "1.00 ms" in text
        assert "+0.10%" in text or width == 50
    assert "s20_int8" in shown(series_table([one], width), width)


def test_no_name_is_taken_as_markup_or_breaks_a_row(tmp_path: Path) -> None:
    name = "[red]a[/red]\n\x1b[2J│"
    one = alone(tmp_path, run(figures(name)))
    for table in (series_table([one]), runs_table(one)):
        text = shown(table)
        assert "[red]a[/red]\\n\\x1b[2J" in text
        assert "\x1b" not in text
