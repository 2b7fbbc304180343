"""Where tasks are done: what a sweep hands them to, and gets them back from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from toolchain.errors import DeployError
from toolchain.sweep.store import Record, Store
from toolchain.sweep.tasks import Task
from toolchain.sweep.work import perform


@dataclass(frozen=True)
class Ended:
    """A task that is no longer at work."""

    task: Task
    record: Record | None = None
    """Its result, if it is done."""
    error: DeployError | None = None
    """Why it cannot be done."""
    lost: str | None = None
    """Why it may be begun again: whoever did it has died."""
    blamed: bool = True
    """Whether that may be the task's own fault."""


class Pool(Protocol):
    """Hands tasks to workers."""

    @property
    def room(self) -> int:
        """How many tasks it takes before one has ended."""

    @property
    def said(self) -> str:
        """Where tasks are done, for the user."""

    def begin(self, task: Task) -> None:
        """Take a task, whose needs are done."""

    def ended(self, seconds: float) -> list[Ended]:
        """Those that have ended; waits for one, but no longer than ``seconds``."""

    def close(self, *, tidy: bool) -> None:
        """Let go of the workers; tasks that are at work are stopped, and keep their state.

        Args:
            tidy: whether they are given the time to.
        """


class Here:
    """A pool that does one task after the other, in this process.

    Args:
        store: where results are kept.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: list[Task] = []

    @property
    def room(self) -> int:
        """One at a time."""
        return 1

    @property
    def said(self) -> str:
        """Where tasks are done."""
        return "one after the other, in this process"

    def begin(self, task: Task) -> None:
        """See :class:`Pool`."""
        self._waiting.append(task)

    def ended(self, seconds: float) -> list[Ended]:  # noqa: ARG002 (a task takes as long as it takes)
        """See :class:`Pool`."""
        if not self._waiting:
            return []
        task = self._waiting.pop(0)
        try:
            return [Ended(task, record=perform(self._store, task))]
        except DeployError as error:
            return [Ended(task, error=error)]

    def close(self, *, tidy: bool) -> None:  # noqa: ARG002
        """See :class:`Pool`; there is nobody to let go of."""
        self._waiting.clear()
