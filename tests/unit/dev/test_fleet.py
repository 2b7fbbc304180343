"""The page of many boards at once."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime

import pytest

from toolchain.dev import fleet
from toolchain.dev.fleet import Result, Row, Trial, page
from toolchain.errors import BoardError


def trials(*seconds: float) -> list[Trial]:
    return [Trial(push_s=one / 4, verify_s=3 * one / 4, processor_s=2 * one) for one in seconds]


ROW = Row(boards=8, one=trials(4, 8, 40), all=trials(12, 10, 80))


def test_medians_are_compared() -> None:
    assert ROW.ratio == 12 / 8


def test_the_page_has_a_line_for_each_number_of_boards() -> None:
    other = Row(boards=2, one=trials(4), all=trials(5))
    results = Result(
        created=datetime(2026, 1, 2, tzinfo=UTC), tool="1", cores=2, memory_mib=512,
        models=["m.tflite"], bytes=2_000_000, rows=[other, ROW],
    )  # fmt: skip
    text = page(results)
    assert "| 2 | 1.0 | 3.0 | 4.0 | 8.0 | 1.2 | 3.8 | 5.0 | 10.0 | 1.25 |" in text
    assert "| 8 | 2.0 | 6.0 | 8.0 | 16.0 | 3.0 | 9.0 | 12.0 | 24.0 | 1.50 |" in text
    assert "one machine of 2 cores" in text
    assert "For 8 boards that is 12.0 s of 12.0 s." in text
    assert "`m.tflite`, 2.0 MB" in text
    assert Result.model_validate_json(results.model_dump_json()) == results


def test_another_board_than_the_dead_one_must_not_fail() -> None:
    fault = {"what": "x", "hint": None, "exit_code": 12}
    good = [{"name": "a", "error": None}, {"name": "b", "error": fault}]
    fleet._require_one_dead(good, dead="b")
    for wrong in ([{"name": "a", "error": fault}], [{"name": "b", "error": None}]):
        with pytest.raises(BoardError):
            fleet._require_one_dead(wrong, dead="b")


def test_the_processor_time_of_commands_is_told() -> None:
    before = fleet._processor_s([])
    subprocess.run([sys.executable, "-c", "sum(range(10**7))"], check=True)
    assert 0.05 < fleet._processor_s([]) - before < 60
