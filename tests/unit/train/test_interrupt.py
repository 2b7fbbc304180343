"""Signals during training: the first one asks, the second one does what it always did."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from toolchain.train.interrupt import Stopped, StopRequest

SIGNALS = [signal.SIGINT, signal.SIGTERM]


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_only_noted(number: signal.Signals) -> None:
    with StopRequest() as stop:
        assert stop.signal_number is None
        send(number)
        assert stop.signal_number == number


@pytest.mark.parametrize("first", SIGNALS)
def test_a_second_one_is_not_held_back(first: signal.Signals) -> None:
    with StopRequest():
        send(first)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)


@pytest.mark.parametrize("asked", [False, True])
def test_what_was_before_comes_back(asked: bool) -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with StopRequest():
        assert [signal.getsignal(number) for number in SIGNALS] != before
        if asked:
            send(signal.SIGTERM)
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_what_was_before_comes_back_after_an_error() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with pytest.raises(ValueError, match="a fault"), StopRequest():
        raise ValueError("a fault")
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_another_thread_cannot_set_handlers_and_need_not() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def work() -> None:
        with StopRequest() as stop:
            seen.extend([stop.signal_number, signal.getsignal(signal.SIGINT)])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [None, before]


def test_a_stop_says_where() -> None:
    stopped = Stopped(12, signal.SIGTERM)
    assert str(stopped) == "stopped after step 12"
    assert (stopped.step, stopped.signal_number) == (12, 15)
