"""Lattices of pixels: the classes ``(x + a*y) mod m``."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_MAX_MODULUS = 20
_NEAR = 0.005


@dataclass(frozen=True)
class Lattice:
    """``m`` classes of pixels, each a lattice of its own: ``(x + a*y) mod m``."""

    modulus: int
    slope: int
    """``a``: how far a class moves from one row to the next."""

    def classes(self, size: tuple[int, int]) -> npt.NDArray[np.int64]:
        """The class of each pixel, ``[H, W]``."""
        y, x = np.indices(size)
        found: npt.NDArray[np.int64] = (x + self.slope * y) % self.modulus
        return found

    def distance(self, apart: int) -> int:
        """The least squared distance of two different pixels whose classes are ``apart``."""
        reach = range(-self.modulus, self.modulus + 1)
        return min(
            x * x + y * y
            for x in reach
            for y in reach
            if (x, y) != (0, 0) and (x + self.slope * y - apart) % self.modulus == 0
        )


@functools.lru_cache(maxsize=256)
def lattice_for(sparsity: float, modulus: int | None = None) -> Lattice:
    """The lattice for a sparsity: a small modulus with some ``k/m`` near it, its points far apart.

    Args:
        sparsity: in [0, 1).
        modulus: ``m`` where it is given.
    """

    def fault(m: int) -> float:
        return abs(round(sparsity * m) / m - sparsity)

    if modulus is None:
        moduli = range(2, _MAX_MODULUS + 1)
        near = [m for m in moduli if fault(m) <= _NEAR]
        modulus = near[0] if near else min(moduli, key=fault)
    m = modulus
    return max((Lattice(m, a) for a in range(1, m)), key=lambda lattice: lattice.distance(0))


@functools.lru_cache(maxsize=256)
def class_order(lattice: Lattice) -> tuple[int, ...]:
    """All classes, each next one as far as can be from those before it: the order of masking."""
    order, left = [0], set(range(1, lattice.modulus))
    while left:
        following = max(
            sorted(left),
            key=lambda c: min(lattice.distance((c - one) % lattice.modulus) for one in order),
        )
        order.append(following)
        left.remove(following)
    return tuple(order)
