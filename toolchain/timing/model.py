"""From what a core would do to milliseconds: core, caches and memory in each window of a run.

A window is bound by the core or by memory: prefetchers fetch lines while the core is at work, so
the longer of the two counts. A core that waits for its lines takes both; published times speak
against that with one thread, even of the Cortex-A53, and for it with several: a core's lines then
stand behind those of the others. What is hidden is the way to L2: from there L1D takes in every
line, and that stops the core for as long wherever the line was.

The coefficients are fitted to published times (``docs/explanation/timing-model.md``).
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources
from typing import Annotated, Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from toolchain.timing.core_table import TimedCore, core_table
from toolchain.timing.windows import Floats, Windows

COEFFICIENTS: Final = "coefficients.toml"
"""The file beside this one that has them."""
Overlap = Literal["max", "sum"]
"""How memory's time joins the core's in a window: hidden behind it, or after it."""
Bound = Literal["core", "L2", "L3", "memory"]
"""What a stretch of a run waits for most."""

_Part = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Cost = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Coefficients(BaseModel):
    """What is fitted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    l2: _Cost
    """Cycles of the core a line that L1D takes in, wherever it comes from."""
    memory: _Cost
    """Nanoseconds a line that comes from memory or goes there."""
    shared_memory: _Cost | None = None
    """The same with several threads, for each line of all of them; ``None``: as with one."""
    l3: _Cost = 0.0
    """Nanoseconds a line that L3 gives: it has a clock of its own."""
    core: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """Factor of the simulated cycles."""

    def line(self, threads: int) -> float:
        """Nanoseconds a line of memory with so many threads."""
        if threads == 1 or self.shared_memory is None:
            return self.memory
        return self.shared_memory


class Interval(BaseModel):
    """How far published times are from estimates.

    Nine of ten lie within this part above or below, where the model was fitted without their family
    of networks.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    one_thread: _Part
    several_threads: _Part

    def of(self, threads: int) -> float:
        """The part for so many threads."""
        return self.one_thread if threads == 1 else self.several_threads

    def around(self, ms: float, threads: int) -> tuple[float, float]:
        """The shortest and the longest time that is expected, for an estimate."""
        factor = 1 + self.of(threads)
        return ms / factor, ms * factor


class TimingModel(BaseModel):
    """The model of one core, with the errors that it has."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    overlap: Overlap
    refill: _Cost
    """Cycles that a mispredicted branch costs; the core's table has it."""
    coefficients: Coefficients
    interval: Interval

    def cycles(self, windows: Windows, clock_mhz: float, shared: Collection[int] = ()) -> Cycles:
        """Cycles of each window of the first thread.

        The first thread waits for the others, so its windows take the whole time. Memory serves
        all threads meanwhile, so that the lines of an operator stand in one row, and the core waits
        for it; what L3 gives does not.

        Args:
            windows: of all threads.
            clock_mhz: of the core. Memory takes as long at any clock.
            shared: operators whose work is dealt out to all threads, each of which takes what the
                others have not: on a board they share it evenly, whatever they did in QEMU. Of
                other operators the first thread does what it did there.
        """
        value, ghz, main = self.coefficients, clock_mhz / 1e3, windows.main()
        threads = len(np.unique(windows.thread))
        every = {
            "core": value.core * windows.core + self.refill * windows.mispredicted,
            "l2": value.l2 * windows.filled,
            "l3": ghz * value.l3 * windows.l3,
            "memory": ghz * value.line(threads) * windows.memory,
        }
        parts = {name: part[windows.thread == main.thread[0]] for name, part in every.items()}
        for operator in np.unique(main.operator) if threads > 1 else ():
            mine, all_of_it = main.operator == operator, windows.operator == operator
            for name, part in parts.items():
                total = float(every[name][all_of_it].sum())
                if name == "memory":
                    part[mine] = spread(total, part[mine])
                elif operator in shared:
                    part[mine] = spread(total / threads, part[mine])
        return Cycles(overlap=self.overlap if threads == 1 else "sum", **parts)


@dataclass(frozen=True)
class Cycles:
    """Cycles of windows by what they are for."""

    overlap: Overlap
    core: Floats
    """Those of the pipeline, and of refilling it."""
    l2: Floats
    l3: Floats
    memory: Floats

    @cached_property
    def total(self) -> Floats:
        """What each window takes."""
        near, far = self.core + self.l2, self.l3 + self.memory
        return np.maximum(near, far) if self.overlap == "max" else near + far

    @cached_property
    def by_bound(self) -> dict[Bound, Floats]:
        """The total, shared out among what is waited for; what is hidden has no share."""
        parts: dict[Bound, Floats] = {
            "core": self.core, "L2": self.l2, "L3": self.l3, "memory": self.memory
        }  # fmt: skip
        if self.overlap == "sum":
            return parts
        near = self.core + self.l2 >= self.l3 + self.memory
        shown = {"core": near, "L2": near, "L3": ~near, "memory": ~near}
        return {name: np.where(shown[name], part, 0.0) for name, part in parts.items()}


def spread(total: float, own: Floats) -> Floats:
    """A sum on the windows of the first thread, as its own is spread, or evenly."""
    return own * (total / own.sum()) if own.sum() else np.full_like(own, total / len(own))


@cache
def model_of(core: TimedCore) -> TimingModel:
    """The fitted model of a core."""
    file = resources.files(__package__).joinpath(COEFFICIENTS)
    fitted = tomllib.loads(file.read_text(encoding="utf-8"))[core]
    return TimingModel.model_validate(fitted | {"refill": core_table(core).refill})
