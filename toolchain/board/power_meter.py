"""A power meter beside a board: a program on this machine that prints what the meter reads.

The program prints a line for each reading, ``<watts>`` or ``<seconds> <watts>``, both decimal
numbers. It is started without a shell, in a process group of its own, and ended with that group.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import IO, Self

from toolchain import children
from toolchain.board.pmic import Reading
from toolchain.errors import MeterError
from toolchain.foreign_text import last_line

FIRST_S = 20.0
"""Seconds until a meter has to have read something: one that is reached by radio takes some."""
MOST_A_SECOND = 10_000
"""Lines; what prints more is no meter."""
_BURST_S = 4.0
"""Of so many seconds lines may come at once, as after a pause of this machine."""
_GRACE_S = 2.0
_LONGEST = 4096
_KEPT = 4096
_MOST_WATTS = 1e6
_NUMBER = re.compile(
    r"[+-]?(?:[0-9]{1,15}(?:\.[0-9]{0,15})?|\.[0-9]{1,15})(?:[eE][+-]?[0-9]{1,2})?"
)


def parse_line(line: bytes) -> tuple[float | None, float] | None:
    """Seconds, where they are told, and watts; ``None`` for what is no reading."""
    words = line.decode("ascii", errors="replace").split()
    if not 1 <= len(words) <= 2 or not all(_NUMBER.fullmatch(word) for word in words):
        return None
    *seconds, watts = map(float, words)
    return (seconds[0] if seconds else None, watts) if 0 <= watts <= _MOST_WATTS else None


class Meter:
    """The program, running; a context manager, which ends it.

    Args:
        argv: the program and its arguments.

    Raises:
        MeterError: it cannot be started.
    """

    def __init__(self, argv: Sequence[str]) -> None:
        self._argv = tuple(argv)
        try:
            self._process = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                process_group=0,
            )
        except (OSError, ValueError) as error:
            said = error.strerror if isinstance(error, OSError) else str(error)
            raise MeterError(
                f"the meter's program {argv[0]} cannot be started: {said}",
                hint="--meter takes a program and its arguments, and no shell text",
            ) from error
        self._began = time.monotonic()
        self._changed = threading.Condition()
        self._arrived: list[tuple[float, float | None, float]] = []
        self._offset = float("inf")
        """The least that a reading took from its own clock to ours."""
        self._latest = float("-inf")
        self._cost = 0.0
        self._unreadable = 0
        self._wrong: bytes | None = None
        """The first line that was no reading."""
        self._fault: str | None = None
        self._said = bytearray()
        # The second one waits for the first, whose last line it tells.
        streams = ((self._drain, self._process.stderr), (self._read, self._process.stdout))
        self._readers = [
            threading.Thread(target=work, args=(stream,), daemon=True) for work, stream in streams
        ]
        for reader in self._readers:
            reader.start()

    @property
    def fault(self) -> str | None:
        """Why it reads no more: it has ended, or prints too much."""
        return self._fault

    @property
    def unreadable(self) -> int:
        """Lines that were no reading."""
        return self._unreadable

    @property
    def readings(self) -> list[Reading]:
        """What has been read so far, by the time of :func:`time.monotonic`.

        A reading was taken when its line arrived. Where lines tell seconds, those set it apart from
        others; what arrived soonest after its own time says how the two clocks go together.
        """
        with self._changed:
            taken = [
                (arrival if seconds is None else seconds + self._offset, watts)
                for arrival, seconds, watts in self._arrived
            ]
        return [Reading(when, when, watts) for when, watts in taken]

    def wait_for(self, count: int, limit: float) -> bool:
        """Wait until there are so many readings; whether there are before ``limit`` seconds."""
        with self._changed:
            self._changed.wait_for(
                lambda: len(self._arrived) >= count or self._fault is not None, limit
            )
            return len(self._arrived) >= count

    def require_first(self) -> None:
        """Wait for the first reading.

        Raises:
            MeterError: the program ends before, or prints none for ``FIRST_S`` seconds.
        """
        if self.wait_for(1, FIRST_S):
            return
        what = self._fault or f"has printed no reading for {FIRST_S:g} s"
        raise MeterError(
            f"the meter's program {self._argv[0]} {what}{self._wrong_line()}",
            hint="it is to print a line for each reading, <watts> or <seconds> <watts>, and to "
            f"flush its output after each; try it by itself: {shlex.join(self._argv)}",
        )

    def close(self) -> None:
        """End the program: with TERM, after a while with KILL. May be called twice."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGTERM)
            self._has_ended(_GRACE_S)
            # What it started may go on without it; until its exit code is taken the group is its.
            children.kill_group(self._process)
        for reader in self._readers:
            reader.join(1.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _wrong_line(self) -> str:
        if self._wrong is None:
            return ""
        line = self._wrong[:40].decode("utf-8", errors="replace").rstrip()
        return f"; a line of its output is no reading: '{line}'"

    def _has_ended(self, limit: float) -> int | None:
        """Its exit code, which is left to be taken, -n after signal n; ``None`` if it runs."""
        deadline = time.monotonic() + limit
        while True:
            flags = os.WEXITED | os.WNOWAIT | os.WNOHANG
            try:
                found = os.waitid(os.P_PID, self._process.pid, flags)
            except ChildProcessError:  # it was ended, and its code taken
                return None
            if found is not None:
                exited = found.si_code == os.CLD_EXITED
                return found.si_status if exited else -found.si_status
            if time.monotonic() >= deadline:
                return None
            time.sleep(0.02)

    def _read(self, stream: IO[bytes]) -> None:
        with stream, suppress(ValueError):
            whole = True  # whether the piece before ended its line
            while piece := stream.readline(_LONGEST):
                now = time.monotonic()
                self._cost += 1 + len(piece) / 64
                if self._cost > MOST_A_SECOND * (now - self._began + _BURST_S):
                    self._stop(f"prints more than {MOST_A_SECOND:,} lines a second")
                    return
                begins, whole = whole, piece.endswith(b"\n")
                if begins and piece.strip():
                    self._take(piece, now)
        code = self._has_ended(_GRACE_S)
        self._readers[0].join(_GRACE_S)
        said = last_line(bytes(self._said).decode("utf-8", errors="replace"))
        ended = "has closed its output"
        if code is not None:
            ended = f"ended with exit code {code}" if code >= 0 else f"was ended by signal {-code}"
        self._stop(ended + (f": {said}" if said else ""))

    def _take(self, line: bytes, now: float) -> None:
        found = parse_line(line)
        with self._changed:
            seconds = found and found[0]
            if found is None or (seconds is not None and seconds < self._latest):
                self._unreadable += 1
                self._wrong = self._wrong or line
                return
            if seconds is not None:
                self._latest = seconds
                self._offset = min(self._offset, now - seconds)
            self._arrived.append((now, *found))
            self._changed.notify_all()

    def _drain(self, stream: IO[bytes]) -> None:
        with stream:
            while piece := stream.read1(_KEPT):  # type: ignore[attr-defined]
                self._said += piece
                del self._said[:-_KEPT]

    def _stop(self, fault: str) -> None:
        with self._changed:
            self._fault = self._fault or fault
            self._changed.notify_all()
