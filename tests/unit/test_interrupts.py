"""Ctrl-C reaches work in threads, once each."""

from __future__ import annotations

import subprocess
import threading
import time
from pathlib import Path

import pytest

from support.interrupted import told_in_a_thread
from support.patience import PATIENCE, await_that, written
from toolchain import children, interrupts
from toolchain.board.local import LocalConnection
from toolchain.errors import BoardError
from toolchain.interrupts import Interrupt


def at_once() -> bool:
    return True


def test_a_thread_is_told_once_so_that_clean_up_is_left_in_peace() -> None:
    cleaned = []

    def work() -> None:
        try:
            interrupts.sleep(PATIENCE)
        finally:
            interrupts.check()
            interrupts.sleep(0.0)
            cleaned.append(True)

    (error,) = told_in_a_thread(Interrupt(), work, at_once)
    assert isinstance(error, KeyboardInterrupt)
    assert cleaned


def test_who_heeds_nothing_is_told_nothing() -> None:
    interrupt = Interrupt()
    interrupt.ask()
    interrupts.check()
    interrupts.sleep(0.0)
    assert not interrupts.is_heeded()
    with interrupt.heeded(), pytest.raises(KeyboardInterrupt):
        interrupts.check()
    interrupts.check()


def test_a_program_here_ends_with_the_work_that_waits_for_it(tmp_path: Path) -> None:
    mark = tmp_path / "begun"
    script = f"echo $$ >{mark}; exec sleep 600"

    def work() -> None:
        children.run(["sh", "-c", script], limit=PATIENCE, fault=BoardError)

    (error,) = told_in_a_thread(Interrupt(), work, lambda: written(mark))
    assert isinstance(error, KeyboardInterrupt)
    require_gone(mark)


def test_a_program_on_this_machine_as_a_board_ends_likewise(tmp_path: Path) -> None:
    mark = tmp_path / "begun"
    board = LocalConnection("host", tmp_path / "home")
    script = f"echo $$ >{mark}; exec sleep 600"

    def work() -> None:
        board.run(["sh", "-c", script])

    (error,) = told_in_a_thread(Interrupt(), work, lambda: written(mark))
    assert isinstance(error, KeyboardInterrupt)
    require_gone(mark)


def require_gone(mark: Path) -> None:
    pid = mark.read_text().strip()
    await_that("the program is gone", lambda: not Path(f"/proc/{pid}").exists())


def test_what_a_program_says_is_whole_however_often_it_is_looked_at() -> None:
    script = "for part in 1 2 3; do echo $part; sleep 0.2; done; echo end >&2; exit 3"
    with Interrupt().heeded():
        done = children.run(["sh", "-c", script], limit=PATIENCE, fault=BoardError)
    assert (done.returncode, done.stdout, done.stderr) == (3, "1\n2\n3\n", "end\n")


def test_a_limit_still_ends_a_program_that_is_looked_at(tmp_path: Path) -> None:
    with Interrupt().heeded():
        with pytest.raises(BoardError, match=r"did not end in 0\.3 s"):
            children.run(["sleep", "600"], limit=0.3, fault=BoardError)
        with pytest.raises(BoardError, match="did not end"):
            LocalConnection("host", tmp_path / "home").run(["sleep", "600"], timeout=0.3)
        with subprocess.Popen(["/bin/true"]) as process:
            assert children.wait(process, None) == 0


def test_what_cannot_be_ended_is_left_and_unmade_when_it_comes_too_late() -> None:
    begun, go = threading.Event(), threading.Event()
    unmade: list[str] = []

    def make() -> str:
        begun.set()
        go.wait(PATIENCE)
        return "made"

    def work() -> None:
        interrupts.or_abandoned(make, unmade.append)

    (error,) = told_in_a_thread(Interrupt(), work, begun.is_set)
    assert isinstance(error, KeyboardInterrupt)
    assert not unmade
    go.set()
    await_that("it is unmade", lambda: unmade == ["made"])


def test_what_is_made_in_time_is_had_and_its_fault_is_raised() -> None:
    def fails() -> str:
        raise BoardError("no")

    unmade: list[str] = []
    with Interrupt().heeded():
        assert interrupts.or_abandoned(lambda: "made", unmade.append) == "made"
        with pytest.raises(BoardError, match="no"):
            interrupts.or_abandoned(fails, unmade.append)
    assert interrupts.or_abandoned(lambda: "made", unmade.append) == "made"
    assert not unmade


def test_ticks_make_up_the_whole_wait() -> None:
    begin = time.monotonic()
    for tick in interrupts.ticks(0.25):
        time.sleep(tick)
    assert time.monotonic() - begin >= 0.25
