"""Keep the converter's chatter off the terminal, and at hand for when it fails."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from typing import IO

_ONE_AT_A_TIME = threading.RLock()


class Log:
    """What was said while it was quiet."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def tail(self, lines: int = 15) -> str:
        """The last lines, for an error message."""
        # pread: the file's position is the writers'.
        raw = os.pread(self._descriptor, os.fstat(self._descriptor).st_size, 0)
        return "\n".join(raw.decode("utf-8", errors="replace").splitlines()[-lines:])


@contextmanager
def quiet() -> Iterator[Log]:
    """Send what libraries print, log or warn about into a log, C++ code included.

    File descriptors 1 and 2 are redirected, which is all that reaches C++. Python's ``sys.stderr``
    keeps writing to the terminal, so that a progress bar goes on moving. All threads share the
    descriptors, so that one is quiet at a time.
    """
    with _ONE_AT_A_TIME, ExitStack() as stack:
        log = stack.enter_context(tempfile.TemporaryFile())
        text = stack.enter_context(os.fdopen(os.dup(log.fileno()), "w", 1, encoding="utf-8"))
        for number in (1, 2):
            stack.enter_context(_redirected(number, log.fileno()))
        stack.enter_context(redirect_stdout(text))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        stack.callback(logging.disable, logging.NOTSET)
        yield Log(log.fileno())


@contextmanager
def _redirected(number: int, target: int) -> Iterator[None]:
    if sys.stdout is not None:
        sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(number)
    stderr = sys.stderr
    own = _writes_to(stderr, number)
    try:
        if own:
            sys.stderr = os.fdopen(os.dup(saved), "w", buffering=1, encoding=stderr.encoding)
        os.dup2(target, number)
        yield
    finally:
        os.dup2(saved, number)
        os.close(saved)
        if own:
            sys.stderr.close()
            sys.stderr = stderr


def _writes_to(stream: IO[str], number: int) -> bool:
    try:
        return stream.fileno() == number
    except (OSError, ValueError, AttributeError):  # pytest's capture, a notebook
        return False
