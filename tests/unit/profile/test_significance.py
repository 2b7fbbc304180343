"""Tests of a difference: what scipy gives, and no more false alarms than they say."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given
from hypothesis import strategies as st

from toolchain.profile.bootstrap import LEAST_TURNS
from toolchain.profile.significance import (
    LEAST_BLOCKS,
    holm,
    independent_shift,
    midranks,
    paired_shift,
    signed_rank_p_value,
)

GAPS = st.lists(st.floats(-1e3, 1e3).map(lambda gap: gap or 1.0), min_size=1, max_size=24)
FEW_GAPS = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=8)
TIMES = st.lists(st.floats(90, 110), min_size=2 * LEAST_BLOCKS, max_size=24)


@given(gaps=GAPS)
def test_a_signed_rank_test_gives_what_scipy_gives(gaps: list[float]) -> None:
    assume(len({abs(gap) for gap in gaps}) == len(gaps))
    wanted = scipy.stats.wilcoxon(gaps, method="exact").pvalue
    assert signed_rank_p_value(gaps) == pytest.approx(wanted)


@given(gaps=FEW_GAPS)
def test_with_equal_gaps_all_choices_of_signs_are_counted(gaps: list[float]) -> None:
    ranks = midranks(np.abs(np.array(gaps)))
    kept = [rank for rank, gap in zip(ranks, gaps, strict=True) if gap]
    own = sum(rank for rank, gap in zip(ranks, gaps, strict=True) if gap > 0)
    sums = [
        sum(itertools.compress(kept, signs))
        for signs in itertools.product([0, 1], repeat=len(kept))
    ]
    extreme = min(own, sum(kept) - own)
    wanted = min(1.0, 2 * sum(one <= extreme for one in sums) / len(sums)) if kept else 1.0
    assert signed_rank_p_value(gaps) == pytest.approx(wanted)


@given(values=st.lists(st.integers(0, 9).map(float), min_size=1))
def test_equal_figures_share_their_ranks(values: list[float]) -> None:
    assert midranks(np.array(values)).tolist() == scipy.stats.rankdata(values).tolist()


@given(first=TIMES, second=TIMES, confidence=st.sampled_from([0.9, 0.95]))
def test_a_paired_interval_leaves_out_1_where_the_test_tells_a_difference(
    first: list[float], second: list[float], confidence: float
) -> None:
    shift = paired_shift(first, second, confidence)
    assert shift is not None
    assert shift.low <= shift.ratio <= shift.high
    count = min(len(first), len(second)) // 2
    mine, other = (
        np.log(times[: 2 * count]).reshape(-1, 2).min(axis=1) for times in (first, second)
    )
    blocks = other - mine
    means = [(a + b) / 2 for a, b in itertools.combinations_with_replacement(blocks, 2)]
    assume(len(set(np.abs(blocks))) == len(blocks))
    assume(not any(math.isclose(mean, 0, abs_tol=1e-12) for mean in means))
    assert (shift.low > 1 or shift.high < 1) == (shift.p_value <= 1 - confidence)


def test_independent_sessions_without_correlation_give_nearly_what_scipy_gives() -> None:
    # Up and down in turn: neighbours have nothing in common, so no turn is taken off.
    first = [100.0, 103.0, 101.0, 104.0, 100.5, 103.5, 101.5, 104.5, 100.2, 103.2]
    second = [102.0, 105.0, 103.1, 106.0, 102.5, 105.5, 103.6, 106.5, 102.2, 105.2]
    shift = independent_shift(first, second)
    wanted = scipy.stats.mannwhitneyu(first, second, method="asymptotic").pvalue
    assert shift is not None
    assert shift.p_value == pytest.approx(wanted, rel=0.5)  # Student's tails are longer
    assert shift.p_value > wanted
    gaps = np.subtract.outer(np.log(second), np.log(first))
    assert shift.ratio == pytest.approx(math.exp(float(np.median(gaps))))
    assert shift.low < shift.ratio < shift.high


@given(first=TIMES, factor=st.floats(0.5, 2))
def test_a_shift_is_found_whatever_its_size(first: list[float], factor: float) -> None:
    for compare in (paired_shift, independent_shift):
        shift = compare(first, [time * factor for time in first])
        assert shift is not None
        assert shift.low <= factor * 1.0000001
        assert shift.high >= factor * 0.9999999


@pytest.mark.parametrize("compare", [paired_shift, independent_shift])
def test_times_that_are_all_alike_are_no_difference(compare: Callable[..., object]) -> None:
    shift = compare([5.0] * 12, [5.0] * 12)
    assert vars(shift) == {"ratio": 1.0, "low": 1.0, "high": 1.0, "p_value": 1.0}


@given(times=st.lists(st.floats(1, 2), max_size=LEAST_TURNS - 1))
def test_too_few_turns_say_nothing(times: list[float]) -> None:
    assert independent_shift(times, [1.5] * 30) is None
    assert independent_shift([1.5] * 30, times) is None
    assert paired_shift(times, [1.5] * 30) is None


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.nan, math.inf])
def test_what_is_no_time_is_refused(wrong: float) -> None:
    for compare in (paired_shift, independent_shift):
        with pytest.raises(ValueError, match="above 0"):
            compare([1.0] * 11 + [wrong], [1.0] * 12)


@given(values=st.lists(st.floats(0, 1), max_size=12))
def test_many_comparisons_are_counted_as_holm_says(values: list[float]) -> None:
    adjusted = holm(values)
    ordered = sorted(zip(values, adjusted, strict=True))
    wanted = [min(1.0, value * (len(values) - index)) for index, (value, _) in enumerate(ordered)]
    assert [one for _, one in ordered] == pytest.approx(list(itertools.accumulate(wanted, max)))


def _noise(kind: str, count: int, turns: int) -> np.ndarray:
    """Logarithms of times of models that are alike: a row a session, of so many turns."""
    random = np.random.default_rng(7)
    calm = random.normal(0, 0.01, (count, turns))
    if kind == "outliers":
        return calm + np.where(random.random(calm.shape) < 0.08, random.exponential(0.3), 0)
    if kind == "two modes":
        return 0.3 * calm + np.where(random.random(calm.shape) < 0.35, 0.05, 0)
    if kind == "drift":
        return calm + np.linspace(0, 0.1, turns)
    if kind == "waves":
        waves = calm.copy()
        for turn in range(1, turns):
            waves[:, turn] = 0.7 * waves[:, turn - 1] + calm[:, turn]
        return waves
    return calm


KINDS = ["calm", "outliers", "two modes", "drift", "waves"]


def _allowed(count: int) -> float:
    """The rate of false alarms that one in a thousand such tests goes past by chance."""
    return float(scipy.stats.binom.ppf(0.999, count, 0.05)) / count


@pytest.mark.parametrize("kind", KINDS)
def test_models_that_take_turns_are_told_apart_by_chance_as_often_as_stated(kind: str) -> None:
    count = 1000
    random = np.random.default_rng(3)
    alarms = 0
    for session in np.exp(_noise(kind, count, 40)):
        first: list[float] = []
        second: list[float] = []
        for a, b, c, d in session.reshape(10, 4):
            mine, other = ((a, d), (b, c)) if random.random() < 0.5 else ((b, c), (a, d))
            first += mine
            second += other
        shift = paired_shift(first, second)
        alarms += shift is not None and shift.p_value <= 0.05
    assert alarms / count <= _allowed(count)
    assert alarms > 0


@pytest.mark.parametrize("kind", [*KINDS[:3], "waves"])
def test_two_sessions_are_told_apart_by_chance_no_more_often_than_stated(kind: str) -> None:
    count = 1000
    sessions = np.exp(_noise(kind, 2 * count, 20))
    shifts = [independent_shift(a, b) for a, b in zip(sessions[::2], sessions[1::2], strict=True)]
    alarms = sum(shift is not None and shift.p_value <= 0.05 for shift in shifts)
    assert alarms / count <= _allowed(count)
    assert alarms > 0
