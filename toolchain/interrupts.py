"""Ctrl-C for work in threads: Python itself tells the main thread alone.

Who waits for something, or moves something piece by piece, calls :func:`check` meanwhile. In a
thread whose work is to end it raises ``KeyboardInterrupt`` once, as a signal would in the main
thread: what cleans up afterwards is left in peace.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

_TICK_S = 0.1
_Made = TypeVar("_Made")


class Interrupt:
    """Ends the work of threads that heed it."""

    def __init__(self) -> None:
        self._asked = threading.Event()

    @property
    def is_asked(self) -> bool:
        """Whether work is to end."""
        return self._asked.is_set()

    def ask(self) -> None:
        """Let the work of all threads that heed it end."""
        self._asked.set()

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """While entered, work of this thread ends when it is asked to."""
        before = _here.interrupt, _here.told
        _here.interrupt, _here.told = self, False
        try:
            yield
        finally:
            _here.interrupt, _here.told = before


class _Here(threading.local):
    """What this thread heeds."""

    interrupt: Interrupt | None = None
    told = False
    """Whether it has been told; it is told once."""


_here = _Here()


def check() -> None:
    """Go on, unless this thread's work is to end and it has not been told yet.

    Raises:
        KeyboardInterrupt: it is to end.
    """
    if _here.interrupt is not None and _here.interrupt.is_asked and not _here.told:
        _here.told = True
        raise KeyboardInterrupt


def is_heeded() -> bool:
    """Whether this thread can still be told that its work is to end."""
    return _here.interrupt is not None and not _here.told


def sleep(seconds: float) -> None:
    """Wait; as :func:`time.sleep`, but such a thread is woken when its work is to end.

    Raises:
        KeyboardInterrupt: it is to end.
    """
    if _here.interrupt is None or _here.told:
        time.sleep(seconds)
    else:
        _here.interrupt._asked.wait(seconds)
        check()


def ticks(seconds: float | None) -> Iterator[float]:
    """Short waits that make up a long one: each is to be waited for, and then comes the next.

    Args:
        seconds: all of them together; ``None`` is without end.

    Raises:
        KeyboardInterrupt: meanwhile this thread's work is to end.
    """
    end = None if seconds is None else time.monotonic() + seconds
    while True:
        check()
        left = _TICK_S if end is None else end - time.monotonic()
        yield max(0.0, min(_TICK_S, left))
        if end is not None and time.monotonic() >= end:
            return


def or_abandoned(make: Callable[[], _Made], unmake: Callable[[_Made], object]) -> _Made:
    """Make something that cannot be ended meanwhile, as a connection to a server that is silent.

    Where this thread's work is to end it is left to itself.

    Args:
        make: makes it.
        unmake: is told of it where it comes too late.

    Raises:
        KeyboardInterrupt: this thread's work is to end.
        BaseException: whatever ``make`` raises.
    """
    if not is_heeded():
        return make()
    made: list[_Made] = []
    errors: list[BaseException] = []
    done = threading.Event()
    both = threading.Lock()
    abandoned = False

    def work() -> None:
        try:
            found = make()
        except BaseException as error:  # raised where it is waited for
            errors.append(error)
        else:
            with both:
                too_late = abandoned
                if not too_late:
                    made.append(found)
            if too_late:
                unmake(found)
        finally:
            done.set()

    threading.Thread(target=work, daemon=True).start()
    try:
        while not done.wait(_TICK_S):
            check()
    except BaseException:
        with both:
            abandoned = True
        for found in made:
            unmake(found)
        raise
    if errors:
        raise errors[0]
    return made[0]
