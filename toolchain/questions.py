"""Secrets that the user alone knows: passphrases and passwords, asked for on a terminal.

Nobody is asked unless the program that runs says how, by :func:`answered_by`: a program that
nobody watches is never held up by a question. Nor is anybody asked by threads that work beside each
other: two questions on one terminal cannot be told apart.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Asking:
    """How a program asks its user."""

    somebody: Callable[[], bool]
    """Whether somebody is there to ask."""
    line: Callable[[str, bool], str | None]
    """Is given a question and whether what is typed may be seen; ``None`` where no answer comes."""


class _Known:
    """How this program asks."""

    asking: Asking | None = None


@contextmanager
def answered_by(asking: Asking) -> Iterator[None]:
    """While entered, the main thread asks in this way."""
    before, _Known.asking = _Known.asking, asking
    try:
        yield
    finally:
        _Known.asking = before


def can_ask() -> bool:
    """Whether this thread may ask, and somebody is there."""
    asking = _Known.asking
    is_main = threading.current_thread() is threading.main_thread()
    return asking is not None and is_main and asking.somebody()


def ask(question: str, *, echo: bool = False) -> str | None:
    """Ask the user for a line.

    Args:
        question: what is shown; it has to be harmless for a terminal.
        echo: whether what is typed may be seen.

    Returns:
        The answer; ``None`` where there is none.
    """
    if _Known.asking is None or not can_ask():
        return None
    return _Known.asking.line(question, echo)
