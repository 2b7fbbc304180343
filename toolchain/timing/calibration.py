"""The timing model of one board, refitted to times that were measured on it.

A few models are enough: the coefficients of published times are where the search begins, and it
leaves them only as far as the measurements ask for.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from toolchain.timing.model import Coefficients, TimingModel
from toolchain.timing.windows import Windows

_SPREAD: Final = 0.3
"""How far a coefficient of one board may well be from that of all, in logarithms."""
_NOISE: Final = 0.03
"""The same of a measured time from the model's."""
_ROUNDS: Final = 60
_STEP: Final = 0.2
_SMALLEST: Final = 1e-4


@dataclass(frozen=True)
class Measured:
    """A program whose time is known."""

    name: str
    windows: Windows
    shared: Collection[int]
    """Operators whose work is dealt out to all threads."""
    clock_mhz: float
    ms: float

    def estimate(self, model: TimingModel) -> float:
        """Milliseconds by a model."""
        cycles = model.cycles(self.windows, self.clock_mhz, self.shared).total
        return float(cycles.sum()) / (1e3 * self.clock_mhz)

    def error(self, model: TimingModel) -> float:
        """The estimate over the measured time, less 1."""
        return self.estimate(model) / self.ms - 1


def calibrated(model: TimingModel, measured: Sequence[Measured]) -> TimingModel:
    """Refit a model's coefficients.

    Args:
        model: of published times.
        measured: on one board; at least one.

    Raises:
        ValueError: nothing was measured.
    """
    if not measured:
        raise ValueError("nothing was measured")
    start = model.coefficients
    names = [name for name in Coefficients.model_fields if getattr(start, name)]

    def moved(offsets: Sequence[float]) -> TimingModel:
        values = {
            name: getattr(start, name) * float(np.exp(offset))
            for name, offset in zip(names, offsets, strict=True)
        }
        return model.model_copy(update={"coefficients": start.model_copy(update=values)})

    def loss(offsets: Sequence[float]) -> float:
        candidate = moved(offsets)
        errors = [np.log1p(one.error(candidate)) / _NOISE for one in measured]
        return float(np.sum(np.square(errors)) + np.sum(np.square(offsets)) / _SPREAD**2)

    offsets, step = [0.0] * len(names), _STEP
    best = loss(offsets)
    for _ in range(_ROUNDS):
        before = best
        for index in range(len(names)):
            for change in (step, -step):
                tried = [*offsets]
                tried[index] += change
                if (found := loss(tried)) < best:
                    offsets, best = tried, found
                    break
        if best == before:
            step /= 2
        if step < _SMALLEST:
            break
    return moved(offsets)
