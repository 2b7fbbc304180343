"""Models of time, and how their coefficients are found from published times.

Errors are relative, so coefficients are sought that make the mean of ``|log(estimate / time)|``
least: a row that is off, for whatever reason, then does not draw all others with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.optimize import minimize

from toolchain.dev.timing.published import Row
from toolchain.dev.timing.sample import Sample
from toolchain.timing.model import Coefficients, Cycles, Overlap, spread
from toolchain.timing.windows import Floats, Windows

_TURNS = 400
_SPREAD = 0.7
"""Of the first simplex, in logarithms."""


class Fitted(Protocol):
    """A model with its coefficients."""

    def ms(self, sample: Sample) -> float:
        """The estimate of a row's time."""


Fit = Callable[[Sequence[Sample]], Fitted]


@dataclass(frozen=True)
class ConstantCycles:
    """Every instruction takes as long as any other."""

    cycles: float

    def ms(self, sample: Sample) -> float:
        """The estimate: work is dealt out evenly."""
        count = float(sample.windows.instructions.sum()) / sample.row.threads
        return self.cycles * count / (1e3 * sample.row.clock_mhz)


def fit_constant_cycles(samples: Sequence[Sample]) -> ConstantCycles:
    """The cycles an instruction of which as many rows are above as below."""
    unit = ConstantCycles(1.0)
    return ConstantCycles(float(np.median([one.row.ms / unit.ms(one) for one in samples])))


@dataclass(frozen=True)
class Shape:
    """What a model of windows consists of; its coefficients are those that ``names`` lists."""

    overlap: Overlap
    refill: float
    """Cycles that a mispredicted branch costs: the core's table has it."""
    l3: bool = False
    """Whether the board has a third level."""
    core: bool = False
    """Whether the core's cycles are scaled, too."""
    windows: bool = True
    """False: a run is one window."""
    mispredictions: bool = True
    every_line: bool = True
    """False: the core takes in lines of L2 alone; those from farther away cost it nothing more."""

    @property
    def names(self) -> tuple[str, ...]:
        """The coefficients of one thread, in their order."""
        return ("l2", *(("l3",) if self.l3 else ()), "memory", *(("core",) if self.core else ()))


@dataclass(frozen=True)
class Prepared:
    """What a model looks at of a run: that of the first thread, a value a window."""

    core: Floats
    refill: Floats
    """Cycles that mispredicted branches cost."""
    filled: Floats
    l3: Floats
    memory: Floats
    """Lines; of memory those of all threads."""
    threads: int


@dataclass(frozen=True)
class WindowModel:
    """Windows, each bound by the core or by memory."""

    shape: Shape
    coefficients: Coefficients

    def ms(self, sample: Sample) -> float:
        """The estimate."""
        prepared = prepare(self.shape, sample.windows, sample.row.threads)
        cycles = self.cycles(prepared, sample.row.clock_mhz)
        return float(cycles.sum()) / (1e3 * sample.row.clock_mhz)

    @property
    def fitted(self) -> dict[str, float]:
        """The coefficients that were found, by their names."""
        values = self.coefficients.model_dump()
        names = (*self.shape.names, "shared_memory")
        return {name: values[name] for name in names if values[name] is not None}

    def cycles(self, prepared: Prepared, clock_mhz: int) -> Floats:
        """Cycles of each window.

        Args:
            prepared: what :func:`prepare` gives.
            clock_mhz: of the core. Memory takes as long at any clock.
        """
        value, ghz = self.coefficients, clock_mhz / 1e3
        return Cycles(
            overlap="sum" if prepared.threads > 1 else self.shape.overlap,
            core=value.core * prepared.core + prepared.refill,
            l2=value.l2 * prepared.filled,
            l3=ghz * value.l3 * prepared.l3,
            memory=ghz * value.line(prepared.threads) * prepared.memory,
        ).total


def prepare(shape: Shape, windows: Windows, threads: int = 1) -> Prepared:
    """The windows that take the time of a run.

    The first thread waits for the others, so its windows take the whole time. Of a run with fewer
    threads than are asked for, each takes its part of what the cores do. Memory serves all threads
    meanwhile, so that its lines stand in one row.

    Args:
        shape: what is looked at.
        windows: of the run.
        threads: of the row.
    """
    windows = windows if shape.windows else windows.merged()
    main = windows.main()
    part = len(np.unique(windows.thread)) / threads
    refill = shape.refill if shape.mispredictions else 0.0
    return Prepared(
        core=part * main.core,
        refill=part * refill * main.mispredicted,
        filled=part * (main.filled if shape.every_line else main.l2),
        l3=part * main.l3,
        memory=spread(float(windows.memory.sum()), main.memory),
        threads=threads,
    )


def fit_windows(shape: Shape) -> Callable[[Sequence[Sample]], WindowModel]:
    """A function that fits the coefficients of a shape.

    Those of one thread are found on rows with one. What a line takes with several threads is then
    found on rows with several, if there are any. Rows of other than convolutional networks take no
    part in either.

    Raises:
        ValueError: the fit gets no rows with one thread.
    """

    def fit(samples: Sequence[Sample]) -> WindowModel:
        prepared = [
            (prepare(shape, one.windows, one.row.threads), one.row)
            for one in samples
            if one.row.is_convolutional
        ]
        alone = [(one, row) for one, row in prepared if one.threads == 1]
        together = [(one, row) for one, row in prepared if one.threads > 1]
        if not alone:
            raise ValueError("nothing to fit to")

        def loss(rows: Sequence[tuple[Prepared, Row]], coefficients: Coefficients) -> float:
            model = WindowModel(shape, coefficients)
            estimates = [model.cycles(one, row.clock_mhz).sum() for one, row in rows]
            ratios = np.array(estimates) / [row.cycles for _, row in rows]
            return float(np.mean(np.abs(np.log(ratios))))

        def named(logarithms: Floats) -> Coefficients:
            return Coefficients(**dict(zip(shape.names, _values(logarithms), strict=True)))

        starts = [_descend(lambda it: loss(alone, named(it)), np.log(it)) for it in _starts(shape)]
        found = named(min(starts, key=lambda one: one[1])[0])
        if together:
            first = np.log(np.array([found.memory]))

            def shared(logarithms: Floats) -> Coefficients:
                return found.model_copy(update={"shared_memory": _values(logarithms)[0]})

            best, _ = _descend(lambda it: loss(together, shared(it)), first)
            found = shared(best)
        return WindowModel(shape, found)

    return fit


def _values(logarithms: Floats) -> list[float]:
    values: list[float] = np.exp(np.clip(logarithms, -12.0, 12.0)).tolist()
    return values


def _starts(shape: Shape) -> list[Floats]:
    """Where the search begins: what the levels cost by common figures, and some way off."""
    common = {"l2": 5.0, "l3": 5.0, "memory": 15.0, "core": 1.0}
    middle = np.array([common[name] for name in shape.names])
    return [middle, middle * 0.4]


def _descend(loss: Callable[[Floats], float], start: Floats) -> tuple[Floats, float]:
    simplex = np.vstack([start, start + _SPREAD * np.eye(len(start))])
    found = minimize(
        loss,
        start,
        method="Nelder-Mead",
        options={"initial_simplex": simplex, "maxfev": _TURNS, "xatol": 1e-3, "fatol": 1e-6},
    )
    return np.asarray(found.x, float), float(found.fun)
