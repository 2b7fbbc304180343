"""What the model needs of a run of a row's program: a value a window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from toolchain.dev.timing.published import Row

Floats = npt.NDArray[np.float64]

COUNTERS = (
    "loads", "stores", "l1_misses_stream", "l1_misses_random", "l1_misses_store",
    "l2_misses_stream", "l2_misses_random", "l2_misses_store", "l3_misses", "written_back",
    "tlb_misses", "page_walks",
)  # fmt: skip
"""Those of a trace's memory, in their order there."""


@dataclass(frozen=True)
class Features:
    """One run, each array with a value a window; the windows of threads lie after each other."""

    thread: npt.NDArray[np.int64]
    """Which thread a window is of; the lowest number is that which makes the marks."""
    instructions: Floats
    core: Floats
    """Cycles of the simulated pipeline that always finds its data in L1D."""
    mispredicted: Floats
    """Branches."""
    counters: Floats
    """A row a window, a column for each of :data:`COUNTERS`."""
    has_l3: bool = False

    def counter(self, name: str) -> Floats:
        """One of :data:`COUNTERS`."""
        column: Floats = self.counters[:, COUNTERS.index(name)]
        return column

    def missed(self, level: int) -> Floats:
        """Lines that a level did not have, of all kinds."""
        if level == 3:
            return self.counter("l3_misses")
        stream, random = (self.counter(f"l{level}_misses_{kind}") for kind in ("stream", "random"))
        return stream + random + self.counter(f"l{level}_misses_store")

    @property
    def l2(self) -> Floats:
        """Lines that L1D did not have and L2 had."""
        return self.missed(1) - self.missed(2)

    @property
    def l3(self) -> Floats:
        """Lines that L2 did not have and L3 had; 0 without one."""
        return self.missed(2) - self.missed(3) if self.has_l3 else np.zeros_like(self.core)

    @property
    def memory(self) -> Floats:
        """Lines that come from memory or go there."""
        return self.missed(3 if self.has_l3 else 2) + self.counter("written_back")

    def merged(self) -> Features:
        """The same as one window a thread: what a model sees that knows no windows."""
        threads, where = np.unique(self.thread, return_inverse=True)

        def total(values: Floats) -> Floats:
            return np.bincount(where, values).astype(float)

        return replace(
            self,
            thread=threads,
            instructions=total(self.instructions),
            core=total(self.core),
            mispredicted=total(self.mispredicted),
            counters=np.stack([total(column) for column in self.counters.T], axis=1),
        )

    def without_mispredictions(self) -> Features:
        """The same with a predictor that is always right."""
        return replace(self, mispredicted=np.zeros_like(self.mispredicted))

    def main(self) -> Features:
        """The windows of the first thread, which waits for all others."""
        own = self.thread == self.thread.min()
        arrays = {
            field.name: getattr(self, field.name)[own]
            for field in fields(self)
            if field.name != "has_l3"
        }
        return replace(self, **arrays)


@dataclass(frozen=True)
class Sample:
    """A published time, and what was found out about its program."""

    row: Row
    features: Features


def counted_only(threads: Sequence[int]) -> Features:
    """Features of a program of which nothing is known but its instructions, one window a thread."""
    count = np.asarray(threads, float)
    return Features(
        thread=np.arange(len(count)),
        instructions=count,
        core=np.zeros_like(count),
        mispredicted=np.zeros_like(count),
        counters=np.zeros((len(count), len(COUNTERS))),
    )
