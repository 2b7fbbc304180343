"""The order of turns, when times have settled, and how long a board is waited for."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.profile.facts import Throttled, Vitals
from toolchain.profile.protocol import (
    SECONDS,
    TURNS,
    Limits,
    rounds,
    runs_of_a_turn,
    runs_of_turns,
    runs_to_settle,
    settled_after,
    wait_until_calm,
)
from toolchain.progress import Silent


@given(runs=st.integers(1, 10_000))
def test_runs_are_shared_out_evenly(runs: int) -> None:
    turns = runs_of_turns(runs)
    assert sum(turns) == runs
    assert len(turns) == min(runs, TURNS)
    assert max(turns) - min(turns) <= 1


@given(us=st.floats(400, 1e8))
def test_all_turns_together_take_the_seconds_they_should(us: float) -> None:
    runs = runs_of_a_turn(us)
    assert TURNS * runs * us >= SECONDS * 1e6
    assert runs == 1 or TURNS * (runs - 1) * us < SECONDS * 1e6


@pytest.mark.parametrize("us", [0.0, 0.5, 14.0])
def test_a_turn_of_the_smallest_models_ends(us: float) -> None:
    assert runs_of_a_turn(us) == 10_000


@given(models=st.integers(1, 6), seed=st.integers(0, 2**32 - 1))
def test_each_model_has_a_turn_in_each_round_and_every_second_round_is_the_one_before_backwards(
    models: int, seed: int
) -> None:
    order = list(itertools.islice(rounds(models, seed), 12))
    assert all(sorted(one) == list(range(models)) for one in order)
    assert all(a == b[::-1] for a, b in zip(order[::2], order[1::2], strict=True))
    assert order == list(itertools.islice(rounds(models, seed), 12))


def test_chance_decides_which_model_begins_a_block() -> None:
    begins = Counter(order[0] for order in itertools.islice(rounds(2, 1), 0, 400, 2))
    assert 70 < begins[0] < 130


@pytest.mark.parametrize(
    ("samples", "settled"),
    [
        ([100.0] * 10, 0),
        ([150.0, 101.0, 100.0, 100.5, 99.5, 100.0, 100.2, 99.8, 100.0, 100.1], 1),
        ([180.0, 140.0, 120.0, 110.0, 100.0, 100.0, 101.0, 99.0, 100.0, 100.0], 4),
        ([1000 * 0.8**run for run in range(16)], None),
        # One that something disturbed in the second half is no warm-up.
        ([100.0] * 8 + [900.0, 100.0], 0),
        ([300.0, 280.0, 260.0, 240.0, 220.0, 108.0, 106.0, 104.0, 102.0, 100.0], None),
        ([100.0, 100.0, 100.0], None),
        ([], None),
        ([0.0] * 8, 0),
    ],
)
def test_runs_have_settled_once_they_are_as_fast_as_the_later_ones(
    samples: list[float], settled: int | None
) -> None:
    assert settled_after(samples) == settled


def test_a_slow_model_is_looked_at_for_some_seconds_alone() -> None:
    assert [runs_to_settle(us) for us in (10.0, 100_000.0, 3e6)] == [200, 10, 4]


def test_noise_is_no_warm_up() -> None:
    assert settled_after([103.0, 97.0, 104.0, 96.0, 100.0, 103.0, 97.0, 104.0, 96.0, 100.0]) == 0


@dataclass
class Board(Silent):
    """A board that cools down as it is waited for, and the clock by which that is done."""

    degrees: Iterator[float | None]
    busy: Iterator[bool] = field(default_factory=lambda: itertools.repeat(False))
    throttled: Throttled | None = None
    now: float = 0.0
    said: list[str] = field(default_factory=list)

    def advance(self, steps: float = 1, detail: str | None = None) -> None:
        assert steps == 0
        self.said.append(detail or "")

    def total(self, steps: float) -> None:
        raise AssertionError(f"a wait has no length, and not {steps}")

    def wait(self, limits: Limits) -> str | None:
        def pause(seconds: float) -> None:
            self.now += seconds

        return wait_until_calm(
            lambda: Vitals(temperature_c=next(self.degrees), throttled=self.throttled),
            lambda: next(self.busy),
            limits,
            self,
            pause=pause,
            clock=lambda: self.now,
        )


def test_a_board_that_is_cool_and_idle_is_not_waited_for() -> None:
    board = Board(itertools.repeat(65.0))
    assert board.wait(Limits()) is None
    assert (board.now, board.said) == (0.0, [])


def test_a_board_that_tells_no_temperature_is_not_waited_for() -> None:
    assert Board(itertools.repeat(None)).wait(Limits()) is None


def test_a_board_that_is_too_warm_is_waited_for_until_it_is_cool() -> None:
    board = Board(iter([70.0, 68.0, 66.0, 65.0]))
    assert board.wait(Limits()) is None
    assert board.now == 6.0
    assert board.said[0] == "waits: at 70.0 °C"


def test_a_board_that_is_busy_is_waited_for_until_it_is_idle() -> None:
    board = Board(itertools.repeat(50.0), iter([True, True, False]))
    assert board.wait(Limits()) is None
    assert board.said == ["waits: busy"] * 2


@pytest.mark.parametrize(
    ("board", "reason"),
    [
        (Board(itertools.repeat(71.5)), "still at 71.5 °C"),
        (Board(itertools.repeat(50.0), itertools.repeat(True)), "still busy"),
        (
            Board(itertools.repeat(50.0), throttled=Throttled(now=["throttled"], since_boot=[])),
            "still held back (throttled)",
        ),
    ],
)
def test_the_longest_wait_ends_and_says_what_for(board: Board, reason: str) -> None:
    assert board.wait(Limits(max_wait_s=5.0)) == reason
    assert board.now == 5.0


def test_without_time_to_wait_a_board_is_asked_once() -> None:
    board = Board(iter([90.0]))
    assert board.wait(Limits(max_wait_s=0.0)) == "still at 90.0 °C"
