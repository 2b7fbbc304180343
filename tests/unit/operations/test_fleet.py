"""The same work on many boards: what fails fails alone, and Ctrl-C ends all."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.patience import PATIENCE, once
from support.places import REPOSITORY
from toolchain import interrupts
from toolchain.board.host_keys import ChangedKeyError
from toolchain.errors import (
    BoardError,
    ConnectionFailed,
    DeployError,
    FleetError,
    ModelError,
    OutputError,
)
from toolchain.hardware.board_file import Board, load_board
from toolchain.operations import fleet as module
from toolchain.operations.fleet import Fleet, Task, document, joined, names_of
from toolchain.progress import Progress, Silent


class Audience:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def progress(self, name: str) -> Progress:
        del name
        return Silent()

    def begun(self, name: str) -> None:
        self.told.append(f"{name} begun")

    def ended(self, task: Task[Any]) -> None:
        self.told.append(f"{task.name} ended")

    def ending(self) -> None:
        self.told.append("ending")


@pytest.fixture
def boards(tmp_path: Path) -> dict[str, Board]:
    """This machine under three names."""
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.toml").write_text((REPOSITORY / "boards/host.toml").read_text())
    return names_of([load_board(str(tmp_path / f"{name}.toml")) for name in ("a", "b", "c")])


def run(
    boards: dict[str, Board], work: Callable[[Task[str]], object], **settings: int
) -> Fleet[str]:
    fleet: Fleet[str] = Fleet(boards, work, Audience(), **settings)
    fleet.run()
    return fleet


def errors_of(fleet: Fleet[str]) -> dict[str, type[BaseException]]:
    return {task.name: type(task.error) for task in fleet.tasks if task.error is not None}


def test_all_boards_are_worked_on_at_once_and_told_in_their_order(boards: dict[str, Board]) -> None:
    together = threading.Barrier(3)

    def work(task: Task[str]) -> None:
        together.wait(PATIENCE)
        task.result = task.board.name.upper()

    fleet = run(boards, work)
    assert [(task.name, task.result) for task in fleet.tasks] == [
        ("a", "A"),
        ("b", "B"),
        ("c", "C"),
    ]
    fleet.require()


def test_no_more_are_worked_on_at_once_than_there_may_be(boards: dict[str, Board]) -> None:
    lock, now, most = threading.Lock(), 0, 0

    def work(task: Task[str]) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        interrupts.sleep(0.05)
        task.result = "done"
        with lock:
            now -= 1

    assert all(task.result == "done" for task in run(boards, work, at_once=1).tasks)
    assert most == 1


def test_one_that_fails_is_told_and_the_others_go_on(boards: dict[str, Board]) -> None:
    def work(task: Task[str]) -> None:
        if task.name == "b":
            raise ConnectionFailed("b (pi@b): does not answer", hint="look at b")
        task.result = "done"

    fleet = run(boards, work)
    assert [task.result for task in fleet.tasks] == ["done", None, "done"]
    with pytest.raises(ConnectionFailed) as caught:
        fleet.require()
    assert caught.value.what == "1 of 3 boards failed:\n  b (pi@b): does not answer"
    assert caught.value.hint == "b: look at b"


def test_what_was_done_before_a_board_failed_counts(boards: dict[str, Board]) -> None:
    def work(task: Task[str]) -> None:
        task.result = "half"
        raise BoardError("its disk is full")

    fleet = run(boards, work)
    assert [task.result for task in fleet.tasks] == ["half"] * 3


def test_boards_that_fail_for_several_reasons_end_with_the_code_of_fleets() -> None:
    alike = joined({"a": BoardError("x"), "b": BoardError("y")}, 3)
    assert (type(alike), alike.exit_code) == (BoardError, 8)
    assert alike.what == "2 of 3 boards failed:\n  a: x\n  b: y"
    mixed = joined({"a": BoardError("x"), "b": ConnectionFailed("y")}, 3)
    assert (type(mixed), mixed.exit_code) == (FleetError, 20)


def test_a_hint_that_several_have_stands_once_with_their_names() -> None:
    faults = {name: BoardError(name, hint="do it") for name in ("a", "b")}
    faults["c"] = BoardError("c", hint="do that")
    assert joined(faults, 3).hint == "a, b: do it\n  hint: c: do that"
    assert joined({"a": BoardError("x")}, 2).hint is None


def test_the_only_board_is_told_as_one_is() -> None:
    fault = BoardError("x", hint="do it")
    assert joined({"a": fault}, 1) is fault


def test_faults_of_no_board_are_told_with_the_boards() -> None:
    alone = ModelError("m: cannot be read", hint="look at m")
    assert joined({}, 3, [alone]) is alone
    both = joined({"a": ModelError("x", hint="h")}, 3, [alone])
    assert both.exit_code == ModelError.exit_code
    assert both.what == "m: cannot be read; 1 of 3 boards failed:\n  a: x"
    assert both.hint == "look at m\n  hint: a: h"
    assert joined({"a": BoardError("x")}, 3, [OutputError("y")]).exit_code == 20


def test_a_defect_of_ours_ends_all_and_keeps_its_traceback(boards: dict[str, Board]) -> None:
    begun = threading.Event()

    def work(task: Task[str]) -> None:
        if task.name == "a":
            begun.wait(PATIENCE)
            raise ZeroDivisionError("ours")
        begun.set()
        interrupts.sleep(PATIENCE)

    with pytest.raises(ZeroDivisionError, match="ours"):
        run(boards, work)


@contextmanager
def ctrl_c_once(begun: Callable[[], object]) -> Iterator[None]:
    """The main thread gets SIGINT as soon as something has begun."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        once(begun, lambda: os.kill(os.getpid(), signal.SIGINT))
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def test_ctrl_c_ends_all_and_each_cleans_up(boards: dict[str, Board]) -> None:
    begun, cleaned = list[str](), list[str]()

    def work(task: Task[str]) -> None:
        if task.name == "a":
            task.result = "done"
            return
        begun.append(task.name)
        try:
            interrupts.sleep(PATIENCE)
        finally:
            cleaned.append(task.name)

    audience = Audience()
    fleet: Fleet[str] = Fleet(boards, work, audience)
    with ctrl_c_once(lambda: len(begun) == 2):
        fleet.run()
    assert sorted(cleaned) == ["b", "c"]
    assert fleet.tasks[0].result == "done"
    assert errors_of(fleet) == {"b": KeyboardInterrupt, "c": KeyboardInterrupt}
    assert "ending" in audience.told
    with pytest.raises(KeyboardInterrupt):
        fleet.require()


