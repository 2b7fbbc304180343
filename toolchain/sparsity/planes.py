"""Masks for a whole model out of one random score plane.

The plane has the model's input resolution. Averaged down to the size of each layer's output it
scores that layer's pixels, and the lowest scores are masked: layers of equal resolution and
sparsity get the same mask, and masks of different resolutions cover the same regions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from toolchain.errors import ModelError
from toolchain.sparsity.masked_conv import MaskedConv2d, output_shapes, replace_layer

Size = tuple[int, int]
Select = Callable[[str, nn.Conv2d], bool]


def every_conv(name: str, conv: nn.Conv2d) -> bool:  # noqa: ARG001
    """Choose every convolution."""
    return True


def not_1x1(name: str, conv: nn.Conv2d) -> bool:  # noqa: ARG001
    """Choose every convolution with a kernel larger than 1x1."""
    return tuple(conv.kernel_size) != (1, 1)


def only_3x3(name: str, conv: nn.Conv2d) -> bool:  # noqa: ARG001
    """Choose the convolutions with a 3x3 kernel."""
    return tuple(conv.kernel_size) == (3, 3)


def kept_pixels(pixels: int, sparsity: float) -> int:
    """How many of ``pixels`` a mask keeps: ``pixels - round(sparsity * pixels)``.

    Raises:
        ModelError: the sparsity is not between 0 and 1.
    """
    if not 0 <= sparsity <= 1:
        raise ModelError(
            f"sparsity {sparsity:g} is not between 0 and 1", hint="0.2 skips a fifth of the pixels"
        )
    return pixels - round(sparsity * pixels)


def random_plane(size: Size, generator: torch.Generator) -> Tensor:
    """A score plane ``[height, width]``, uniform in [0, 1)."""
    return torch.rand(size, generator=generator)


def mask_from_plane(plane: Tensor, size: Size, sparsity: float) -> Tensor:
    """The bool mask ``size`` that keeps the best scores of a plane; ties go by position."""
    scores = functional.adaptive_avg_pool2d(plane[None, None], size).flatten()
    masked = scores.numel() - kept_pixels(scores.numel(), sparsity)
    mask = torch.ones(scores.numel(), dtype=torch.bool)
    mask[scores.argsort(stable=True)[:masked]] = False
    return mask.reshape(size)


def masks_from_plane(
    plane: Tensor, sizes: Mapping[str, Size], sparsity: float
) -> dict[str, Tensor]:
    """Masks for layers by name; layers of equal size share one tensor."""
    by_size = {size: mask_from_plane(plane, size, sparsity) for size in set(sizes.values())}
    return {name: by_size[size] for name, size in sizes.items()}


def sparsify(
    model: nn.Module,
    example_input: Tensor,
    sparsity: float,
    *,
    select: Select = not_1x1,
    seed: int = 0,
    generator: torch.Generator | None = None,
) -> dict[str, MaskedConv2d]:
    """Mask a model's convolutions in place, with masks from one random plane.

    Args:
        model: any module that takes one tensor.
        example_input: ``[N, C, H, W]``; masks fit this size only.
        sparsity: the share of output pixels to skip, 0 to 1; a layer of ``H*W`` pixels keeps
            ``H*W - round(sparsity * H*W)``.
        select: which convolutions, by name and layer.
        seed: of the plane; the same seed gives the same masks.
        generator: draw the plane from this one, in place of a new one with ``seed``.

    Returns:
        The masked layers by name.

    Raises:
        ModelError: the sparsity is out of range, or a chosen layer cannot be masked.
    """
    chosen = {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Conv2d) and select(name, layer)
    }
    sizes = {
        name: (shape[-2], shape[-1])
        for name, shape in output_shapes(model, example_input, chosen).items()
    }
    if generator is None:
        generator = torch.Generator().manual_seed(seed)
    height, width = example_input.shape[-2:]
    masks = masks_from_plane(random_plane((height, width), generator), sizes, sparsity)
    layers = {
        name: MaskedConv2d.from_conv(chosen[name], mask, name=name) for name, mask in masks.items()
    }
    for name, layer in layers.items():
        replace_layer(model, name, layer)
    return layers
