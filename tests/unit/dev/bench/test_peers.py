"""Runtimes take turns, and none uses up those of the others."""

from __future__ import annotations

import math
from collections.abc import Callable

from toolchain.dev.bench.peers import take_turns


class _Clock:
    """Tells a time that only contestants move on."""

    def __init__(self) -> None:
        self.now = 0.0
        self.order: list[float] = []

    def contestant(self, seconds: float) -> Callable[[], float]:
        def run() -> float:
            self.now += seconds
            self.order.append(seconds)
            return seconds

        return run


def test_each_takes_a_turn_a_round_in_an_order_that_changes() -> None:
    clock = _Clock()
    samples = take_turns([clock.contestant(1), clock.contestant(2)], 3, math.inf, lambda: clock.now)
    assert samples == [[1, 1, 1], [2, 2, 2]]
    assert clock.order == [1, 2, 2, 1, 1, 2]


def test_a_slow_one_takes_a_few_turns_and_leaves_the_others_theirs() -> None:
    clock = _Clock()
    samples = take_turns([clock.contestant(1), clock.contestant(30)], 12, 20, lambda: clock.now)
    assert [len(sample) for sample in samples] == [12, 5]


def test_whoever_has_used_up_its_time_stops() -> None:
    clock = _Clock()
    samples = take_turns([clock.contestant(1), clock.contestant(2)], 12, 6.5, lambda: clock.now)
    assert [len(sample) for sample in samples] == [7, 5]
