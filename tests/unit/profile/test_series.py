"""A history as series: what belongs together, how it changed, and what is asked for of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from support.histories import BEGIN, figures, run, write
from toolchain.errors import ModelError
from toolchain.profile.history import Run
from toolchain.profile.series import Series, choose, moment, read_trends


def series(tmp_path: Path, *runs: Run) -> list[Series]:
    return read_trends(write(tmp_path / "h.jsonl", runs)).series


def alone(tmp_path: Path, *runs: Run) -> Series:
    (one,) = series(tmp_path, *runs)
    return one


# --- what belongs together -------------------------------------------------------------------


def test_runs_of_one_model_under_the_same_conditions_are_a_series(tmp_path: Path) -> None:
    one = alone(tmp_path, *(run(figures("s20", 100.0 + day), day=day) for day in range(3)))
    assert (one.board, one.title, one.model) == ("rpi4", "Raspberry Pi 4", "s20")
    assert (one.stock, one.threads, one.emulated, one.figure) == (False, 1, False, "median_us")
    assert one.runs == 3
    assert [point.median_us for point in one.points] == [100.0, 101.0, 102.0]
    assert (one.first, one.last) == (BEGIN, BEGIN + timedelta(days=2))


def test_a_point_has_the_figures_of_its_run(tmp_path: Path) -> None:
    kept = figures("s20", 100.0, instructions=500.0, sha256="a" * 64, doubts=["it is warm"])
    (point,) = alone(tmp_path, replace(run(kept, day=1), saved="/runs/1")).points
    assert (point.id, point.tool, point.saved) == (f"{86400:016x}", "0.1.0", "/runs/1")
    assert point.created == BEGIN + timedelta(days=1)
    assert (point.sha256, point.bytes, point.other_file) == ("a" * 64, 100, False)
    assert (point.median_us, point.interval_us) == (100.0, (99.0, 101.0))
    assert point.p95_us == pytest.approx(110.0)
    assert point.instructions == 500.0
    assert (point.peak_rss_kib, point.doubts, point.ratio) == (2048, ["it is warm"], None)


def test_board_model_runtime_and_threads_set_series_apart(tmp_path: Path) -> None:
    found = series(
        tmp_path,
        run(figures("a"), figures("b"), figures("a", stock=True)),
        run(figures("a"), figures("a", threads=4), day=1, threads=2),
        run(figures("a"), day=2, board="rpi5"),
        run(figures("a", instructions=5.0), day=3, emulated=True),
    )
    keys = [(one.board, one.emulated, one.model, one.stock, one.threads) for one in found]
    assert keys == [
        ("rpi4", False, "a", False, 1), ("rpi4", False, "a", False, 2),
        ("rpi4", False, "a", False, 4), ("rpi4", False, "a", True, 1),
        ("rpi4", False, "b", False, 1), ("rpi4", True, "a", False, 1),
        ("rpi5", False, "a", False, 1),
    ]  # fmt: skip


def test_two_models_of_one_name_in_a_run_are_two_series(tmp_path: Path) -> None:
    runs = [
        run(
            figures("m", 10.0 + day), figures("m #2", 20.0 + day), figures("m", 30.0 + day), day=day
        )
        for day in range(2)
    ]
    found = series(tmp_path, *runs)
    values = {one.model: [point.median_us for point in one.points] for one in found}
    assert values == {"m": [10.0, 11.0], "m #2": [20.0, 21.0], "m #3": [30.0, 31.0]}


def test_runs_are_in_the_order_of_their_dates(tmp_path: Path) -> None:
    one = alone(tmp_path, *(run(figures("m", 10.0 + day), day=day) for day in (2, 0, 1)))
    assert [point.median_us for point in one.points] == [10.0, 11.0, 12.0]
    assert one.latest == 12.0


def test_the_newest_points_alone_are_kept_and_all_runs_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "h", [run(figures("m", 10.0 + day), day=day) for day in range(5)])
    (one,) = read_trends(path, 2).series
    assert [point.median_us for point in one.points] == [13.0, 14.0]
    assert [point.ratio for point in one.points] == [13 / 12, 14 / 13]
    assert (one.runs, one.first, one.ratio_to_median) == (5, BEGIN, 14 / 11.5)
    (whole,) = read_trends(path).series
    assert whole.cut(2) == one
    assert whole.cut(None) == whole


def test_lines_that_are_none_are_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "h", [run(figures("m"), figures("n"))])
    path.write_bytes(b"{torn\n" + path.read_bytes() + b"[]\n")
    trends = read_trends(path)
    assert (trends.runs, trends.skipped, len(trends.series)) == (1, 2, 2)
    assert trends.history == str(path)


# --- how it changed --------------------------------------------------------------------------


def test_the_latest_run_is_set_beside_the_one_before_and_the_median_of_all_earlier_ones(
    tmp_path: Path,
) -> None:
    values = [100.0, 400.0, 200.0, 300.0]
    one = alone(tmp_path, *(run(figures("m", us), day=day) for day, us in enumerate(values)))
    assert [point.ratio for point in one.points] == [None, 4.0, 0.5, 1.5]
    assert (one.latest, one.ratio, one.ratio_to_median) == (300.0, 1.5, 1.5)
    worse = alone(tmp_path, *(run(figures("m", us), day=us) for us in (1.0, 2.0, 9.0, 10.0)))
    assert (worse.ratio, worse.ratio_to_median) == (10 / 9, 5.0)


def test_a_first_run_has_no_change(tmp_path: Path) -> None:
    one = alone(tmp_path, run(figures("m")))
    assert (one.ratio, one.ratio_to_median) == (None, None)


def test_instructions_are_followed_on_an_emulated_board_and_are_not_in_doubt(
    tmp_path: Path,
) -> None:
    one = alone(
        tmp_path,
        *(
            run(
                figures("m", 5.0 - day, instructions=100.0 + day, doubts=["few runs"]),
                day=day, board="qemu", emulated=True,
            )
            for day in range(2)
        ),
    )  # fmt: skip
    assert (one.figure, one.latest, one.ratio) == ("instructions", 101.0, 1.01)
    assert not one.doubtful
    assert not one.in_doubt(one.points[0])


def test_a_latest_time_with_doubts_is_doubtful(tmp_path: Path) -> None:
    calm, warm = figures("m"), figures("m", doubts=["it is warm"])
    assert alone(tmp_path, run(calm), run(warm, day=1)).doubtful
    assert not alone(tmp_path, run(warm), run(calm, day=1)).doubtful


def test_another_file_of_the_model_is_marked_where_it_begins(tmp_path: Path) -> None:
    hashes = ["a" * 64, "a" * 64, "b" * 64, "b" * 64]
    one = alone(
        tmp_path, *(run(figures("m", sha256=text), day=day) for day, text in enumerate(hashes))
    )
    assert [point.other_file for point in one.points] == [False, False, True, False]


def test_what_was_not_measured_has_no_change(tmp_path: Path) -> None:
    values = [None, 10.0, 0.0, 20.0]
    one = alone(tmp_path, *(run(figures("m", us), day=day) for day, us in enumerate(values)))
    assert [point.ratio for point in one.points] == [None, None, 0.0, None]
    assert one.ratio_to_median == 4.0


@pytest.mark.parametrize("year", [1, 9999])
@pytest.mark.parametrize("hours", [-14, 14])
def test_dates_at_the_ends_of_the_calendar_do_no_harm(
    tmp_path: Path, year: int, hours: int
) -> None:
    zone = timezone(timedelta(hours=hours))
    end = datetime(1, 1, 1) if year == 1 else datetime(9999, 12, 31, 23)
    odd = replace(run(figures("m")), created=end.replace(tzinfo=zone))
    one = alone(tmp_path, odd, run(figures("m"), day=1))
    assert one.runs == 2
    assert {moment(point.created).tzinfo for point in one.points} == {UTC}


# --- what is asked for -----------------------------------------------------------------------


@pytest.fixture
def several(tmp_path: Path) -> list[Series]:
    return series(
        tmp_path,
        run(figures("dense"), figures("s20"), figures("s20", stock=True)),
        run(figures("dense"), figures("s30", threads=4), board="rpi5"),
    )


def names(found: list[Series]) -> list[str]:
    return [f"{one.board} {one.label}" for one in found]


def test_without_a_word_all_series_are_chosen(several: list[Series]) -> None:
    assert choose(several, Path("h")) == several


def test_models_are_chosen_in_the_order_in_which_they_are_named(several: list[Series]) -> None:
    assert names(choose(several, Path("h"), models=["s30", "dense"])) == [
        "rpi5 s30, 4 threads", "rpi4 dense, 1 thread", "rpi5 dense, 1 thread",
    ]  # fmt: skip


def test_a_models_file_stands_for_its_name(several: list[Series]) -> None:
    found = choose(several, Path("h"), models=["nets/s30.tflite"])
    assert names(found) == ["rpi5 s30, 4 threads"]


def test_board_threads_and_runtime_narrow_the_choice(several: list[Series]) -> None:
    path = Path("h")
    assert names(choose(several, path, board="rpi5", threads=[4])) == ["rpi5 s30, 4 threads"]
    assert names(choose(several, path, threads=[2, 4])) == ["rpi5 s30, 4 threads"]
    assert names(choose(several, path, stock=True)) == ["rpi4 s20 (stock runtime), 1 thread"]
    assert len(choose(several, path, stock=False)) == 4


def test_what_is_not_there_is_told_with_what_is(several: list[Series]) -> None:
    for wanted, what, hint in (
        ({"models": ["s21"]}, "h: has no model 's21'",
         "did you mean 's20'? there are: dense, s20, s30"),
        ({"board": "qemu"}, "h: has no board 'qemu'", "there are: rpi4, rpi5"),
        ({"board": "rpi4", "models": ["s30"]}, "h: has no model 's30' on board 'rpi4'",
         "did you mean 's20'? there are: dense, s20"),
        ({"models": ["s30"], "threads": [1, 2]}, "h: has no run of s30 with 1 or 2 threads",
         "there are: 4"),
        ({"models": ["dense"], "stock": True}, "h: has no run of dense on the stock runtime",
         "there are: patched"),
    ):  # fmt: skip
        with pytest.raises(ModelError) as caught:
            choose(several, Path("h"), **wanted)
        assert (caught.value.what, caught.value.hint) == (what, hint)


def test_of_many_names_some_are_told(tmp_path: Path) -> None:
    many = series(tmp_path, run(*(figures(f"m{number:02}") for number in range(30))))
    with pytest.raises(ModelError) as caught:
        choose(many, Path("h"), models=["other"])
    assert "m19 and 10 more" in str(caught.value.hint)
    assert "m20" not in str(caught.value.hint)
