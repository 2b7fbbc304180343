from __future__ import annotations

import pytest

from support.runner_outputs import timing
from toolchain.profile.facts import Throttled, Vitals
from toolchain.profile.stability import doubts, spread, unsteady

CALM = Vitals(governor="performance")


def test_runs_that_agree_leave_no_doubt() -> None:
    assert doubts(timing([100.0, 101.0, 99.0, 100.0, 100.0]), CALM, CALM) == []


def test_runs_that_spread_say_what_to_do() -> None:
    wild = timing([100.0, 150.0, 60.0, 120.0, 80.0])
    assert unsteady(wild)
    (doubt,) = doubts(wild, CALM, CALM)
    assert "spread" in doubt
    assert "--runs" in doubt


def test_one_outlier_does_not_move_the_spread_but_is_told() -> None:
    figures = timing([100.0, 100.0, 100.0, 100.0, 900.0])
    assert spread(figures) == 0.0
    assert "three times the median" in doubts(figures, CALM, CALM)[0]


def test_few_runs_say_nothing_about_spread() -> None:
    assert "only 2 runs" in doubts(timing([100.0, 100.0]), CALM, CALM)[0]


def test_times_of_zero_have_no_spread() -> None:
    assert spread(timing([0.0, 0.0, 0.0])) == 0.0


@pytest.mark.parametrize("governor", ["ondemand", "powersave"])
def test_a_governor_that_changes_the_frequency_is_told(governor: str) -> None:
    (doubt,) = doubts(timing([100.0] * 5), Vitals(governor=governor), CALM)
    assert governor in doubt


def test_a_board_that_is_held_back_is_told() -> None:
    hot = Vitals(throttled=Throttled(now=["throttled"], since_boot=["throttled"]))
    (doubt,) = doubts(timing([100.0] * 5), Vitals(), hot)
    assert "cool it" in doubt
