"""What the light installation computes in scipy's place is what scipy computes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, example, given
from hypothesis import strategies as st

from toolchain.profile.rank_statistics import (
    median_slope,
    student_quantile,
    student_tails,
    trend_p_value,
)

APART = st.lists(st.floats(1, 1e6), max_size=40, unique=True)
TIED = st.lists(st.integers(1, 6).map(float), max_size=40)
FIGURES = APART | TIED


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


@given(value=st.floats(0, 1e4), freedom=st.floats(0.5, 1e6))
@example(value=1e-5, freedom=380215.0)
@example(value=1e-9, freedom=0.5)
def test_the_tails_of_student_are_those_of_scipy(value: float, freedom: float) -> None:
    wanted = 2 * scipy.stats.t.sf(value, freedom)
    assert student_tails(value, freedom) == pytest.approx(wanted, rel=1e-6, abs=1e-12)


@given(confidence=st.floats(0.01, 0.9999), freedom=st.floats(1, 1e6))
def test_the_quantiles_of_student_are_those_of_scipy(confidence: float, freedom: float) -> None:
    wanted = scipy.stats.t.ppf((1 + confidence) / 2, freedom)
    assert student_quantile(confidence, freedom) == pytest.approx(wanted, rel=1e-6)