def test_boards_that_wait_for_their_turn_do_not_begin_after_ctrl_c(
    boards: dict[str, Board],
) -> None:
    begun: list[str] = []

    def work(task: Task[str]) -> None:
        begun.append(task.name)
        interrupts.sleep(PATIENCE)

    fleet: Fleet[str] = Fleet(boards, work, Audience(), at_once=1)
    with ctrl_c_once(lambda: begun):
        fleet.run()
    assert len(begun) == 1
    assert set(errors_of(fleet).values()) == {KeyboardInterrupt}


def test_one_that_does_not_end_after_ctrl_c_is_waited_for_a_while_only(
    boards: dict[str, Board], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GRACE_S", 0.2)
    begun, stuck = threading.Event(), threading.Event()

    def work(task: Task[str]) -> None:
        if task.name == "a":
            begun.set()
            stuck.wait(PATIENCE)  # as a library that hears of nothing

    fleet: Fleet[str] = Fleet(boards, work, Audience())
    with ctrl_c_once(begun.is_set):
        fleet.run()
    assert errors_of(fleet) == {"a": KeyboardInterrupt}
    stuck.set()


def test_boards_of_one_name_are_called_what_they_were_given_as(tmp_path: Path) -> None:
    text = (REPOSITORY / "boards/host.toml").read_text()
    paths = [tmp_path / part / "pc.toml" for part in ("one", "two")]
    for path in paths:
        path.parent.mkdir()
        path.write_text(text)
    named = names_of([*(load_board(str(path)) for path in paths), load_board("host")])
    assert list(named) == [*map(str, paths), "host"]


def test_several_changed_host_keys_keep_their_exit_code_and_warning() -> None:
    hint = "someone may be listening in"
    faults = {
        name: ChangedKeyError(
            f"{name}: the host key is not the one on record", hint=hint, on_record=()
        )
        for name in "ab"
    }
    error = joined(faults, 2)
    assert error.exit_code == 7
    assert error.what == (
        "2 of 2 boards failed:\n  a: the host key is not the one on record"
        "\n  b: the host key is not the one on record"
    )
    assert error.hint == f"a, b: {hint}"


def test_the_document_has_a_boards_own_or_what_went_wrong(boards: dict[str, Board]) -> None:
    def work(task: Task[str]) -> None:
        if task.name == "b":
            raise BoardError("its disk is full", hint="free some")
        task.result = task.name
        if task.name == "c":
            raise KeyboardInterrupt

    found = document(run(boards, work).tasks, lambda one: {"text": one})
    fault = {"what": "its disk is full", "hint": "free some", "exit_code": 8}
    stop = {"what": "interrupted", "hint": None, "exit_code": 130}
    assert found == {
        "boards": [
            {"name": "a", "text": "a", "error": None},
            {"name": "b", "error": fault},
            {"name": "c", "text": "c", "error": stop},
        ]
    }


def test_a_name_is_not_said_twice() -> None:
    assert module.named("a", "a: busy") == "a: busy"
    assert module.named("a", "a (pi@a): busy") == "a (pi@a): busy"
    assert module.named("a", "ab: busy") == "a: ab: busy"
    assert isinstance(FleetError("x"), DeployError)
