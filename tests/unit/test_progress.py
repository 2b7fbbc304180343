from __future__ import annotations

import time

import pytest

from toolchain.progress import Lines, Pace


def test_a_stage_in_lines_says_its_title_then_how_far_it_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Lines(interval_s=0).stage("compile", total=4) as stage:
        stage.advance(detail="a.cc")
        stage.total(8)
        stage.advance(3)
    assert capsys.readouterr().err.splitlines() == [
        "compile ...", "compile: 25%, a.cc", "compile: 50%",
    ]  # fmt: skip


def test_a_stage_without_a_total_counts(capsys: pytest.CaptureFixture[str]) -> None:
    with Lines(interval_s=0).stage("read labels") as stage:
        stage.advance(20)
    assert capsys.readouterr().err.splitlines()[1:] == ["read labels: 20"]


def test_lines_of_one_stage_keep_their_distance(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Lines(interval_s=3600)
    with progress.stage("train", total=100) as stage:
        for _ in range(100):
            stage.advance()
        progress.note("a note is always said")
    assert capsys.readouterr().err.splitlines() == ["train ...", "a note is always said"]


class Clock:
    """A clock that goes on when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


def test_a_pace_is_that_of_the_last_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    pace = Pace(200_000_000)
    clock.now += 1
    assert pace.moved(2_000_000) == "2.0 MB/s, 1:39 left"
    for _ in range(30):
        clock.now += 1
        said = pace.moved(4_000_000)
    assert said == "4.0 MB/s, 0:20 left"


def test_a_pace_is_told_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    pace = Pace(1000)
    said = []
    for _ in range(10):
        clock.now += 0.1
        said.append(pace.moved(10))
    assert [bool(one) for one in said].count(True) in (1, 2)


def test_what_was_there_before_has_no_part_in_a_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    pace = Pace(50_000_000)
    pace.skip(40_000_000)
    clock.now += 1
    assert pace.moved(40_000_000) is None
    clock.now += 1
    assert pace.moved(1_000_000) == "0.5 MB/s, 0:18 left"
