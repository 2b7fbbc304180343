"""How long work reports what it is doing, without knowing who is watching."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from toolchain.foreign_text import harmless


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
