"""Many boards at once: the same work on each, in a thread and over a connection of its own.

A board that fails is told, and the others go on. Ctrl-C ends the work on all of them; what each was
doing is cleaned up there, as with one board (:mod:`toolchain.interrupts`).
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from toolchain import interrupts
from toolchain.errors import DeployError, FleetError
from toolchain.failures import Failures
from toolchain.hardware.board_file import Board
from toolchain.progress import Progress

GRACE_S = 20.0
"""Seconds for which boards are waited for after Ctrl-C: a program is ended there, a file removed.
A board that is gone would be waited for longer than that; there is nothing to be cleaned up."""
_LOOK_S = 0.5
INTERRUPTED = 128 + 2
"""The exit code of Ctrl-C."""

Result = TypeVar("Result")


@dataclass
class Task(Generic[Result]):
    """The work on one board."""

    name: str
    """What tables call the board: its name, or what it was given as where others have that name."""
    board: Board
    progress: Progress
    result: Result | None = None
    """Set by the work as soon as there is one: it counts, whatever becomes of the rest."""
    failures: Failures = field(default_factory=Failures)
    """Models that failed there, and what ended the work on the others."""
    error: BaseException | None = None
    """What ended the work: a fault, or ``KeyboardInterrupt``."""
    seconds: float | None = None
    """How long it took; ``None`` while it goes on, and where it was not waited for."""

    @property
    def failed(self) -> bool:
        """Whether it ended before its end."""
        return self.error is not None


class Audience(Protocol):
    """Who is told how far boards are."""

    def progress(self, name: str) -> Progress:
        """Where the work on a board reports what it does."""

    def begun(self, name: str) -> None:
        """The work on a board has begun: it has waited for none of the others, or no longer."""

    def ended(self, task: Task[Result]) -> None:
        """The work on a board has ended."""

    def ending(self) -> None:
        """The work on all boards is to end, and is waited for."""


def names_of(boards: Sequence[Board]) -> dict[str, Board]:
    """A name for each board; where two have the same, both are called what they were given as."""
    counts = Counter(board.name for board in boards)
    return {(board.name if counts[board.name] == 1 else board.given): board for board in boards}


class Fleet(Generic[Result]):
    """Work on several boards.

    Args:
        boards: by their names, see :func:`names_of`.
        work: is done on each, in a thread of its own; sets the task's result. Raises what is wrong
            with that board.
        audience: is told how far each is.
        at_once: how many are worked on at the same time; all of them if ``None``.
    """

    def __init__(
        self,
        boards: Mapping[str, Board],
        work: Callable[[Task[Result]], object],
        audience: Audience,
        *,
        at_once: int | None = None,
    ) -> None:
        self.tasks: list[Task[Result]] = [
            Task(name, board, audience.progress(name)) for name, board in boards.items()
        ]
        """In the order in which the boards were named."""
        self.stopped: BaseException | None = None
        """What ended the work on all boards: Ctrl-C, or SIGTERM."""
        self._work, self._audience = work, audience
        self._places = threading.Semaphore(at_once or max(1, len(self.tasks)))
        self._interrupt = interrupts.Interrupt()
        self._changed = threading.Condition()
        self._left = 0

    def run(self) -> None:
        """Work on all of them; whatever happens, all have ended or been given up afterwards.

        Raises:
            Exception: a defect of ours, from whichever thread.
        """
        try:
            for task in self.tasks:
                # One that does not end keeps nobody from leaving.
                thread = threading.Thread(target=self._run, args=(task,), daemon=True)
                thread.start()
                with self._changed:
                    self._left += 1
            self._await(None)
        except BaseException as stop:  # told by require(), after what was done is shown
            self.stopped = stop
            self._interrupt.ask()
            self._audience.ending()
            try:
                self._await(GRACE_S)
            except BaseException as again:  # a second Ctrl-C: wait no longer
                self.stopped = again
        for task in self.tasks:
            if task.seconds is None:
                task.error = task.error or KeyboardInterrupt()
        for defect in self._defects():
            raise defect

    def require(self, others: Sequence[DeployError] = ()) -> None:
        """Raise what went wrong, if something did.

        Args:
            others: faults that are of no board: models that cannot be read.

        Raises:
            DeployError: of the class of all faults where that is the same one; else
                :class:`FleetError`. It tells of each board.
            BaseException: what ended the work on all of them.
        """
        if self.stopped is not None:
            raise self.stopped
        faults = {
            task.name: task.error for task in self.tasks if isinstance(task.error, DeployError)
        }
        if faults or others:
            raise joined(faults, len(self.tasks), others)

    def _run(self, task: Task[Result]) -> None:
        begin = time.monotonic()
        try:
            with self._interrupt.heeded():
                while not self._places.acquire(timeout=0.1):
                    interrupts.check()
                try:
                    interrupts.check()
                    begin = time.monotonic()
                    self._audience.begun(task.name)
                    self._work(task)
                finally:
                    self._places.release()
        except BaseException as error:  # told where all have ended
            task.error = error
        task.seconds = time.monotonic() - begin
        try:
            self._audience.ended(task)
        finally:
            with self._changed:
                self._left -= 1
                self._changed.notify_all()

    def _await(self, limit: float | None) -> None:
        """Wait until all have ended, or the limit is over; a signal is heard meanwhile."""
        end = None if limit is None else time.monotonic() + limit
        while self._left:
            if end is None and self._defects():
                self._interrupt.ask()
                end = time.monotonic() + GRACE_S
            left = _LOOK_S if end is None else end - time.monotonic()
            if left <= 0:
                return
            with self._changed:
                if self._left:
                    self._changed.wait(min(_LOOK_S, left))

    def _defects(self) -> list[BaseException]:
        """What ended work and is neither a board's fault nor Ctrl-C."""
        errors = [task.error for task in self.tasks if task.error is not None]
        return [one for one in errors if not isinstance(one, (DeployError, KeyboardInterrupt))]


