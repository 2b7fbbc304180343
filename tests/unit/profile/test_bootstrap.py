from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from toolchain.profile.bootstrap import LEAST_TURNS, median_ends

TURNS = st.lists(
    st.lists(st.floats(1, 1e6), min_size=1, max_size=5), min_size=LEAST_TURNS, max_size=20
)


@given(turns=TURNS)
def test_an_interval_lies_within_what_was_measured_and_repeats(turns: list[list[float]]) -> None:
    found = median_ends(turns, 0.95)
    assert found is not None
    flat = [one for turn in turns for one in turn]
    assert min(flat) <= found[0] <= found[1] <= max(flat)
    assert median_ends(turns, 0.95) == found


@given(turns=st.lists(st.lists(st.floats(1, 2), min_size=1), max_size=LEAST_TURNS - 1))
def test_few_turns_have_no_interval(turns: list[list[float]]) -> None:
    assert median_ends(turns, 0.95) is None


def test_runs_of_one_turn_count_as_one() -> None:
    few = [[100.0 + index] * 2 for index in range(10)]
    many = [[100.0 + index] * 500 for index in range(10)]
    assert median_ends(few, 0.95) == pytest.approx(median_ends(many, 0.95), abs=0.6)


def test_more_confidence_is_a_wider_interval() -> None:
    turns = [[float(one)] for one in np.random.default_rng(0).normal(100, 1, 20)]
    narrow, wide = median_ends(turns, 0.5), median_ends(turns, 0.99)
    assert narrow is not None
    assert wide is not None
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_the_true_median_lies_in_the_interval_as_often_as_stated() -> None:
    """Of processes that differ by chance, and whose runs differ less."""
    random = np.random.default_rng(5)
    count, hits = 150, 0
    for _ in range(count):
        middles = random.normal(100.0, 1.0, 20)
        turns = [random.normal(middle, 0.3, 10).tolist() for middle in middles]
        low, high = median_ends(turns, 0.95) or (0.0, 0.0)
        hits += low <= 100.0 <= high
    assert hits >= scipy.stats.binom.ppf(0.001, count, 0.95)
    assert hits < count
