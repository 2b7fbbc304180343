"""How long work shows what it is doing, where standard error is no terminal."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from toolchain.cli import bars
from toolchain.progress import Progress


def test_a_stage_is_one_line_at_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    with bars.progress().stage("compile [b]", total=2) as stage:
        stage.advance(detail="a.c")
        assert capsys.readouterr() == ("", "")
        stage.advance(detail="b.c")
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    assert line.split() == ["compile", "[b]", "━" * 40, "100%", "0:00:00", "b.c"]


def test_the_steps_of_a_stage_may_be_known_late(capsys: pytest.CaptureFixture[str]) -> None:
    with bars.progress().stage("fetch") as stage:
        stage.total(4)
        stage.advance()
    assert "25%" in capsys.readouterr().err


def test_a_note_stays(capsys: pytest.CaptureFixture[str]) -> None:
    bars.progress().note("[b] is markup elsewhere")
    assert capsys.readouterr().err == "[b] is markup elsewhere\n"


def test_long_work_says_lines_in_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    with bars.progress_of_hours().stage("train"):
        assert capsys.readouterr().err == "train ...\n"


@pytest.mark.parametrize("progress", [bars.progress, bars.progress_of_hours])
def test_beside_json_nothing_is_said(
    capsys: pytest.CaptureFixture[str], progress: Callable[..., Progress]
) -> None:
    quiet = progress(quiet=True)
    with quiet.stage("train"):
        quiet.note("still")
    assert capsys.readouterr() == ("", "")
