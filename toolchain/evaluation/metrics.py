"""What is right, and how surely: shares with their intervals, and two networks on the same images.

- A share has Wilson's score interval (1927), which holds for shares near 0 and 1, too.
- Two networks on the same images differ by the images that only one of them has right. The interval
  of the difference is that of Bonett and Price (2012, for paired binary data); the test is
  McNemar's, exact: of the images that only one has right, each is as likely to be the one's as the
  other's where the two do not differ.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from toolchain.agreement.differences import Array

CONFIDENCE = 0.95
_Z = 1.959963984540054
"""Of a normal distribution, between minus and plus so much lie 95 % of it."""


@dataclass(frozen=True)
class Interval:
    """A figure, and between which two it lies with :data:`CONFIDENCE`."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Paired:
    """Two networks on the same images."""

    difference: Interval
    """Share that is right of the first, less that of the second."""
    only_first: int
    """Images that the first has right and the second wrong."""
    only_second: int
    p_value: float
    """How likely the two seem to differ so much, or more, where they do not."""


def predictions(scores: Array) -> Array:
    """The class of each image: ``[N, K]`` to ``[N]``; -1 where a score is not a number.

    Of classes with one score the first counts, as in most programs.
    """
    chosen: Array = scores.argmax(axis=1)
    return np.where(np.isnan(scores).any(axis=1), -1, chosen)


def among_first(scores: Array, labels: Array, most: int) -> Array:
    """Whether each label, ``[N]``, is among the best of its image's ``[N, K]``: bool ``[N]``."""
    own = np.take_along_axis(scores, labels[:, None], axis=1)
    earlier = np.arange(scores.shape[1])[None, :] < labels[:, None]
    before = (scores > own) | ((scores == own) & earlier)
    found: Array = (before.sum(axis=1) < most) & ~np.isnan(scores).any(axis=1)
    return found


def share(hits: Array) -> Interval:
    """The share of what is true, with Wilson's interval; ``[N]`` bool, not empty."""
    count, wanted = len(hits), int(np.count_nonzero(hits))
    value = wanted / count
    spread = 1 + _Z**2 / count
    middle = (value + _Z**2 / (2 * count)) / spread
    half = _Z / spread * math.sqrt(value * (1 - value) / count + _Z**2 / (4 * count**2))
    return Interval(value, max(0.0, middle - half), min(1.0, middle + half))


def paired(first: Array, second: Array) -> Paired:
    """Compare two networks on the same images.

    Args:
        first: ``[N]`` bool: which images the first has right; not empty.
        second: likewise.
    """
    count = len(first)
    ours, theirs = (int(np.count_nonzero(one)) for one in (first & ~second, second & ~first))
    gain, loss = (ours + 1) / (count + 2), (theirs + 1) / (count + 2)
    half = _Z * math.sqrt(max(gain + loss - (gain - loss) ** 2, 0.0) / (count + 2))
    middle = gain - loss
    difference = Interval(
        (ours - theirs) / count, max(-1.0, middle - half), min(1.0, middle + half)
    )
    return Paired(difference, ours, theirs, _sign_test(ours, theirs))


def _sign_test(ours: int, theirs: int) -> float:
    """Two-sided and exact: how likely a fair coin falls so unequally, or more."""
    total, fewer = ours + theirs, min(ours, theirs)
    ways, orders = 1, 1
    for index in range(fewer):
        ways = ways * (total - index) // (index + 1)
        orders += ways
    return min(1.0, float(2 * orders / 2**total))
