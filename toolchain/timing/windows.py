"""What the timing model needs of a trace: arrays with a value a window."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from toolchain.timing.edges import edge_cycles
from toolchain.timing.pipeline import Simulator
from toolchain.timing.trace import Memory, Trace

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

COUNTERS: Final = tuple(field.name for field in fields(Memory))
"""What a window counts of memory, in the order of :class:`toolchain.timing.trace.Memory`."""
OUTSIDE: Final = -1
"""The operator of windows outside of operators."""


@dataclass(frozen=True)
class Windows:
    """One run; every array has a value a window. The windows of threads lie after each other."""

    thread: Integers
    """The lowest number is that which makes the marks."""
    operator: Integers
    """Its number in the run; :data:`OUTSIDE` outside of operators."""
    instructions: Floats
    core: Floats
    """Cycles of the simulated pipeline whose loads all hit L1D."""
    mispredicted: Floats
    """Branches."""
    counters: Floats
    """``[windows, len(COUNTERS)]``."""
    has_l3: bool = False

    def __len__(self) -> int:
        return len(self.thread)

    def counter(self, name: str) -> Floats:
        """One of :data:`COUNTERS`."""
        column: Floats = self.counters[:, COUNTERS.index(name)]
        return column

    def missed(self, level: int) -> Floats:
        """Lines that a level did not have, of all kinds."""
        if level == 3:
            return self.counter("l3_misses")
        kinds = ("stream", "random", "store")
        columns = [COUNTERS.index(f"l{level}_misses_{kind}") for kind in kinds]
        lines: Floats = self.counters[:, columns].sum(axis=1)
        return lines

    @property
    def filled(self) -> Floats:
        """Lines that L1D did not have: they come through L2, whether it had them or not."""
        return self.missed(1)

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

    def where(self, chosen: npt.NDArray[np.bool_]) -> Windows:
        """Some of the windows."""
        arrays = {
            field.name: getattr(self, field.name)[chosen]
            for field in fields(self)
            if field.name != "has_l3"
        }
        return replace(self, **arrays)

    def merged(self) -> Windows:
        """The same as one window a thread: what a model sees that knows no windows."""
        threads, where = np.unique(self.thread, return_inverse=True)

        def total(values: Floats) -> Floats:
            return np.bincount(where, values).astype(float)

        return replace(
            self,
            thread=threads,
            operator=np.full(len(threads), OUTSIDE),
            instructions=total(self.instructions),
            core=total(self.core),
            mispredicted=total(self.mispredicted),
            counters=np.stack([total(column) for column in self.counters.T], axis=1),
        )

    def main(self) -> Windows:
        """The windows of the first thread, which waits for all others."""
        return self.where(self.thread == self.thread.min())


def windows_of(trace: Trace, core: Simulator, *, has_l3: bool) -> Windows:
    """Cost a trace.

    Args:
        trace: of one run.
        core: what runs it.
        has_l3: whether the board has a third level of caches.
    """
    total: Counter[tuple[int, int]] = Counter()
    for window in trace.windows:
        total.update(window.edges)
    cycles = edge_cycles(trace.blocks, total, core)
    operators = [OUTSIDE if one.operator is None else one.operator for one in trace.windows]
    return Windows(
        thread=np.array([window.thread for window in trace.windows]),
        operator=np.array(operators),
        instructions=np.array([window.instructions for window in trace.windows], float),
        core=np.array(
            [
                sum(count * cycles[edge] for edge, count in window.edges.items())
                for window in trace.windows
            ]
        ),
        mispredicted=np.array([window.mispredicted for window in trace.windows], float),
        counters=np.array(
            [[getattr(window.memory, name) for name in COUNTERS] for window in trace.windows],
            float,
        ),
        has_l3=has_l3,
    )
