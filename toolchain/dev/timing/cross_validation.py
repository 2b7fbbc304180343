"""How far estimates are from published times: on rows whose family took no part in the fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from toolchain.dev.timing.fit import Fit, Fitted
from toolchain.dev.timing.published import Row
from toolchain.dev.timing.sample import Sample


@dataclass(frozen=True)
class Estimate:
    """A published time and its estimate."""

    row: Row
    ms: float

    @property
    def error(self) -> float:
        """Relative; above 0 the estimate is too long."""
        return self.ms / self.row.ms - 1


@dataclass(frozen=True)
class Errors:
    """Absolute errors of several rows."""

    rows: int
    median: float
    ninth_decile: float
    worst: float
    worst_row: Row


def leave_one_family_out(samples: Sequence[Sample], fit: Fit) -> list[Estimate]:
    """Estimate every row with coefficients that were fitted without its family.

    Returns:
        In the order of ``samples``.

    Raises:
        ValueError: there is only one family.
    """
    families = sorted({one.row.family for one in samples})
    if len(families) < 2:
        raise ValueError("one family cannot be validated by another")
    fitted: dict[str, Fitted] = {
        family: fit([one for one in samples if one.row.family != family]) for family in families
    }
    return [Estimate(one.row, fitted[one.row.family].ms(one)) for one in samples]


def applied(samples: Sequence[Sample], model: Fitted) -> list[Estimate]:
    """Estimate every row with a model that was fitted on other rows."""
    return [Estimate(one.row, model.ms(one)) for one in samples]


def errors(estimates: Sequence[Estimate]) -> Errors:
    """Median, 90th percentile and worst of the absolute errors.

    Raises:
        ValueError: there are none.
    """
    if not estimates:
        raise ValueError("no estimates")
    off = np.array([abs(one.error) for one in estimates])
    return Errors(
        rows=len(off),
        median=float(np.median(off)),
        ninth_decile=float(np.percentile(off, 90)),
        worst=float(off.max()),
        worst_row=estimates[int(off.argmax())].row,
    )


@dataclass(frozen=True)
class Order:
    """Of pairs of rows that clearly differ, how many the estimate puts into the right order."""

    pairs: int
    right: int


def order(estimates: Sequence[Estimate], *, factor: float = 1.3) -> Order:
    """Compare pairs of rows of one board and clock whose times differ by more than ``factor``."""
    pairs = right = 0
    for one, other in combinations(estimates, 2):
        if (one.row.board, one.row.clock_mhz) != (other.row.board, other.row.clock_mhz):
            continue
        slow, fast = (one, other) if one.row.ms > other.row.ms else (other, one)
        if slow.row.ms > factor * fast.row.ms:
            pairs += 1
            right += slow.ms > fast.ms
    return Order(pairs, right)
