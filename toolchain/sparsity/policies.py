"""Mask policies: which pixels of a convolution's output are masked.

A policy gives each pixel of a layer a score, and the lowest scores are masked. All of them are
functions of a seed, so that a mask is remembered by its seed and drawn again from it.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from toolchain.errors import ModelError
from toolchain.sparsity.lattice import Lattice, class_order, lattice_for
from toolchain.sparsity.masked_conv import watch_outputs
from toolchain.sparsity.site import Site, Size
from toolchain.sparsity.tiles import TILE_SHARE, masked_to_tiles

TileRows = int | Mapping[str, int]
"""Pixels of a tile (MR): of all layers, or by their names."""


class Policy(ABC):
    """Chooses the masked pixels of layers.

    Args:
        tile_rows: pixels that the board's micro-kernel computes at once (MR). Kept pixels are
            rounded down to a multiple of it, as a tile costs the same however full it is. A number
            for all layers, or one for each by its name; a layer that is not named is not rounded.
        tile_share: round only where it masks at most this share of the layer's pixels more.
    """

    name: ClassVar[str]
    varies: ClassVar[bool] = True
    """Whether another seed gives other masks, so that there is something to search for."""

    def __init__(self, *, tile_rows: TileRows = 1, tile_share: float = TILE_SHARE) -> None:
        numbers = [tile_rows] if isinstance(tile_rows, int) else tile_rows.values()
        if not all(number >= 1 for number in numbers) or not 0 <= tile_share <= 1:
            raise ModelError(
                f"tile_rows {tile_rows} is not at least 1, or tile_share {tile_share:g} not 0 to 1"
            )
        self.tile_rows, self.tile_share = tile_rows, tile_share

    @abstractmethod
    def scores(self, site: Site, seed: int) -> Tensor:
        """Scores ``[H, W]`` of a layer's output pixels; the lowest are masked first."""

    def count(self, site: Site, scores: Tensor, share: float) -> int:  # noqa: ARG002
        """How many pixels are masked at ``share`` of the way to the target, before rounding."""
        return round(share * site.target * site.size[0] * site.size[1])

    def rows_of(self, name: str) -> int:
        """What a layer's kept pixels are rounded down to a multiple of; 1 rounds nothing."""
        return self.tile_rows if isinstance(self.tile_rows, int) else self.tile_rows.get(name, 1)

    def prepare(self, model: nn.Module, sites: Sequence[Site]) -> None:
        """Look at the model before masks are drawn for the first time; most have no need to."""
        del model, sites

    def mask(self, site: Site, seed: int, share: float = 1.0) -> Tensor:
        """The mask of one layer: bool ``[H, W]``, ``True`` = kept.

        Args:
            site: the layer.
            seed: the same seed gives the same mask.
            share: of the way from no masked pixel to the layer's target, 0 to 1.
        """
        scores = self.scores(site, seed)
        wanted = self.count(site, scores, share)
        rows = self.rows_of(site.name)
        masked = masked_to_tiles(wanted, scores.numel(), rows, self.tile_share)
        mask = torch.ones(scores.numel(), dtype=torch.bool)
        mask[scores.flatten().argsort(stable=True)[:masked]] = False
        return mask.view(site.size)

    def masks(self, sites: Iterable[Site], seed: int, share: float = 1.0) -> dict[str, Tensor]:
        """The masks of layers by name, see :meth:`mask`."""
        return {site.name: self.mask(site, seed, share) for site in sites}

    def state_dict(self) -> dict[str, Any]:
        """What :meth:`prepare` learned."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what :meth:`state_dict` gave."""
        del state


class Random(Policy):
    """Each layer draws its pixels alone."""

    name = "random"

    def scores(self, site: Site, seed: int) -> Tensor:
        """Uniform in [0, 1), another draw for each layer."""
        return torch.rand(site.size, generator=_seeded(seed, site.name))


class Pooled(Policy):
    """One random plane at input resolution, averaged down to the size of each layer's output.

    Layers of equal resolution so have the same mask, and masks of different resolutions cover the
    same regions. The paper's own choice (arXiv 2309.06626; ``lnorm`` in its code).
    """

    name = "pooled"

    def scores(self, site: Site, seed: int) -> Tensor:
        """The plane of this seed at the layer's resolution."""
        plane = torch.rand(site.image, generator=torch.Generator().manual_seed(seed))
        return functional.adaptive_avg_pool2d(plane[None, None], site.size)[0, 0]


