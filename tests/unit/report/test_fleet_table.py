"""Tables of many boards: a line a board and model."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import RenderableType

from support.places import REPOSITORY
from support.profiles import in_turns, measurement, profile_of
from support.reports import estimate_of, models
from support.runner_outputs import runner_output
from toolchain.console import Screen
from toolchain.errors import BoardError, ConnectionFailed
from toolchain.hardware.board_file import load_board
from toolchain.operations.fleet import Task
from toolchain.operations.push import PushedFile, PushResult
from toolchain.operations.result import FailedModel
from toolchain.operations.verify import VerifyResult
from toolchain.profile.document import Failure
from toolchain.progress import Silent
from toolchain.report.fleet_table import (
    estimated_table,
    profiled_table,
    pushed_table,
    verified_table,
)


def task(name: str, result: Any = None, error: BaseException | None = None) -> Task[Any]:
    board = load_board(str(REPOSITORY / "boards/host.toml"))
    return Task(name, board, Silent(), result, error=error)


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")


def lines(table: RenderableType) -> list[list[str]]:
    stream = io.StringIO()
    Screen(file=stream).print(table)
    return [line.replace("│", " ").replace("┃", " ").split() for line in
            stream.getvalue().splitlines()]  # fmt: skip


def test_files_that_were_sent_are_counted() -> None:
    files = [
        PushedFile(Path(name), name, 1 << 20, "0", sent)
        for name, sent in (("run", True), ("lib", True), ("m", False))
    ]
    done = PushResult("a (pi@a)", tuple(files))
    shown = lines(pushed_table([task("a", done), task("b", error=ConnectionFailed("gone"))], 120))
    assert ["a", "2", "2.0", "MiB", "1", "done"] in shown
    assert ["b", "failed"] in shown


def test_a_board_that_was_not_verified_has_a_line_of_its_own() -> None:
    lost = VerifyResult("b", (), ())
    bad = VerifyResult("c", (), (FailedModel("x/m.tflite", "cannot run"),))
    shown = lines(
        verified_table(
            [
                task("a", error=KeyboardInterrupt()),
                task("b", lost, ConnectionFailed("gone")),
                task("c", bad, BoardError("m: cannot run")),
            ],
            120,
        )
    )
    assert ["a", "interrupted"] in shown
    assert ["b", "failed"] in shown
    assert ["c", "m.tflite", "failed"] in shown
    assert ["c", "failed"] not in shown


def test_times_of_boards_stand_below_each_other_with_their_doubts() -> None:
    calm = [[1000.0] * 5] * 20
    fast = [[500.0] * 5] * 20
    real = profile_of(in_turns("dense", calm), in_turns("s20", fast))
    shaky = profile_of(measurement("dense"), measurement("s20", doubts=["the board was held back"]))
    table = profiled_table([task("kitchen", real), task("attic", shaky)], 120)
    shown = lines(table)
    assert ["kitchen", "s20", "500", "µs", "±", "0", "µs", "2.000x"] in shown
    text = [" ".join(words) for words in shown]
    assert "? attic: s20: may be unstable: the board was held back." in text
    assert not [line for line in text if line.startswith("? kitchen")]
    assert "Times as fast: beside the first model, on the same board." in text


def test_of_an_emulated_board_instructions_stand_in_place_of_times() -> None:
    played = profile_of(
        measurement("dense", runner_output(instructions=2000)),
        measurement("s20", runner_output(instructions=1000)),
        emulated=True,
    )
    shown = lines(profiled_table([task("qemu", played)], 120))
    assert ["qemu", "s20", "2.000x", "1,000"] in shown
    assert any("seconds mean nothing" in " ".join(words) for words in shown)


def test_a_model_that_failed_on_a_board_and_a_board_that_went_away_are_told() -> None:
    failed = profile_of(measurement("dense"), failed=[Failure(model="x/s20.tflite", error="no")])
    shown = lines(
        profiled_table(
            [
                task("a", failed, BoardError("no")),
                task("b", profile_of(measurement("dense")), ConnectionFailed("gone")),
                task("c", error=ConnectionFailed("gone")),
            ],
            120,
        )
    )
    assert ["a", "s20.tflite", "failed"] in shown
    assert ["b", "failed"] in shown
    assert ["c", "failed"] in shown


def test_estimates_stand_below_each_other(tmp_path: Path) -> None:
    found = estimate_of(models(tmp_path, dense=0.0, s20=0.2))
    shown = lines(estimated_table([task("rpi4", found), task("x", error=BoardError("no"))], 120))
    rows = [words for words in shown if words[:1] == ["rpi4"]]
    assert [row[1] for row in rows] == ["dense", "s20"]
    assert "1.000x" in rows[0]
    assert ["x", "failed"] in shown


@pytest.mark.parametrize("width", [40, 60, 100])
def test_they_fit_the_width_there_is(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    tasks = [
        task("kitchen", profile_of(measurement("dense"), measurement("s20"))),
        task("attic", error=BoardError("no")),
    ]
    stream = io.StringIO()
    Screen(file=stream).print(profiled_table(tasks, width))
    assert max(map(len, stream.getvalue().splitlines())) <= width
    assert "kitchen" in stream.getvalue()
