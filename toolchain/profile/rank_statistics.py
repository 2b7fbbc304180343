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


def median_bounds(figures: Sequence[float], confidence: float) -> tuple[float, float] | None:
    """The two figures between which the median of their distribution is likely to lie.

    The number of figures below the median is binomial, whatever the distribution.

    Args:
        figures: in any order.
        confidence: the least probability that the median lies between, 0 to 1.

    Returns:
        ``None`` where there are too few figures to say.
    """
    ordered, count = sorted(figures), len(figures)
    orders = 0  # of below and above, in which no more than `rank` figures are below
    for rank in range(count):
        orders += math.comb(count, rank)
        if orders / 2**count >= (1 - confidence) / 2:
            return (ordered[rank - 1], ordered[count - rank]) if rank else None
    return None


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
