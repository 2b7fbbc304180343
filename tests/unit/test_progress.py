from __future__ import annotations

import pytest

from toolchain.progress import Lines


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
