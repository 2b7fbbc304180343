"""The interval of a median, by drawing turns anew (a cluster bootstrap).

A turn is drawn whole, because runs of one process resemble each other: runs drawn one by one would
say that the median is known far better than it is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LEAST_TURNS = 8
"""Fewer say nothing of how much turns differ."""
_DRAWS = 1000
_QUANTILES = 17
"""By so many figures a turn is stood for where it has more runs."""


def median_ends(
    turns: Sequence[Sequence[float]], confidence: float, *, seed: int = 0
) -> tuple[float, float] | None:
    """Between which two figures the median of many more turns is likely to lie.

    Args:
        turns: the samples of each process.
        confidence: 0 to 1.
        seed: of the draws; the same turns and seed give the same interval.

    Returns:
        ``None`` for fewer than ``LEAST_TURNS`` turns.
    """
    if len(turns) < LEAST_TURNS or not all(map(len, turns)):
        return None
    steps = np.linspace(0.0, 1.0, min(_QUANTILES, max(map(len, turns))))
    # Of a turn of one run the steps are 0 alone; every quantile of it is that run.
    quantiles = np.array([np.quantile(turn, steps if len(steps) > 1 else 0.5) for turn in turns])
    quantiles = quantiles.reshape(len(turns), -1)
    drawn = np.random.default_rng(seed).integers(len(turns), size=(_DRAWS, len(turns)))
    medians = np.median(quantiles[drawn].reshape(_DRAWS, -1), axis=1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(medians, [tail, 1 - tail])
    return float(low), float(high)
