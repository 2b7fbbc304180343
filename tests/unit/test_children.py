"""A child process that is stopped or waits is not waited for without end."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

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


def gone(path: Path) -> bool:
    """Whether the process whose number a file tells ends."""
    number = int(path.read_text())
    for _ in range(600):
        try:
            state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.1)
    return False


def test_a_program_that_left_another_with_its_output_is_not_waited_for(tmp_path: Path) -> None:
    left = f"sleep 600 & echo $! > {tmp_path}/left; wait"
    with pytest.raises(BuildError, match=r"sh: did not end in 2 s"):
        children.run(["sh", "-c", left], limit=2, fault=BuildError)
    assert gone(tmp_path / "left")


def test_what_a_program_of_this_machines_board_left_ends_with_it(tmp_path: Path) -> None:
    left = f"sleep 600 & echo $! > {tmp_path}/left; wait"
    with (
        LocalConnection("here", tmp_path) as board,
        pytest.raises(BoardError, match="did not end in 2 s"),
    ):
        board.run(["sh", "-c", left], timeout=2)
    assert gone(tmp_path / "left")


def test_what_a_proxy_command_left_ends_with_it(tmp_path: Path) -> None:
    proxy = ProxyProcess(f"sh -c 'sleep 600 & echo $! > {tmp_path}/left; cat'")
    while not (tmp_path / "left").exists() or not (tmp_path / "left").read_text():
        time.sleep(0.01)
    proxy.close()
    assert gone(tmp_path / "left")


def test_what_a_proxy_command_left_ends_also_where_that_has_ended_by_itself(tmp_path: Path) -> None:
    proxy = ProxyProcess(f"sh -c 'sleep 600 & echo $! > {tmp_path}/left; exit 3'")
    assert proxy.failure() == "its ProxyCommand ended with exit code 3"
    proxy.close()
    proxy.close()
    assert gone(tmp_path / "left")


def test_what_ends_in_time_is_kept() -> None:
    done = children.run(["sh", "-c", "echo out; echo err >&2; exit 3"], limit=60, fault=BuildError)
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")


def test_a_watchdog_bites_in_silence_alone() -> None:
    bitten = threading.Event()
    with children.Watchdog(0.5, bitten.set) as watchdog:
        for _ in range(10):
            bitten.wait(0.1)
            watchdog.alive()
        assert not watchdog.bit
        assert bitten.wait(30)
    assert watchdog.bit


def test_a_compiler_that_is_stopped_ends_the_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ninja, "SILENCE_S", 0.5)
    program = stopping(tmp_path / "cc", "echo compiling")
    with pytest.raises(BuildError, match=r"cc: has said nothing for 0\.5 s, and was killed"):
        ninja.run_logged([str(program)], log=tmp_path / "log", what="it failed")
    assert "compiling" in (tmp_path / "log").read_text()


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
