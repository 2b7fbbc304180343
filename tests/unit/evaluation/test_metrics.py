"""Shares, their intervals and paired comparisons, beside scipy's and beside a simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from toolchain.evaluation.metrics import CONFIDENCE, among_first, paired, predictions, share


def hits(right: int, count: int) -> np.ndarray:
    return np.arange(count) < right


@pytest.mark.parametrize(
    ("right", "count"), [(0, 1), (1, 1), (0, 50), (47, 50), (200, 200), (9214, 10000)]
)
def test_a_share_has_wilsons_interval(right: int, count: int) -> None:
    found = share(hits(right, count))
    wanted = stats.binomtest(right, count).proportion_ci(CONFIDENCE, method="wilson")
    assert found.value == right / count
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), abs=1e-12)


@pytest.mark.parametrize(
    ("ours", "theirs"), [(0, 0), (1, 0), (5, 0), (3, 9), (40, 41), (2500, 2300)]
)
def test_the_test_of_mcnemar_is_exact(ours: int, theirs: int) -> None:
    first = np.zeros(10000, bool)
    second = np.zeros(10000, bool)
    first[:ours] = True
    second[ours : ours + theirs] = True
    found = paired(first, second)
    assert (found.only_first, found.only_second) == (ours, theirs)
    wanted = stats.binomtest(ours, ours + theirs).pvalue if ours + theirs else 1.0
    assert found.p_value == pytest.approx(wanted, rel=1e-9)
    assert found.difference.value == (ours - theirs) / 10000


@pytest.mark.parametrize(
    ("both", "only_first", "only_second"), [(0.9, 0.03, 0.02), (0.5, 0.2, 0.1)]
)
def test_the_interval_of_a_difference_holds_as_often_as_it_says(
    both: float, only_first: float, only_second: float
) -> None:
    generator = np.random.default_rng(0)
    neither = 1 - both - only_first - only_second
    kinds = generator.choice(4, (2000, 300), p=[both, only_first, only_second, neither])
    held = 0
    for row in kinds:
        found = paired(row < 2, (row == 0) | (row == 2)).difference
        held += found.low <= only_first - only_second <= found.high
    assert held / len(kinds) == pytest.approx(CONFIDENCE, abs=0.02)


def test_what_is_the_same_everywhere_does_not_differ() -> None:
    found = paired(hits(90, 100), hits(90, 100))
    assert found.p_value == 1
    assert found.difference.low < 0 < found.difference.high


def test_the_highest_score_is_the_class() -> None:
    scores = np.array([[0.1, 0.9, 0.3], [2.0, 2.0, -1.0], [0.0, np.nan, 1.0]])
    assert predictions(scores).tolist() == [1, 0, -1]


def test_a_label_is_among_the_best_or_not() -> None:
    scores = np.array([[5, 4, 3, 2], [1, 1, 1, 1], [1, 1, 1, 1], [np.nan, 9, 1, 1]], float)
    labels = np.array([1, 1, 2, 1])
    assert among_first(scores, labels, 2).tolist() == [True, True, False, False]
    assert among_first(scores, labels, 1).tolist() == [False, False, False, False]
