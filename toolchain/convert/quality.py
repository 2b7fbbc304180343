"""How much of a quantised file's output is noise: of each output, and of each slice of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from toolchain.agreement.differences import Array, absolute_difference, judged_axes

LOST_DB = 3.0
"""Below it half of a slice's power is noise: what it says is lost. All zeros is 0 dB."""
WRONG_DB = -3.0
"""Below it there is twice as much noise as signal: no rounding to a step too coarse makes that."""
MOST_OTHERS = 0.1
"""Of the values of an integer output of a quantised file, which may be others than torch's."""
_WRONG_STEPS = 2.0
"""Of an output with steps; what values near 0 are off by when all is right."""


@dataclass(frozen=True)
class Slices:
    """The slices along one axis of an output whose noise is stronger than they are."""

    axis: int
    """Of the array of one inference."""
    indices: tuple[int, ...]
    weakest: int
    sqnr_db: float
    """Of the weakest."""
    wrong: bool
    """Whether the weakest is beyond what a step too coarse explains."""
    last: bool
    """Whether the axis is the last: channels."""

    def __str__(self) -> str:
        """``channels 4, 5, 6 and 77 more of 85``."""
        few = ", ".join(map(str, self.indices[:3]))
        more = len(self.indices) - 3
        text = few + (f" and {more} more" if more > 0 else "")
        if self.last:
            return f"channel{'s' * (len(self.indices) > 1)} {text}"
        return f"{'indices' if len(self.indices) > 1 else 'index'} {text} of axis {self.axis}"


@dataclass(frozen=True)
class Quality:
    """One output of one runtime, over all inferences."""

    sqnr_db: float
    max_steps: float | None
    weak: Slices | None
    """Where noise is stronger than what there should be; ``None`` where it is nowhere."""


def output_quality(
    found: Array,
    other: Array,
    signal: Array,
    step: float | None,
    noise: Array | None = None,
) -> Quality:
    """Compare one output ``[inferences, *shape]`` of a quantised file.

    A slice is not weak for being small by chance beside others that add up as large terms, such as
    a class that gets about 0: see ``noise``.

    Args:
        found: what a runtime gives, as real numbers.
        other: what it is compared with: torch's, or another runtime's.
        signal: torch's.
        step: of the output's quantisation; ``None`` for float.
        noise: how far rounding to float32 moves each value, which tells slices of large terms.
    """
    if signal.dtype.kind in "iub":
        # Classes, places, decisions: how far two are apart says nothing, how many are others does.
        others_of, count = int((found != other).sum()), signal.size
        few = others_of <= MOST_OTHERS * count
        return Quality(math.inf if few else decibels(count, others_of), None, None)
    apart = absolute_difference(found, other)
    with np.errstate(over="ignore"):
        power, lost = np.square(signal.astype(np.float64)), np.square(apart)
    rounding = None if noise is None else np.square(noise)
    largest = float(apart.max(initial=0.0))
    weak: Slices | None = None
    for axis in reversed(judged_axes(signal.shape)):
        others = tuple(i for i in range(signal.ndim) if i != axis)
        slices = power.mean(axis=others)
        if rounding is not None and rounding.mean() > 0:
            share = np.minimum(1.0, 4 * rounding.mean(axis=others) / rounding.mean())
            slices = np.maximum(slices, power.mean() * share)
        ratios = np.array(
            [decibels(*pair) for pair in zip(slices, lost.mean(axis=others), strict=True)]
        )
        at = int(ratios.argmin())
        if ratios[at] >= (LOST_DB if weak is None else weak.sqnr_db):
            continue
        beyond = step is None or float(apart.take(at, axis=axis).max()) > _WRONG_STEPS * step
        weak = Slices(
            axis=axis - 1,
            indices=tuple(int(i) for i in np.flatnonzero(ratios < LOST_DB)),
            weakest=at,
            sqnr_db=float(ratios[at]),
            wrong=bool(ratios[at] < WRONG_DB and beyond),
            last=axis == signal.ndim - 1,
        )
    return Quality(
        sqnr_db=decibels(float(power.sum()), float(lost.sum())),
        max_steps=None if step is None else largest / step,
        weak=weak,
    )


def decibels(signal: float, noise: float) -> float:
    """``10 log10(signal / noise)`` of two powers; infinite without noise, minus that for NaN."""
    if not noise >= 0 or math.isinf(noise):
        return -math.inf
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal > 0 else -math.inf