class LatticePolicy(Policy):
    """Pixels ``(x, y)`` whose class ``(x + a*y) mod m`` is one of the masked classes.

    Every kept pixel sees the same few patterns of masked neighbours, which is what lets a runtime
    skip masked taps as well. A lattice masks whole classes, so the sparsity is the nearest ``k/m``.

    Args:
        modulus: ``m``; by default the smallest one up to 20 that comes near the target.
        tile_rows: see :class:`Policy`; rounding takes pixels of the next class.
        tile_share: see :class:`Policy`.
    """

    name = "lattice"

    def __init__(
        self, modulus: int | None = None, *, tile_rows: TileRows = 1, tile_share: float = TILE_SHARE
    ) -> None:
        super().__init__(tile_rows=tile_rows, tile_share=tile_share)
        if modulus is not None and modulus < 2:
            raise ModelError(f"a lattice's modulus is at least 2, not {modulus}")
        self.modulus = modulus

    def lattice(self, site: Site) -> Lattice:
        """The lattice that a layer gets."""
        return lattice_for(site.target, self.modulus)

    def scores(self, site: Site, seed: int) -> Tensor:
        """The rank of the pixel's class, and a fraction below 1 that orders pixels of a class."""
        lattice = self.lattice(site)
        generator = _seeded(seed, str(site.size))
        phase = int(torch.randint(lattice.modulus, (), generator=generator))
        ranks = torch.empty(lattice.modulus)
        ranks[[(c + phase) % lattice.modulus for c in class_order(lattice)]] = torch.arange(
            lattice.modulus, dtype=torch.float32
        )
        # Half of a step, so that a rank and a fraction never round up to the next rank.
        within = torch.rand(site.size, generator=generator) / 2
        return ranks[torch.from_numpy(lattice.classes(site.size))] + within

    def count(self, site: Site, scores: Tensor, share: float) -> int:
        """The pixels of as many whole classes as come nearest."""
        return int((scores < round(share * site.target * self.lattice(site).modulus)).sum())


class TilePolicy(Policy):
    """Random blocks of ``side`` x ``side`` pixels; the last block is masked in part.

    Args:
        side: of a block, in pixels of the layer.
        tile_rows: see :class:`Policy`.
        tile_share: see :class:`Policy`.
    """

    name = "tile"

    def __init__(
        self, side: int = 2, *, tile_rows: TileRows = 1, tile_share: float = TILE_SHARE
    ) -> None:
        super().__init__(tile_rows=tile_rows, tile_share=tile_share)
        if side < 1:
            raise ModelError(f"a block's side is at least 1, not {side}")
        self.side = side

    def scores(self, site: Site, seed: int) -> Tensor:
        """One draw for each block, the same for all its pixels."""
        height, width = site.size
        blocks = (-(-height // self.side), -(-width // self.side))
        # A permutation, not draws: two blocks of equal score would both be masked in part.
        order = torch.randperm(blocks[0] * blocks[1], generator=_seeded(seed, str(site.size)))
        plane = order.view(blocks).float()
        whole = plane.repeat_interleave(self.side, 0).repeat_interleave(self.side, 1)
        return whole[:height, :width]


class Magnitude(Policy):
    """The pixels where convolutions put out least: one fixed plane for each resolution.

    The mean absolute output of each layer over data, before BatchNorm (where the mask multiplies),
    in units of the layer's own mean, averaged over the layers of one resolution.

    Args:
        batches: gives the batches ``[N, C, H, W]`` to look at; called once, when masks are drawn
            for the first time.
        tile_rows: see :class:`Policy`.
        tile_share: see :class:`Policy`.
    """

    name = "magnitude"
    varies = False

    def __init__(
        self,
        batches: Callable[[], Iterable[Tensor]],
        *,
        tile_rows: TileRows = 1,
        tile_share: float = TILE_SHARE,
    ) -> None:
        super().__init__(tile_rows=tile_rows, tile_share=tile_share)
        self._batches = batches
        self._planes: dict[Size, Tensor] = {}

    def prepare(self, model: nn.Module, sites: Sequence[Site]) -> None:
        """Run the model on the batches, in eval mode and without masks.

        Raises:
            ModelError: there are no batches.
        """
        names = {site.name for site in sites}
        sums: dict[str, Tensor] = {}

        def add(name: str, output: Tensor) -> None:
            sums[name] = sums.get(name, 0) + output.detach().abs().double().mean((0, 1)).cpu()

        with watch_outputs(model, names, add):
            for batch in self._batches():
                model(batch)
        if set(sums) != names:
            raise ModelError("there is no data to measure activations on")
        self._planes = {
            size: torch.stack(
                [
                    sums[s.name] / sums[s.name].mean().clamp_min(1e-30)
                    for s in sites
                    if s.size == size
                ]
            ).mean(0)
            for size in {site.size for site in sites}
        }

    def scores(self, site: Site, seed: int) -> Tensor:  # noqa: ARG002
        """The measured plane of the layer's resolution.

        Raises:
            ModelError: :meth:`prepare` was not called.
        """
        if site.size not in self._planes:
            raise ModelError("the magnitude policy has not measured the model yet")
        return self._planes[site.size]

    def state_dict(self) -> dict[str, Any]:
        """The planes by size."""
        return {"planes": dict(self._planes)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take the planes back."""
        self._planes = dict(state["planes"])


POLICIES: dict[str, type[Policy]] = {
    policy.name: policy for policy in (Random, Pooled, LatticePolicy, TilePolicy, Magnitude)
}
"""Every policy by the name that a recipe uses."""


def _seeded(seed: int, *parts: str) -> torch.Generator:
    """A generator of its own for each combination."""
    text = "/".join((str(seed), *parts)).encode()
    number = int.from_bytes(hashlib.sha256(text).digest()[:8], "little")
    return torch.Generator().manual_seed(number >> 1)
