"""Whether two models, or two sessions, really differ: tests whose error is stated.

The unit is a turn, a process of its own; runs of one process resemble each other and count as one.
Nothing is asked of the distribution of times: it may have outliers, two modes, or a long tail.

- *Paired*: models that took turns in one session. Turns come in blocks of two rounds, ``A B`` then
  ``B A``, and a coin decides which of the two begins a block. Whatever the board does meanwhile,
  drift or slow waves, A and B then change places with equal chance, so that Wilcoxon's signed-rank
  test of the blocks is exact. Of a model's two turns in a block the faster one counts: what
  disturbs a process makes it slower, never faster.
- *Independent*: two sessions. The rank-sum test of Mann and Whitney, whose variance is inflated by
  what neighbouring turns have in common (autocorrelation of first order, n (1 - r) / (1 + r) turns
  are left), read on Student's distribution for the turns that are left. What differs from session
  to session alone (another boot, another room) no test of two sessions can tell: see the noise band
  of :mod:`toolchain.profile.compare`.

The project's docs have the rate of false alarms of both on series whose truth is known.
scipy has the tests; it is 140 MB, which a light installation does without. Tests hold that these
give what scipy's give.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toolchain.profile.bootstrap import LEAST_TURNS
from toolchain.profile.rank_statistics import student_quantile, student_tails

ERROR = 0.05
"""How likely at least one of all verdicts of a comparison is a false alarm."""
LEAST_BLOCKS = 6
"""Fewer blocks cannot say anything with an error of 0.05: 2 of 2^n orders are the extreme ones."""
_MAX_CORRELATION = 0.95

_Array = NDArray[np.float64]


@dataclass(frozen=True)
class Shift:
    """How much longer the second takes than the first."""

    ratio: float
    """Second over first; the estimate of Hodges and Lehmann."""
    low: float
    """The interval's ends; 0 and infinity where too little is left to tell."""
    high: float
    p_value: float
    """How likely the two seem to differ so much, or more, where they do not."""

    @property
    def half_width(self) -> float:
        """Of the interval, as a part of the ratio."""
        return (self.high - self.low) / 2 / self.ratio


def paired_shift(
    first: Sequence[float], second: Sequence[float], confidence: float = 1 - ERROR
) -> Shift | None:
    """Compare two models that took turns, see the module.

    Args:
        first: the first model's times, one a turn, in the order of the rounds; above 0.
        second: the second model's, of the same rounds.
        confidence: of the interval.

    Returns:
        ``None`` for fewer than ``LEAST_BLOCKS`` blocks of two rounds.
    """
    count = min(len(first), len(second)) // 2
    if count < LEAST_BLOCKS:
        return None
    a, b = (_logs(one)[: 2 * count].reshape(count, 2).min(axis=1) for one in (first, second))
    blocks = b - a
    rows, columns = np.triu_indices(count)
    means = np.sort((blocks[rows] + blocks[columns]) / 2)
    orders, total = _signed_rank_orders(2 * np.arange(1, count + 1)), 2.0**count
    # As many means are left out at each end as rank sums are rarer than half the error.
    below = np.cumsum(orders[::2]) / total
    left_out = int(np.searchsorted(below, (1 - confidence) / 2, side="right"))
    low, high = (-math.inf, math.inf)
    if left_out:
        low, high = float(means[left_out - 1]), float(means[-left_out])
    return Shift(
        ratio=math.exp(float(np.median(means))),
        low=math.exp(low),
        high=math.exp(high),
        p_value=signed_rank_p_value(blocks),
    )


