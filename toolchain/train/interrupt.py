"""Ctrl-C and SIGTERM during training: finish the step, save, stop."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Protocol, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(Exception):  # noqa: N818 - nothing went wrong
    """A run was asked to stop; its state is saved and it can be resumed.

    Args:
        step: optimizer steps done.
        signal_number: that asked for it.
    """

    def __init__(self, step: int, signal_number: int) -> None:
        super().__init__(f"stopped after step {step}")
        self.step, self.signal_number = step, signal_number


class Stop(Protocol):
    """What may ask a training to stop."""

    @property
    def signal_number(self) -> int | None:
        """Of the signal that asks for it; ``None`` while none does."""


class StopRequest:
    """While entered, the first signal only sets :attr:`signal_number`.

    An exception could strike in the middle of an optimizer step, and leave weights that no run
    would ever have. A second signal does what it did before. Outside the main thread, where
    handlers cannot be set, nothing changes.
    """

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._restore()

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.signal_number = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
