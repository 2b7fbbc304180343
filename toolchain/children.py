"""Child processes with a limit: one that is stopped, or waits for something, is not waited for.

What a child says is kept in memory, so these are programs of ours, compilers and the like.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from toolchain import interrupts
from toolchain.errors import DeployError

LOOK_S = 60.0
"""Seconds for a program that only tells something."""
WORK_S = 3600.0
"""Seconds for one that works: compiles a file, runs a model."""


def run(
    command: Sequence[str | Path], *, limit: float, fault: type[DeployError], **settings: Any
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, and keep what it says as text.

    It is in a process group of its own, which ends with it if it is given up, or we are.

    Args:
        command: the program and its arguments.
        limit: seconds that it may take.
        fault: the class of the error.
        settings: of :class:`subprocess.Popen`.

    Raises:
        DeployError: of class ``fault``: it did not end in time, and was killed.
        OSError: it cannot be started.
    """
    settings = {"stdin": subprocess.DEVNULL, "errors": "replace", **settings}
    process = subprocess.Popen(
        list(command),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
        **settings,
    )
    with process:
        try:
            out, err = _output(process, limit)
        except subprocess.TimeoutExpired as error:
            kill_group(process)
            raise time_up(str(command[0]), limit, fault) from error
        except BaseException:
            kill_group(process)
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def wait(process: subprocess.Popen[Any], limit: float | None) -> int:
    """Wait for a program; as its own ``wait``, but it is given up where a thread's work is to end.

    Raises:
        subprocess.TimeoutExpired: it did not end in time.
        KeyboardInterrupt: see :mod:`toolchain.interrupts`.
    """
    if interrupts.is_heeded():
        for tick in interrupts.ticks(limit):
            with suppress(subprocess.TimeoutExpired):
                return process.wait(tick)
    return process.wait(0.0 if interrupts.is_heeded() else limit)


def _output(process: subprocess.Popen[str], limit: float) -> tuple[str, str]:
    """What a program writes until its end; likewise."""
    if interrupts.is_heeded():
        for tick in interrupts.ticks(limit):
            with suppress(subprocess.TimeoutExpired):  # nothing is lost of what has come
                return process.communicate(timeout=tick)
    return process.communicate(timeout=0.0 if interrupts.is_heeded() else limit)


def kill_group(process: subprocess.Popen[Any]) -> None:
    """Kill a program that was started in a process group of its own, and what it started there."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def end_group(process: subprocess.Popen[Any], grace: float) -> None:
    """Ask such a program, and what it started, to end; kill them after ``grace`` seconds."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(timeout=grace)
    except subprocess.TimeoutExpired:
        kill_group(process)


def time_up(
    program: str, seconds: float, fault: type[DeployError], *, silent: bool = False
) -> DeployError:
    """The error for a program that was given up.

    Args:
        program: its name or path.
        seconds: that it had.
        fault: the class of the error.
        silent: whether it was given up because it told nothing for so long.
    """
    did = "has said nothing for" if silent else "did not end in"
    return fault(
        f"{Path(program).name}: {did} {seconds:g} s, and was killed",
        hint="it may have been stopped, or the machine be very busy: try again",
    )


class Watchdog:
    """Ends something that shows no sign of life; use it as a context manager around the wait.

    Args:
        limit: seconds without a sign.
        end: is called, in a thread, when they are over.
    """

    def __init__(self, limit: float, end: Callable[[], object]) -> None:
        self.bit = False
        """Whether the time was over."""
        self._limit, self._end = limit, end
        self._last = time.monotonic()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def alive(self) -> None:
        """There was a sign of life."""
        self._last = time.monotonic()

    def _watch(self) -> None:
        tick = min(1.0, self._limit / 10)
        silence, before = 0.0, time.monotonic()
        seen = self._last
        while not self._done.wait(tick):
            now = time.monotonic()
            if seen != self._last:
                seen, silence = self._last, 0.0
            else:  # this process may have been stopped meanwhile, with what it waits for
                silence += min(now - before, 2 * tick)
            before = now
            if silence > self._limit:
                self.bit = True
                self._end()
                return

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()
