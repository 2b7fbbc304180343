"""What the light installation computes in scipy's place is what scipy computes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given
from hypothesis import strategies as st

from toolchain.profile.rank_statistics import median_bounds, median_slope, trend_p_value

APART = st.lists(st.floats(1, 1e6), max_size=40, unique=True)
TIED = st.lists(st.integers(1, 6).map(float), max_size=40)
FIGURES = APART | TIED


@given(figures=FIGURES, confidence=st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_the_bounds_of_a_median_are_those_of_scipy(figures: list[float], confidence: float) -> None:
    found = median_bounds(figures, confidence)
    if not figures:
        assert found is None
        return
    wanted = scipy.stats.quantile_test(figures, p=0.5).confidence_interval(confidence)
    if math.isnan(wanted.low) or math.isnan(wanted.high):
        assert found is None
    else:
        assert found == (wanted.low, wanted.high)


def test_the_bounds_of_very_many_figures_are_told() -> None:
    low, high = median_bounds(range(5001), 0.99) or (0, 0)
    assert 2400 < low < 2500 < high < 2600


@given(figures=FIGURES)
def test_a_trend_is_as_likely_as_scipy_says(figures: list[float]) -> None:
    assume(len(set(figures)) > 1)
    wanted = scipy.stats.kendalltau(range(len(figures)), figures).pvalue
    assert trend_p_value(figures) == pytest.approx(wanted, rel=1e-9, abs=1e-300)


@pytest.mark.parametrize("count", [2, 3, 15, 33, 34, 60])
def test_a_trend_without_an_exception_is_counted_exactly(count: int) -> None:
    assert trend_p_value(range(count)) == pytest.approx(min(1, 2 / math.factorial(count)))
    assert trend_p_value(range(count, 0, -1)) == trend_p_value(range(count))


@given(figures=FIGURES)
def test_the_slope_is_that_of_scipy(figures: list[float]) -> None:
    assume(len(figures) > 1)
    wanted = float(scipy.stats.theilslopes(figures, np.arange(len(figures))).slope)
    assert median_slope(figures) == pytest.approx(wanted, rel=1e-12, abs=1e-12)
