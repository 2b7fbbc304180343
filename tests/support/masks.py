"""Masks of every kind that the runtime tells apart, and some that people use."""

from __future__ import annotations

from typing import Literal

import numpy as np

from support.tflite_writer import Array
from toolchain.sparsity.lattice import Lattice

MaskKind = Literal["random", "empty", "full", "single_pixel", "rows", "columns", "lattice"]
MASK_KINDS: tuple[MaskKind, ...] = (
    "random", "empty", "full", "single_pixel", "rows", "columns", "lattice",
)  # fmt: skip
LATTICE = Lattice(5, 2)


def make_mask(
    kind: MaskKind, size: tuple[int, int], sparsity: float, rng: np.random.Generator
) -> Array:
    """``[height, width]``, True where a pixel is kept.

    Args:
        kind: ``lattice``: one to four of the classes ``(x + 2y) mod 5`` are skipped.
        size: height and width.
        sparsity: of ``random`` and ``lattice``.
        rng: what is drawn comes from it.
    """
    mask = np.zeros(size, bool)
    match kind:
        case "random":
            mask = rng.random(size) >= sparsity
        case "full":
            mask[:] = True
        case "single_pixel":
            mask[rng.integers(size[0]), rng.integers(size[1])] = True
        case "rows":
            mask[::2] = True
        case "columns":
            mask[:, ::2] = True
        case "lattice":
            count = min(max(round(sparsity * LATTICE.modulus), 1), LATTICE.modulus - 1)
            skipped = rng.permutation(LATTICE.modulus)[:count]
            mask = ~np.isin(LATTICE.classes(size), skipped)
        case "empty":
            pass
    return mask
