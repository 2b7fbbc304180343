"""A child process that is stopped or waits is not waited for without end."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from support.patience import await_that, growing_limits, written
from toolchain import children
from toolchain.agreement import runtimes
from toolchain.board.local import LocalConnection
from toolchain.board.proxy import ProxyProcess
from toolchain.build import ninja
from toolchain.errors import BoardError, BuildError, DataError, SourceError, VerificationError
from toolchain.fetch import apt
from toolchain.progress import Silent
from toolchain.train import batches

STOPPED = "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)"


def stopping(path: Path, then: str = "") -> Path:
    """A program that stops itself."""
    path.write_text(f"#!/bin/sh\n{then}\nkill -STOP $$\n")
    path.chmod(0o755)
    return path


def test_a_program_that_is_stopped_is_killed_and_told() -> None:
    with pytest.raises(BuildError, match=r"did not end in 0\.5 s, and was killed"):
        children.run([sys.executable, "-c", STOPPED], limit=0.5, fault=BuildError)


def require_gone(path: Path) -> None:
    """The process whose number a file tells ends."""
    number = int(path.read_text())

    def ended() -> bool:
        try:
            state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        return state == "Z"

    await_that("what it left ends", ended)


def test_a_program_that_left_another_with_its_output_is_not_waited_for(tmp_path: Path) -> None:
    left = f"sleep 600 & echo $! > {tmp_path}/left; wait"
    for limit in growing_limits(lambda: written(tmp_path / "left")):
        with pytest.raises(BuildError, match=f"sh: did not end in {limit:g} s"):
            children.run(["sh", "-c", left], limit=limit, fault=BuildError)
    require_gone(tmp_path / "left")


def test_what_a_program_of_this_machines_board_left_ends_with_it(tmp_path: Path) -> None:
    left = f"sleep 600 & echo $! > {tmp_path}/left; wait"
    with LocalConnection("here", tmp_path) as board:
        for limit in growing_limits(lambda: written(tmp_path / "left")):
            with pytest.raises(BoardError, match=f"did not end in {limit:g} s"):
                board.run(["sh", "-c", left], timeout=limit)
    require_gone(tmp_path / "left")


def test_what_a_proxy_command_left_ends_with_it(tmp_path: Path) -> None:
    proxy = ProxyProcess(f"sh -c 'sleep 600 & echo $! > {tmp_path}/left; cat'")
    await_that("it leaves something", lambda: written(tmp_path / "left"))
    proxy.close()
    require_gone(tmp_path / "left")


def test_what_a_proxy_command_left_ends_also_where_that_has_ended_by_itself(tmp_path: Path) -> None:
    proxy = ProxyProcess(f"sh -c 'sleep 600 & echo $! > {tmp_path}/left; exit 3'")
    assert proxy.failure() == "its ProxyCommand ended with exit code 3"
    proxy.close()
    proxy.close()
    require_gone(tmp_path / "left")


def test_what_ends_in_time_is_kept() -> None:
    done = children.run(["sh", "-c", "echo out; echo err >&2; exit 3"], limit=60, fault=BuildError)
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")


class Clock:
    """``time.monotonic`` that goes on when it is told to, and counts who looks."""

    def __init__(self) -> None:
        self.now, self.looks = 0.0, 0

    def __call__(self) -> float:
        self.looks += 1
        return self.now

    def passes(self, seconds: float) -> None:
        """Somebody else looks before and after."""
        for step in (seconds, 0.0):
            self.now += step
            seen = self.looks
            await_that("the watchdog looks", partial(self._looked_since, seen))

    def _looked_since(self, seen: int) -> bool:
        return self.looks > seen


def test_a_watchdog_bites_in_silence_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, bitten = Clock(), threading.Event()
    monkeypatch.setattr(children, "time", SimpleNamespace(monotonic=clock))
    with children.Watchdog(0.5, bitten.set) as watchdog:
        for _ in range(10):
            clock.passes(0.1)
            watchdog.alive()
        assert not watchdog.bit
        for _ in range(3):
            clock.passes(0.1)
        clock.passes(1000.0)  # all of it was stopped meanwhile, what is watched as well
        assert not watchdog.bit

        def bites() -> bool:
            clock.now += 0.1
            return bitten.is_set()

        await_that("the watchdog bites", bites)
    assert watchdog.bit


def test_a_compiler_that_is_stopped_ends_the_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, log = stopping(tmp_path / "cc", "echo compiling"), tmp_path / "log"
    for limit in growing_limits(lambda: "compiling" in log.read_text()):
        monkeypatch.setattr(ninja, "SILENCE_S", limit)
        message = f"cc: has said nothing for {limit:g} s, and was killed"
        with pytest.raises(BuildError, match=message):
            ninja.run_logged([str(program)], log=log, what="it failed")


def test_apt_that_is_stopped_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apt, "_APT_S", 0.5)
    program = stopping(tmp_path / "apt-get")
    with (
        Silent().stage("fetch") as stage,
        pytest.raises(SourceError, match=r"apt-get: has said nothing for 0\.5 s"),
    ):
        apt._with_status(tmp_path / "conf", [str(program)], stage, tmp_path)


def test_a_runtime_of_another_environment_that_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtimes, "_RUN_S", 0.5)
    runtime = runtimes.TfliteRuntime(stopping(tmp_path / "python"), "2.14.0", "xnnpack")
    with pytest.raises(VerificationError, match=r"did not end in 0\.5 s"):
        runtime.run(tmp_path / "net.tflite", [[np.zeros(1, np.float32)]])


def _stop(number: int) -> Any:
    os.kill(os.getpid(), signal.SIGSTOP)
    return number


def test_a_reader_of_images_that_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "WORKER_S", 1)
    others = set(multiprocessing.active_children())
    found = batches._in_order(_stop, range(3), workers=1)
    with pytest.raises(DataError, match="has given none for 1 s"):
        next(iter(found))
    for reader in set(multiprocessing.active_children()) - others:
        reader.join(60)
        assert not reader.is_alive()


def test_a_program_that_is_not_there_is_an_error_of_the_system() -> None:
    with pytest.raises(OSError, match="No such file"):
        children.run(["/no/such/program"], limit=1, fault=BuildError)
