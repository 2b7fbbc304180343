"""Statistics of ranks, which ask for no distribution.

scipy has the same functions; it is 140 MB, which a light installation does without. Tests hold that
these give what scipy's give.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from statistics import median

_EXACT = 33
"""Figures at most for which orders are counted; beyond, a normal distribution is near enough."""


def trend_p_value(figures: Sequence[float]) -> float:
    """How likely figures in a random order rise, or fall, as clearly as these: Kendall's test.

    Args:
        figures: in their order; at least two of them differ.
    """
    count = len(figures)
    pairs = list(itertools.combinations(figures, 2))
    rising = sum(first < second for first, second in pairs)
    falling = sum(first > second for first, second in pairs)
    tied = len(pairs) > rising + falling
    if not tied and (count <= _EXACT or min(rising, falling) <= 1):
        return min(1.0, 2 * _orders(count, min(rising, falling)) / math.factorial(count))
    ties = (size * (size - 1) * (2 * size + 5) for size in Counter(figures).values())
    variance = (count * (count - 1) * (2 * count + 5) - sum(ties)) / 18
    return math.erfc(abs(rising - falling) / math.sqrt(2 * variance))


def median_slope(figures: Sequence[float]) -> float:
    """By how much figures rise from each to the next: the median over all pairs (Theil and Sen).

    Args:
        figures: in their order, at least two.
    """
    pairs = itertools.combinations(enumerate(figures), 2)
    return median((second - first) / (j - i) for (i, first), (j, second) in pairs)


def student_tails(value: float, freedom: float) -> float:
    """How likely Student's t is as far from 0 as ``value``, or farther, on either side.

    Args:
        value: not negative.
        freedom: degrees of freedom, above 0; any number, not whole ones alone.
    """
    total = freedom + value * value
    return _beta_share(freedom / total, value * value / total, freedom / 2, 0.5)


def student_quantile(confidence: float, freedom: float) -> float:
    """Between minus this number and this number Student's t lies with a probability.

    Args:
        confidence: the probability, above 0 and below 1.
        freedom: degrees of freedom, above 0.
    """
    low, high = 0.0, 1.0
    while student_tails(high, freedom) > 1 - confidence:
        low, high = high, 2 * high
    for _ in range(50):
        middle = (low + high) / 2
        if student_tails(middle, freedom) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def _beta_share(x: float, y: float, a: float, b: float) -> float:
    """The regularised incomplete beta function, by its continued fraction (DLMF 8.17.22).

    ``y`` is ``1 - x``: where ``x`` is nearly 1 a difference has none of its digits left.
    """
    if x <= 0 or y <= 0:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):  # the fraction converges fast on this side alone
        return 1 - _beta_share(y, x, b, a)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
        + a * (math.log(x) if x < y else math.log1p(-y))
        + b * (math.log(y) if y < x else math.log1p(-x))
    )  # fmt: skip
    # Evaluated from the front (Lentz), so that it can end where it no longer changes.
    fraction, above, below = 1.0, 1.0, 0.0
    for step in range(1, 10_000):
        m = step // 2
        if step % 2:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        below = 1 / (1 + term * below)
        above = 1 + term / above
        fraction *= above * below
        if abs(above * below - 1) < 1e-15:
            break
    return front / a / fraction


def _orders(count: int, most: int) -> int:
    """In how many orders of so many figures no more than ``most`` pairs fall."""
    exactly = [1]  # at k: orders in which k pairs fall
    for size in range(2, count + 1):
        # The last figure may stand behind any number of smaller ones.
        exactly = [
            sum(exactly[max(0, falling - size + 1) : falling + 1])
            for falling in range(min(most, size * (size - 1) // 2) + 1)
        ]
    return sum(exactly)
