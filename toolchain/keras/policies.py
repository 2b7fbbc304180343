"""Which pixels of a Keras model's convolutions are masked: the policies, drawn by numpy.

They are those of :mod:`toolchain.sparsity.policies` that need no data. The same seed draws other
pixels than there; how many, and how they lie to each other, is the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from toolchain.errors import ModelError
from toolchain.hints import did_you_mean
from toolchain.sparsity.lattice import lattice_for
from toolchain.sparsity.site import Site
from toolchain.sparsity.tiles import TILE_SHARE, masked_to_tiles
from toolchain.tflite_file.layers import Plane
from toolchain.tflite_file.mask_planes import POLICIES


@dataclass(frozen=True)
class Policy:
    """Chooses the masked pixels of layers.

    Raises:
        ModelError: there is no such policy, or a number is out of range.
    """

    name: str = "pooled"
    """A key of :data:`toolchain.tflite_file.mask_planes.POLICIES`; ``pooled`` is the paper's."""
    tile_rows: int | Mapping[str, int] = 1
    """Pixels that the board's micro-kernel computes at once (MR), of all layers or by their names;
    kept pixels are rounded down to a multiple of it."""
    tile_share: float = TILE_SHARE
    """Round a layer only where that masks at most this share of its pixels more."""

    def __post_init__(self) -> None:
        if self.name not in POLICIES:
            known = f"one of {', '.join(POLICIES)}"
            raise ModelError(
                f"there is no policy '{self.name}'", hint=did_you_mean(self.name, POLICIES, known)
            )
        rows = self.tile_rows
        numbers = [rows] if isinstance(rows, int) else rows.values()
        if not all(number >= 1 for number in numbers) or not 0 <= self.tile_share <= 1:
            raise ModelError(
                f"tile_rows {rows} is not at least 1, or tile_share {self.tile_share:g} not 0 to 1"
            )

    def mask(self, site: Site, seed: int, share: float = 1.0) -> Plane:
        """The mask of one layer: bool ``[H, W]``, ``True`` = kept.

        Args:
            site: the layer.
            seed: the same seed gives the same mask.
            share: of the way from no masked pixel to the layer's target, 0 to 1.
        """
        scores = POLICIES[self.name](site.size, site.image, site.name, seed, site.target)
        wanted = round(share * site.target * scores.size)
        if self.name == "lattice":  # whole classes, as many as come nearest
            classes = round(share * site.target * lattice_for(site.target).modulus)
            wanted = int((scores < classes).sum())
        rows = self.tile_rows
        own = rows if isinstance(rows, int) else rows.get(site.name, 1)
        masked = masked_to_tiles(wanted, scores.size, own, self.tile_share)
        kept = np.ones(scores.size, np.bool_)
        kept[np.argsort(scores, axis=None, kind="stable")[:masked]] = False
        return kept.reshape(site.size)
