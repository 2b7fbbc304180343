"""Work in a thread that is interrupted, as Ctrl-C does with work on many boards."""

from __future__ import annotations

import threading
from collections.abc import Callable

from support.patience import PATIENCE, await_that
from toolchain.interrupts import Interrupt


def told_in_a_thread(
    interrupt: Interrupt, work: Callable[[], object], begun: Callable[[], object]
) -> list[BaseException]:
    """What a thread's work ends with that is interrupted once it has begun."""
    ended: list[BaseException] = []

    def run() -> None:
        try:
            with interrupt.heeded():
                work()
        except BaseException as error:  # what the test asks for
            ended.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    await_that("the work has begun", begun)
    interrupt.ask()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    return ended
