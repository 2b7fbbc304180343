"""Load what the paper's own training code wrote: weights with masks, and its header of masks.

The code (github: Deeplite/activ-sparse) saves ``last.pt`` and ``best_state_dict.pt``, both a
state_dict of half precision. A convolution that it masks has beside its weight a buffer
``<layer>.mask``, ``[Cout, Hout, Wout]``, the same plane for every channel, 1 = kept; a forward hook
multiplies the convolution's output by it, bias included. ``MaskedConv2d`` computes the same.

The header, ``bin_mask.h``, holds the masks of the run's end, ``best_state_dict.pt`` those of its
best epoch, which may be another: masks that come with the weights are the ones that they were
judged with, and win over the header's.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from toolchain.sparsity.checkpoint import load_checkpoint, load_model, masks_in
from toolchain.sparsity.mask_header import by_layer, read_mask_header
from toolchain.sparsity.masked_conv import MASK_SUFFIX, MaskedLayer, own_mask_entries, summary
from toolchain.sparsity.state_dicts import Matched, match


@dataclass(frozen=True)
class MaskDifference:
    """A layer whose mask in the header is not the one in the checkpoint."""

    layer: str
    size: tuple[int, int]
    """Of the checkpoint's mask, height and width."""
    header_size: tuple[int, int]
    pixels: int | None
    """How many pixels differ; ``None`` where the sizes do."""

    def __str__(self) -> str:
        """In words, for the screen."""
        height, width = self.size
        if self.pixels is None:
            other = "{}x{}".format(*self.header_size)
            return f"{self.layer}: {height}x{width} in the checkpoint, {other} in the header"
        return f"{self.layer}: {self.pixels} of {height * width} pixels differ"


@dataclass(frozen=True)
class HeaderReport:
    """What was done with a header of masks, and how it compares with the checkpoint."""

    path: Path
    layers: tuple[str, ...]
    """The layers that the header has masks for."""
    used: bool
    """True: the weights came without any mask, so these are the header's. False: the checkpoint's
    masks were taken, and what follows says where the header is not the same."""
    differing: tuple[MaskDifference, ...] = ()
    only_in_header: tuple[str, ...] = ()
    """Left without a mask, since the weights were trained without one."""
    only_in_checkpoint: tuple[str, ...] = ()
    """Masked as the checkpoint says."""

    @property
    def agrees(self) -> bool:
        """Whether no mask is other than the header says."""
        return not (self.differing or self.only_in_header or self.only_in_checkpoint)

    def lines(self) -> list[str]:
        """The same in words; the first line is the heading of the others."""
        if self.used:
            return [f"{len(self.layers)} masks from {self.path}: the weights came without"]
        if self.agrees:
            return [f"{self.path} holds the checkpoint's own {len(self.layers)} masks"]
        return [
            f"the checkpoint's own were taken; those of {self.path} are others:",
            *map(str, self.differing),
            *(f"{layer}: only in the header; left without a mask" for layer in self.only_in_header),
            *(f"{layer}: only in the checkpoint; masked" for layer in self.only_in_checkpoint),
        ]


@dataclass(frozen=True)
class Published:
    """What :func:`load_published` put into the model."""

    layers: tuple[MaskedLayer, ...]
    """The masked layers, in the order of the model."""
    header: HeaderReport | None
    """``None`` where no header was given."""


def load_published(
    model: nn.Module,
    checkpoint: str | os.PathLike[str],
    header: str | os.PathLike[str] | None = None,
    *,
    example_input: Tensor | None = None,
) -> Published:
    """Load weights and masks of the paper's code into a model, in place; it ends in eval mode.

    Args:
        model: a fresh model with the layer names of the one that was trained.
        checkpoint: ``last.pt`` or ``best_state_dict.pt``; half precision becomes the model's own.
        header: ``bin_mask.h``; its masks are used only where the checkpoint has none.
        example_input: ``[N, C, H, W]``; where given, the sizes of the masks are checked against it.

    Raises:
        ModelError: a file cannot be read, does not fit the model, or a mask has a fault; says
            which.
    """
    state: Mapping[str, Tensor] = load_checkpoint(checkpoint)
    report = None
    if header is not None:
        state, report = with_header(state, model, header)
    load_model(model, state, example_input=example_input)
    return Published(tuple(summary(model)), report)


def with_header(
    state_dict: Mapping[str, Tensor], model: nn.Module, header: str | os.PathLike[str]
) -> tuple[Matched, HeaderReport]:
    """A state_dict with the masks of a header, unless it has masks of its own.

    Args:
        state_dict: what ``load_checkpoint`` gives.
        model: tells which layer an array of the header belongs to.
        header: path of ``bin_mask.h``.

    Returns:
        The state_dict to load, and how the two compare.

    Raises:
        ModelError: the header cannot be read or does not fit the model, or a mask of the
            state_dict has a fault.
    """
    path = Path(header)
    matched = match(model, state_dict)
    given = by_layer(model, read_mask_header(path), path)
    # What the model masks by itself counts where the header speaks of that layer; other names of a
    # layer do not.
    beside = own_mask_entries(model).difference(name + MASK_SUFFIX for name in given)
    first_names = dict(model.named_modules())
    every_name = dict(model.named_modules(remove_duplicate=False))
    beside |= {name + MASK_SUFFIX for name in every_name if name not in first_names}
    own = masks_in({name: tensor for name, tensor in matched.items() if name not in beside})
    if not own:
        added = {name + MASK_SUFFIX: mask for name, mask in given.items()}
        return matched.with_tensors(added), HeaderReport(path, tuple(given), used=True)
    differences = (_difference(name, own[name], given[name]) for name in given if name in own)
    return matched, HeaderReport(
        path,
        tuple(given),
        used=False,
        differing=tuple(difference for difference in differences if difference),
        only_in_header=tuple(name for name in given if name not in own),
        only_in_checkpoint=tuple(name for name in own if name not in given),
    )


def _difference(layer: str, own: Tensor, given: Tensor) -> MaskDifference | None:
    size, header_size = (own.shape[0], own.shape[1]), (given.shape[0], given.shape[1])
    pixels = int((own != given).sum()) if size == header_size else None
    return None if pixels == 0 else MaskDifference(layer, size, header_size, pixels)
