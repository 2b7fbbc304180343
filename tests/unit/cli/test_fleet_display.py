"""How far many boards are: a live table on a terminal, lines elsewhere."""

from __future__ import annotations

import io

import pytest
from rich.text import Text

from support.places import REPOSITORY
from toolchain.cli import fleet_display
from toolchain.cli.fleet_display import audience
from toolchain.console import Screen
from toolchain.errors import BoardError
from toolchain.hardware.board_file import load_board
from toolchain.operations.fleet import Task
from toolchain.progress import Silent


def task(name: str, error: BaseException | None = None, seconds: float = 61.5) -> Task[str]:
    board = load_board(str(REPOSITORY / "boards/host.toml"))
    return Task(name, board, Silent(), error=error, seconds=seconds)


def test_elsewhere_each_line_has_its_boards_name(capsys: pytest.CaptureFixture[str]) -> None:
    with audience(["[a]", "b"]) as watching:
        progress = watching.progress("[a]")
        with progress.stage("push", 2) as stage:
            stage.advance(1, "m.tflite")
        progress.note("the disk is slow")
        progress.note("[a] (pi@a): waiting for eve")
        watching.ended(task("b", BoardError("b: x\ny")))
        watching.ending()
    assert capsys.readouterr().err.splitlines() == [
        "[a]: push ...",
        "[a]: the disk is slow",
        "[a] (pi@a): waiting for eve",
        "b: failed after 1:01: x",
        "ending what runs on the boards",
    ]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """A terminal in the place of standard error."""
    stream = io.StringIO()
    screen = Screen(file=stream, force_terminal=True, width=100, _environ={"TERM": "xterm"})
    monkeypatch.setattr(fleet_display, "err", screen)
    monkeypatch.setenv("COLUMNS", "100")
    return stream


def test_on_a_terminal_each_board_has_a_row(terminal: io.StringIO) -> None:
    with audience(["a", "[b]", "c"]) as watching:
        watching.begun("a")
        with watching.progress("a").stage("push", 4) as stage:
            stage.advance(1, "m.tflite")
            table = io.StringIO()
            shown = Screen(file=table, width=100)
            shown.print(watching.draw())  # type: ignore[attr-defined]
        watching.ended(task("[b]", BoardError("x"), seconds=2.0))
    rows = [line.split() for line in table.getvalue().splitlines()]
    assert rows[0][:3] == ["board", "phase", "progress"]
    assert rows[1][:2] == ["a", "push"]
    assert "25%" in rows[1]
    assert rows[1][-1] == "m.tflite"
    assert rows[2] == ["[b]", "waits"]
    last = terminal.getvalue()
    assert "failed: x" in last
    assert "2.0 s" in last


def test_a_long_reason_takes_no_room_of_the_other_columns(terminal: io.StringIO) -> None:
    with audience(["kitchen", "attic"]) as watching:
        watching.begun("attic")
        watching.ended(task("kitchen", BoardError("why " * 100), seconds=2.0))
    last = terminal.getvalue()[terminal.getvalue().rindex("board") :]
    lines = [Text.from_ansi(line).plain for line in last.splitlines()]
    assert any(line.startswith("kitchen ") and "failed: why why" in line for line in lines)
    assert any(line.startswith("attic ") and "begins" in line for line in lines)
    assert max(map(len, lines)) <= 100
    assert sum("why" in line for line in lines) == 1


def test_after_a_stage_the_one_around_it_is_shown_again(terminal: io.StringIO) -> None:
    del terminal
    with audience(["a"]) as watching:
        progress = watching.progress("a")
        row = watching._rows["a"]  # type: ignore[attr-defined]
        with progress.stage("verify"):
            with progress.stage("push", 2) as stage:
                stage.advance(1, "m.tflite")
                assert (row.phase, row.done, row.total) == ("push", 1, 2)
            assert (row.phase, row.detail, row.total) == ("verify", "", None)
        assert row.phase == "waits"


def test_a_note_stands_above_the_table(terminal: io.StringIO) -> None:
    with audience(["a"]) as watching:
        watching.progress("a").note("waiting for eve")
    assert "a: waiting for eve" in terminal.getvalue()


def test_what_a_board_says_cannot_reach_the_terminal(terminal: io.StringIO) -> None:
    with audience(["a"]) as watching:
        with watching.progress("a").stage("push") as stage:
            stage.advance(0, "m\x1b]0;owned\x07.tflite")
        watching.progress("a").note("\x1b]0;owned\x07")
    assert "\x1b]0;owned" not in terminal.getvalue()
