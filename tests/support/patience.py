"""Waiting in tests: for an event, and never for a time that is thought to be long enough.

A machine that is busy takes as long as it takes. What is limited here only ends a test that hangs.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PATIENCE = 600.0
"""Seconds after which a test hangs."""
_LIMITS = (1.0, 4.0, 16.0, 64.0)


def await_that(what: str, holds: Callable[[], object], limit: float = PATIENCE) -> None:
    """Wait until a condition holds, which is asked again and again.

    Args:
        what: the condition, in words.
        holds: tells whether it does.
        limit: seconds after which the test fails.
    """
    deadline = time.monotonic() + limit
    while not holds():
        assert time.monotonic() < deadline, f"it never came to this: {what}"
        time.sleep(0.02)


def growing_limits(enough: Callable[[], object]) -> Iterator[float]:
    """Seconds to give to something that is to run into its limit: more, until they were enough.

    A limit of a second is soon over; but where the machine is busy, it may be over before what is
    limited has come to the point that the test is about.

    Args:
        enough: tells whether it has.
    """
    for limit in _LIMITS:
        yield limit
        if enough():
            return
    pytest.fail(f"{_LIMITS[-1]:g} s were not enough")


def written(path: Path) -> bool:
    """Whether a file has a whole line: a program's number, or just that it has begun."""
    return path.is_file() and path.read_bytes().endswith(b"\n")


def once(begun: Callable[[], object], act: Callable[[], object]) -> None:
    """Do something as soon as something else has begun, in a thread of its own."""

    def work() -> None:
        await_that("it has begun", begun)
        act()

    threading.Thread(target=work, daemon=True).start()
