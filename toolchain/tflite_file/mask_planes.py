"""Masks without PyTorch: the policies that need no data, for files whose masks are for measuring.

Each is a function of a seed and of the sizes alone. The pixels are others than those that
:mod:`toolchain.sparsity.policies` draws from the same seed; how many, and how they lie to each
other, is the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from toolchain.errors import ModelError
from toolchain.sparsity.lattice import class_order, lattice_for
from toolchain.tflite_file.layers import Plane

Size = tuple[int, int]
Scores = npt.NDArray[np.float64]
Draw = Callable[[Size, Size, str, int, float], Scores]
"""Scores of a layer's pixels, the lowest are masked first: of its size, that of the image, its
name, the seed and the sparsity."""


def mask_plane(policy: str, size: Size, image: Size, name: str, seed: int, share: float) -> Plane:
    """The mask of one layer: bool ``[H, W]``, True = kept.

    Args:
        policy: a name of :data:`POLICIES`.
        size: height and width of the layer's output.
        image: those of the model's input.
        name: of the layer.
        seed: the same one gives the same mask.
        share: of the pixels to mask, in [0, 1).

    Raises:
        ModelError: there is no such policy.
    """
    if policy not in POLICIES:
        raise ModelError(f"there is no policy '{policy}'", hint=f"one of {', '.join(POLICIES)}")
    scores = POLICIES[policy](size, image, name, seed, share)
    count = round(share * scores.size)
    if policy == "lattice":  # whole classes, as many as come nearest
        count = int((scores < round(share * lattice_for(share).modulus)).sum())
    kept = np.ones(scores.size, np.bool_)
    kept[np.argsort(scores, axis=None, kind="stable")[:count]] = False
    return kept.reshape(size)


def _random(size: Size, image: Size, name: str, seed: int, share: float) -> Scores:  # noqa: ARG001
    return _seeded(seed, name).random(size)


def _pooled(size: Size, image: Size, name: str, seed: int, share: float) -> Scores:  # noqa: ARG001
    """The paper's (arXiv 2309.06626): one plane at input resolution, averaged down."""
    plane = _seeded(seed).random(image)
    sums = np.zeros((image[0] + 1, image[1] + 1))
    sums[1:, 1:] = plane.cumsum(0).cumsum(1)
    rows, columns = (_windows(whole, parts) for whole, parts in zip(image, size, strict=True))
    (top, bottom), (left, right) = rows, columns
    totals = (
        sums[np.ix_(bottom, right)] - sums[np.ix_(top, right)]
        - sums[np.ix_(bottom, left)] + sums[np.ix_(top, left)]
    )  # fmt: skip
    areas = np.outer(bottom - top, right - left)
    averages: Scores = totals / areas
    return averages


def _windows(whole: int, parts: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Where adaptive average pooling's windows begin and end, as torch cuts them."""
    index = np.arange(parts)
    return index * whole // parts, -(-(index + 1) * whole // parts)


def _lattice(size: Size, image: Size, name: str, seed: int, share: float) -> Scores:  # noqa: ARG001
    lattice = lattice_for(share)
    random = _seeded(seed, str(size))
    phase = int(random.integers(lattice.modulus))
    ranks = np.empty(lattice.modulus)
    ranks[[(c + phase) % lattice.modulus for c in class_order(lattice)]] = range(lattice.modulus)
    scores: Scores = ranks[lattice.classes(size)] + random.random(size) / 2
    return scores


POLICIES: Mapping[str, Draw] = {"pooled": _pooled, "lattice": _lattice, "random": _random}


def _seeded(seed: int, *parts: str) -> np.random.Generator:
    text = "/".join((str(seed), *parts)).encode()
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text).digest()[:8], "little"))
