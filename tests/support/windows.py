"""Windows of the timing model, by what they did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from toolchain.timing.windows import COUNTERS, OUTSIDE, Windows


def windows(
    *each: Mapping[str, float], threads: Sequence[int] | None = None, has_l3: bool = False
) -> Windows:
    """A window for each mapping.

    Args:
        each: ``core``, ``instructions``, ``mispredicted``, ``operator`` and counters; those that
            are not named are 0, and the operator :data:`OUTSIDE`.
        threads: of each window; thread 0 unless given.
        has_l3: whether the board has a third level.
    """
    return Windows(
        thread=np.array(threads if threads is not None else [0] * len(each)),
        operator=np.array([int(one.get("operator", OUTSIDE)) for one in each]),
        instructions=np.array([one.get("instructions", 0.0) for one in each], float),
        core=np.array([one.get("core", 0.0) for one in each], float),
        mispredicted=np.array([one.get("mispredicted", 0.0) for one in each], float),
        counters=np.array([[one.get(name, 0.0) for name in COUNTERS] for one in each], float),
        has_l3=has_l3,
    )
