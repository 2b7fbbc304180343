"""Comparisons of the same model on a noisy board: chance is no change, and a change is one.

A board's noise is made up here, from seeds: each shape slows a run that starts at a time, as a
function that goes on from one profile to the next.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from support.profiles import in_turns, profile_of
from toolchain.profile.comparable import subjects_of
from toolchain.profile.compare import Change, compare
from toolchain.profile.document import Profile
from toolchain.profile.protocol import TURNS, rounds

Slowing = Callable[[float], float]
"""Of a run that starts at so many seconds: 1 is as fast as can be."""
RUNS = 8
COMPARISONS = 80


@dataclass
class Noise:
    """What one board does to a run."""

    random: np.random.Generator

    def white(self, _: float) -> float:
        return float(1 + 0.03 * self.random.standard_normal())

    def spikes(self, _: float) -> float:
        """One run in ten takes up to ten times as long."""
        spike = self.random.random() < 0.1
        return float(1 + spike * self.random.uniform(1, 9) + 0.01 * self.random.random())

    def bimodal_runs(self, _: float) -> float:
        return float(self.random.choice([1.0, 1.4]) + 0.01 * self.random.random())

    def drift(self, second: float) -> float:
        """A fan that goes on and off: 15 % within half a minute, and back."""
        return float(1.15 + 0.15 * np.sin(second / 10) + 0.01 * self.random.random())

    def warming(self, second: float) -> float:
        """Slower and slower for ever, 1 % in three seconds."""
        return float(1 + second / 300 + 0.005 * self.random.random())


class Places(Noise):
    """A process lies in memory well or badly, all of it."""

    def __init__(self, random: np.random.Generator) -> None:
        super().__init__(random)
        self._turn, self._now = -1, 1.0

    def bimodal_turns(self, second: float) -> float:
        if int(second * 2) != self._turn:
            self._turn, self._now = int(second * 2), self.random.choice([1.0, 1.25])
        return float(self._now + 0.01 * self.random.random())


class Neighbours(Noise):
    """Other programs come and go, each for some seconds."""

    def __init__(self, random: np.random.Generator) -> None:
        super().__init__(random)
        self._until, self._now = 0.0, 1.0

    def busy(self, second: float) -> float:
        while second >= self._until:
            self._until += float(self.random.exponential(3.0))
            self._now = float(self.random.choice([1.0, 1.0, 1.3, 2.0]))
        return float(self._now * (1 + 0.02 * self.random.random()))


SHAPES: dict[str, Callable[[np.random.Generator], Slowing]] = {
    "white": lambda random: Noise(random).white,
    "spikes": lambda random: Noise(random).spikes,
    "two speeds, run by run": lambda random: Noise(random).bimodal_runs,
    "two speeds, turn by turn": lambda random: Places(random).bimodal_turns,
    "drift": lambda random: Noise(random).drift,
    "warming": lambda random: Noise(random).warming,
    "neighbours": lambda random: Neighbours(random).busy,
}


class Board:
    """A board on which time passes while models take turns."""

    def __init__(self, slowing: Slowing) -> None:
        self._slowing, self._second, self._sessions = slowing, 0.0, 0

    def profile(self, dense_us: float = 1000.0, masked_us: float = 800.0) -> Profile:
        times: dict[str, list[list[float]]] = {"dense": [], "masked": []}
        self._sessions += 1
        for order in itertools.islice(rounds(2, self._sessions), TURNS):
            for index in order:
                name, us = (("dense", dense_us), ("masked", masked_us))[index]
                starts = self._second + np.linspace(0, 0.4, RUNS)
                times[name].append([us * self._slowing(float(start)) for start in starts])
                self._second += 0.5
        self._second += 5.0
        return profile_of(*(in_turns(name, turns) for name, turns in times.items()))


def times(before: Profile, after: Profile) -> list[Change]:
    found = compare(subjects_of(before), subjects_of(after)).changes
    return [one for one in found if one.figure == "median"]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_same_model_is_no_better_and_no_worse(shape: str) -> None:
    random = np.random.default_rng(7)
    told = compared = 0
    for _ in range(COMPARISONS // 2):
        board = Board(SHAPES[shape](random))
        changes = times(board.profile(), board.profile())
        told += sum(change.significant for change in changes)
        compared += len(changes)
    assert compared == COMPARISONS
    assert told / compared <= 0.025


@pytest.mark.parametrize("shape", SHAPES)
def test_a_profile_beside_itself_is_no_change(shape: str) -> None:
    profile = Board(SHAPES[shape](np.random.default_rng(3))).profile()
    assert not any(change.significant for change in times(profile, profile))


@pytest.mark.parametrize("shape", ["white", "spikes"])
def test_a_tenth_less_is_told_where_the_board_allows(shape: str) -> None:
    random = np.random.default_rng(11)
    verdicts = []
    for _ in range(20):
        board = Board(SHAPES[shape](random))
        changes = times(board.profile(), board.profile(masked_us=720.0))
        verdicts += [one.verdict for one in changes if one.model == "masked"]
    assert verdicts == ["better"] * 20


@pytest.mark.parametrize("shape", SHAPES)
def test_a_ratio_without_a_question_mark_is_the_right_one(shape: str) -> None:
    """1.25 it is; an interval of 95 % may miss it five times in a hundred."""
    random = np.random.default_rng(5)
    missed = 0
    for _ in range(40):
        profile = Board(SHAPES[shape](random)).profile()
        masked = profile.measurements[1]
        interval = profile.ratio_interval(masked)
        assert interval is not None
        if not profile.ratio_in_doubt(masked):
            missed += not interval.low <= 1.25 <= interval.high
            assert profile.ratio(masked) == pytest.approx(1.25, rel=0.05)
    assert missed <= 6, "of forty, more is likely once in a hundred times"


def test_turns_cancel_what_slows_both_models() -> None:
    """A drift that moves times by a third moves the ratio by less than a hundredth part."""
    profile = Board(lambda second: 1 + second / 50).profile()
    ratio = profile.ratio(profile.measurements[1])
    assert ratio is not None
    assert ratio == pytest.approx(1.25, rel=0.015)
    assert profile.measurements[1].output.timing is not None
    assert profile.measurements[1].output.timing.max_us > 1.25 * 800


@pytest.mark.parametrize("shape", SHAPES)
def test_the_same_model_beside_itself_in_one_session_is_told_apart_as_often_as_stated(
    shape: str,
) -> None:
    random = np.random.default_rng(13)
    told = 0
    for _ in range(60):
        dense, other = subjects_of(Board(SHAPES[shape](random)).profile(masked_us=1000.0))
        changes = compare([dense], [other], together=True).changes
        told += any(one.significant for one in changes if one.figure == "median")
    assert told <= 8, "of sixty, more is likely once in five hundred times"