def independent_shift(
    first: Sequence[float], second: Sequence[float], confidence: float = 1 - ERROR
) -> Shift | None:
    """Compare two sessions, see the module.

    Args:
        first: the first session's times, one a turn, in their order; above 0.
        second: the second session's.
        confidence: of the interval.

    Returns:
        ``None`` for fewer than ``LEAST_TURNS`` turns of either.
    """
    if min(len(first), len(second)) < LEAST_TURNS:
        return None
    a, b = _logs(first), _logs(second)
    pairs = np.subtract.outer(b, a).ravel()
    product, turns = len(a) * len(b), len(a) + len(b)
    wins = np.count_nonzero(pairs > 0) + np.count_nonzero(pairs == 0) / 2
    left = _effective_share(a, b)
    deviation = math.sqrt(_rank_sum_variance(a, b) / left)
    freedom = max(turns * left - 3, 1.0)  # two middles and a correlation are taken from them
    away = max(float(abs(wins - product / 2)) - 0.5, 0.0)
    p_value = student_tails(away / deviation, freedom) if deviation else 1.0
    reach = student_quantile(confidence, freedom) * deviation
    left_out = math.floor(product / 2 - 0.5 - reach) + 1
    ordered = np.sort(pairs)
    low, high = (-math.inf, math.inf)
    if left_out >= 1:
        low, high = float(ordered[left_out - 1]), float(ordered[-left_out])
    return Shift(
        ratio=math.exp(float(np.median(pairs))),
        low=math.exp(low),
        high=math.exp(high),
        p_value=p_value,
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Probabilities that take into account how many there are (Holm 1979), in the same order.

    A verdict for each that is below an error has all of them right but for that error.
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted = [0.0] * len(p_values)
    least = 0.0
    for done, index in enumerate(order):
        least = max(least, min(1.0, p_values[index] * (len(p_values) - done)))
        adjusted[index] = least
    return adjusted


def signed_rank_p_value(gaps: Sequence[float] | _Array) -> float:
    """Wilcoxon's signed-rank test, two-sided and exact, with equal gaps and gaps of 0 (Pratt 1959).

    Args:
        gaps: differences of pairs, in any order.
    """
    values = np.asarray(gaps, dtype=np.float64)
    doubled = np.rint(2 * midranks(np.abs(values))).astype(np.int64)
    ranks, positive = doubled[values != 0], doubled[values > 0].sum()
    if not len(ranks):
        return 1.0
    orders = _signed_rank_orders(ranks)
    extreme = min(int(positive), int(ranks.sum() - positive))
    return min(1.0, 2 * float(orders[: extreme + 1].sum()) / 2.0 ** len(ranks))


def midranks(values: _Array) -> _Array:
    """Ranks from 1; equal values share the mean of theirs."""
    ordered = np.sort(values)
    below = np.searchsorted(ordered, values, side="left")
    return (below + np.searchsorted(ordered, values, side="right") + 1) / 2


def _signed_rank_orders(ranks: NDArray[np.int64]) -> _Array:
    """At s: how many choices of signs give the positive ones a sum of s."""
    orders = np.zeros(int(ranks.sum()) + 1)
    orders[0] = 1
    for rank in ranks:
        orders[rank:] += orders[: len(orders) - rank].copy()
    return orders


def _rank_sum_variance(a: _Array, b: _Array) -> float:
    """Of Mann and Whitney's statistic for turns that have nothing in common; with ties."""
    both = np.concatenate([a, b])
    _, ties = np.unique(both, return_counts=True)
    total = len(both)
    tied = float((ties.astype(np.float64) ** 3 - ties).sum()) / (total * (total - 1))
    return len(a) * len(b) / 12 * (total + 1 - tied)


def _effective_share(a: _Array, b: _Array) -> float:
    """The part of the turns that is left where neighbours resemble each other, 0 to 1."""
    product = square = 0.0
    for values in (a, b):
        ranks = midranks(values)
        ranks = ranks - ranks.mean()
        product += float(ranks[1:] @ ranks[:-1])
        square += float(ranks @ ranks)
    if not square:
        return 1.0
    # Short series show less correlation than there is (Marriott and Pope 1954).
    found = product / square
    found += (1 + 4 * found) / ((len(a) + len(b)) / 2 - 1)
    # Too little correlation makes false alarms, too much of it costs power alone: half an error on
    # top.
    found += 0.5 * math.sqrt(max(0.0, 1 - found**2) / (len(a) + len(b)))
    found = min(max(found, 0.0), _MAX_CORRELATION)
    return (1 - found) / (1 + found)


def _logs(times: Sequence[float]) -> _Array:
    values = np.asarray(times, dtype=np.float64)
    if not np.all(np.isfinite(values)) or np.any(values <= 0):
        raise ValueError("a time that is not above 0")
    return np.log(values)