def joined(
    faults: Mapping[str, DeployError], boards: int, others: Sequence[DeployError] = ()
) -> DeployError:
    """One error for those of several boards.

    Args:
        faults: by the board's name.
        boards: how many there are, with those that did not fail.
        others: faults that are of no board.
    """
    every = [*others, *faults.values()]
    if len(every) == 1 and (others or boards == 1):
        return every[0]
    lines = [named(name, error.what) for name, error in faults.items()]
    told = [error.what for error in others]
    if faults:
        told.append("\n  ".join([f"{len(faults)} of {boards} boards failed:", *lines]))
    whose: dict[str, list[str]] = {error.hint: [] for error in others if error.hint}
    for name, error in faults.items():
        if error.hint:
            whose.setdefault(error.hint, []).append(name)
    hints = [": ".join([", ".join(names), hint] if names else [hint])
             for hint, names in whose.items()]  # fmt: skip
    alike = len({error.exit_code for error in every}) == 1
    return (type(every[0]) if alike else FleetError)(
        "; ".join(told), hint="\n  hint: ".join(hints) or None
    )


def document(
    tasks: Sequence[Task[Result]], of_one: Callable[[Result], Mapping[str, Any]]
) -> dict[str, Any]:
    """What ``--json`` prints of several boards.

    Args:
        tasks: a board each.
        of_one: what it prints of one.
    """
    return {
        "boards": [
            {
                "name": task.name,
                **({} if task.result is None else of_one(task.result)),
                "error": _error_row(task.error),
            }
            for task in tasks
        ]
    }


def _error_row(error: BaseException | None) -> dict[str, Any] | None:
    if error is None:
        return None
    if isinstance(error, DeployError):
        return {"what": error.what, "hint": error.hint, "exit_code": error.exit_code}
    return {"what": "interrupted", "hint": None, "exit_code": INTERRUPTED}


def named(name: str, message: str) -> str:
    """What is said of a board, in a line that begins with its name."""
    known = message.startswith((f"{name}:", f"{name} ("))
    return message if known else f"{name}: {message}"
