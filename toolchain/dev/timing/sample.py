"""What is known of the program of a row: the windows of its run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from toolchain.dev.timing.published import Row
from toolchain.timing.windows import COUNTERS, OUTSIDE, Windows


@dataclass(frozen=True)
class Sample:
    """A published time, and what was found out about its program."""

    row: Row
    windows: Windows


def counted_only(threads: Sequence[int]) -> Windows:
    """A program of which nothing is known but its instructions, one window a thread."""
    count = np.asarray(threads, float)
    return Windows(
        thread=np.arange(len(count)),
        operator=np.full(len(count), OUTSIDE),
        instructions=count,
        core=np.zeros_like(count),
        mispredicted=np.zeros_like(count),
        counters=np.zeros((len(count), len(COUNTERS))),
    )
