"""How long work reports what it is doing, without knowing who is watching."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


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
