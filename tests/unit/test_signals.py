from __future__ import annotations

import os
import signal
import threading

import pytest

from toolchain.signals import sigterm_exits


def test_sigterm_is_an_exit_that_passes_through_clean_up() -> None:
    cleaned = []

    def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            cleaned.append(True)

    with pytest.raises(SystemExit) as left, sigterm_exits():
        work()
    assert left.value.code == 143
    assert cleaned


def test_afterwards_sigterm_does_what_it_did_before() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with sigterm_exits():
        outer = signal.getsignal(signal.SIGTERM)
        assert outer != before
        with sigterm_exits():
            pass
        assert signal.getsignal(signal.SIGTERM) == outer
    assert signal.getsignal(signal.SIGTERM) == before


def test_in_another_thread_nothing_changes() -> None:
    seen: list[object] = []

    def look() -> None:
        with sigterm_exits():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGTERM)]
