"""How long work reports what it is doing, without knowing who is watching."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from toolchain.foreign_text import harmless

_PACE_EACH_S = 0.5
_PACE_OVER_S = 10.0
"""The pace is that of the last seconds."""


class Stage(Protocol):
    """One piece of long work, split into steps."""

    def advance(self, steps: float = 1, detail: str | None = None) -> None:
        """Count ``steps`` more as done; ``detail`` replaces the text beside the bar."""

    def total(self, steps: float) -> None:
        """Say how many steps there are, once that is known."""


class Progress(Protocol):
    """Where stages are announced."""

    def stage(self, title: str, total: float | None = None) -> AbstractContextManager[Stage]:
        """Begin a stage; ``total`` is its number of steps, ``None`` while unknown."""

    def note(self, message: str) -> None:
        """Say one line that stays on the screen."""


class _SilentStage:
    def advance(self, steps: float = 1, detail: str | None = None) -> None: ...

    def total(self, steps: float) -> None: ...


class Silent:
    """A :class:`Progress` that says nothing: for libraries, tests and ``--json``."""

    @contextmanager
    def stage(self, title: str, total: float | None = None) -> Iterator[Stage]:  # noqa: ARG002
        """Begin a stage that nobody sees."""
        yield _SilentStage()

    def note(self, message: str) -> None:
        """Say nothing."""


class Pace:
    """How fast bytes move, and how long those that are left will take.

    Args:
        total: of bytes.
    """

    def __init__(self, total: int) -> None:
        self._total, self._done = total, 0
        self._told = time.monotonic()
        self._seen = deque([(self._told, 0)])

    def skip(self, count: int) -> None:
        """So many are there already, and need no time."""
        self._total -= count
        self._done -= count

    def moved(self, count: int) -> str | None:
        """So many more have moved; what there is to say, now and then: ``12.1 MB/s, 0:20 left``."""
        self._done += count
        now = time.monotonic()
        if now - self._told < _PACE_EACH_S or self._done <= 0:
            return None
        self._told = now
        self._seen.append((now, self._done))
        while len(self._seen) > 2 and now - self._seen[0][0] > _PACE_OVER_S:
            self._seen.popleft()
        begun, before = self._seen[0]
        rate = (self._done - before) / (now - begun)
        if rate <= 0:
            return None
        minutes, seconds = divmod(round(max(0, self._total - self._done) / rate), 60)
        return f"{rate / 1e6:.1f} MB/s, {minutes}:{seconds:02} left"


class Lines:
    """A :class:`Progress` of plain lines on standard error, for logs and programs without a screen.

    Args:
        interval_s: at least so many seconds lie between two lines of one stage.
    """

    def __init__(self, interval_s: float = 5.0) -> None:
        self._interval_s = interval_s

    @contextmanager
    def stage(self, title: str, total: float | None = None) -> Iterator[Stage]:
        """Say the title, then from time to time how far the stage is."""
        self.note(f"{title} ...")
        yield _LineStage(self, title, total, self._interval_s)

    def note(self, message: str) -> None:
        """Print one line."""
        print(harmless(message), file=sys.stderr, flush=True)


class Told(Lines):
    """A :class:`Progress` that tells a function what is done, a line at a time.

    Args:
        tell: is given each line.
        interval_s: at least so many seconds lie between two lines of one stage.
    """

    def __init__(self, tell: Callable[[str], object], interval_s: float = 5.0) -> None:
        super().__init__(interval_s)
        self._tell = tell

    def note(self, message: str) -> None:
        """Tell one line."""
        self._tell(message)


class _LineStage:
    def __init__(self, lines: Lines, title: str, total: float | None, interval_s: float) -> None:
        self._lines, self._title, self._total, self._interval_s = lines, title, total, interval_s
        self._done = 0.0
        self._last = time.monotonic()

    def advance(self, steps: float = 1, detail: str | None = None) -> None:
        self._done += steps
        if time.monotonic() - self._last < self._interval_s:
            return
        self._last = time.monotonic()
        far = f"{self._done / self._total:.0%}" if self._total else f"{self._done:g}"
        self._lines.note(f"{self._title}: {far}" + (f", {detail}" if detail else ""))

    def total(self, steps: float) -> None:
        self._total = steps
