"""A convolution whose output keeps only the pixels of a fixed binary mask.

The method is that of Grimaldi, Ganji, Lazarevich and Sah (arXiv 2309.06626): one mask a layer, the
same for every channel and every image, multiplied with the convolution's output before BatchNorm.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from toolchain.errors import ModelError
from toolchain.sparsity.modes import evaluating

MASK_SUFFIX = ".mask"


class MaskedConv2d(nn.Conv2d):
    """A ``Conv2d`` with a persistent buffer ``mask``: bool ``[Hout, Wout]``, ``True`` = kept.

    ``forward(x) = conv(x) * mask``, so a masked pixel is 0 in every channel, its bias included.
    After BatchNorm and an activation it is the constant ``act(BN(0))`` of its channel, not 0. Hooks
    of the layer see the masked output.

    Make one with :meth:`from_conv`, or of a model's convolutions with :func:`mask_layers`.
    """

    mask: Tensor
    layer_name: str

    @classmethod
    def from_conv(cls, conv: nn.Conv2d, mask: Tensor, *, name: str = "conv") -> MaskedConv2d:
        """A masked layer beside a convolution; weight and bias are the same parameters.

        Its hooks, attributes and other buffers are the convolution's, too. What is registered with
        one of the two afterwards is not with the other.

        Args:
            conv: a plain ``Conv2d`` or a ``MaskedConv2d``.
            mask: see :func:`clean_mask`.
            name: the layer's name in its model, for messages.

        Raises:
            ModelError: as of :func:`mask_layers`.
        """
        layer = copy(conv)
        for part in vars(nn.Module()):
            setattr(layer, part, copy(getattr(layer, part)))
        return mask_layers({name: layer}, {name: mask})[name]

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (the name that torch gives it)
        """Convolve ``[N, Cin, H, W]`` and mask the result, ``[N, Cout, Hout, Wout]``.

        Raises:
            ModelError: the output's size is not the mask's.
        """
        output = super().forward(input)
        if output.shape[-2:] != self.mask.shape:
            raise _wrong_size(self.layer_name, self.mask, output.shape)
        return output * self.mask.to(output.dtype)

    def set_mask(self, mask: Tensor) -> None:
        """Replace the mask by another one of the same size.

        Raises:
            ModelError: the mask has a fault or another size.
        """
        new = clean_mask(mask, self.layer_name)
        if new.shape != self.mask.shape:
            raise _wrong_size(self.layer_name, new, self.mask.shape)
        self.mask.copy_(new)

    def extra_repr(self) -> str:
        """What ``print(model)`` shows of the layer."""
        plain: str = super().extra_repr()  # type: ignore[no-untyped-call]
        return f"{plain}, kept={int(self.mask.sum())}/{self.mask.numel()}"


@dataclass(frozen=True)
class MaskedLayer:
    """One row of :func:`summary`."""

    name: str
    height: int
    width: int
    kept: int
    """Pixels that are computed, of ``height * width``."""
    macs: int
    """Multiply-accumulates of one image without a mask."""
    tile_rows: int = 1
    """Pixels that the board's micro-kernel computes at once (MR)."""

    @property
    def pixels(self) -> int:
        """Output pixels, kept or not."""
        return self.height * self.width

    @property
    def sparsity(self) -> float:
        """The share of pixels that is skipped, 0 to 1."""
        return 1 - self.kept / self.pixels

    @property
    def macs_kept(self) -> int:
        """Multiply-accumulates of one image with the mask."""
        return self.macs // self.pixels * self.kept

    @property
    def tiles(self) -> int:
        """Tiles that are computed without a mask."""
        return -(-self.pixels // self.tile_rows)

    @property
    def tiles_kept(self) -> int:
        """Tiles that are computed with the mask."""
        return -(-self.kept // self.tile_rows)

    @property
    def rows_wasted(self) -> int:
        """Rows of the last tile that belong to no kept pixel, and are computed all the same."""
        return self.tiles_kept * self.tile_rows - self.kept


def clean_mask(mask: Tensor, name: str) -> Tensor:
    """A mask as bool ``[H, W]``, from bool or any numeric type.

    Leading dimensions of size 1 are dropped (``[1, 1, H, W]`` is a mask too).

    Raises:
        ModelError: not two-dimensional, empty, or a value other than 0 and 1; names the layer.
    """
    plane = mask.detach()
    while plane.dim() > 2 and plane.shape[0] == 1:
        plane = plane[0]
    if plane.dim() != 2 or plane.numel() == 0:
        raise ModelError(
            f"mask of layer '{name}' has shape {list(mask.shape)}; a mask is [height, width]",
            hint="one mask serves all channels and all images of a layer",
        )
    if plane.dtype == torch.bool:
        return plane.clone()
    wrong = plane[(plane != 0) & (plane != 1)]
    if wrong.numel():
        raise ModelError(
            f"mask of layer '{name}' holds {wrong.numel()} values that are not 0 or 1, "
            f"the first is {wrong[0].item()}",
            hint="1 keeps a pixel, 0 skips it; where other numbers mean that, save mask > 0.5",
        )
    return plane != 0


def masked_layers(model: nn.Module) -> dict[str, MaskedConv2d]:
    """Every masked convolution of a model by name, in the order of its modules."""
    return {n: m for n, m in model.named_modules() if isinstance(m, MaskedConv2d)}


def mask_entries(model: nn.Module) -> dict[str, MaskedConv2d]:
    """Every masked convolution by its mask's name in a state_dict.

    A layer that is registered under several names has a mask under each of them.
    """
    return {
        (name + MASK_SUFFIX).removeprefix("."): module
        for name, module in model.named_modules(remove_duplicate=False)
        if isinstance(module, MaskedConv2d)
    }


def own_mask_entries(model: nn.Module) -> set[str]:
    """Names of a model's state_dict that look like a mask's, but are what its own code computes by.

    A module of attention may have a buffer ``mask``, or one that masks pixels itself.
    """
    named = {name for name in model.state_dict() if name.endswith(MASK_SUFFIX)}
    return named.difference(mask_entries(model))


def mask_layers(
    layers: Mapping[str, nn.Conv2d], masks: Mapping[str, Tensor]
) -> dict[str, MaskedConv2d]:
    """Turn convolutions into masked ones, in place: all of them, or none where one cannot be.

    They stay the same objects, wherever they are used, and keep their hooks and attributes.

    Args:
        layers: by name, each a plain ``Conv2d`` or a ``MaskedConv2d``.
        masks: one for each, see :func:`clean_mask`.

    Raises:
        ModelError: a mask has a fault, or a layer does more than convolve: it is of another class
            derived from ``Conv2d``, has a ``forward`` of its own or something called ``mask``.
    """
    planes = {name: _plane(layer, masks[name], name) for name, layer in layers.items()}
    return {name: _masked(layer, planes[name], name) for name, layer in layers.items()}


def _plane(conv: nn.Conv2d, mask: Tensor, name: str) -> Tensor:
    """The mask of a layer that can carry one."""
    if type(conv) not in (nn.Conv2d, MaskedConv2d):
        hint = "only a plain torch.nn.Conv2d can carry a mask; pad in a layer of its own"
        if parametrize.is_parametrized(conv):
            parts = ", ".join(repr(part) for part in cast(nn.ModuleDict, conv.parametrizations))
            hint = (
                "build and save the model without the parametrization: "
                f"torch.nn.utils.parametrize.remove_parametrizations(module, {parts})"
            )
        raise ModelError(
            f"layer '{name}' is a {type(conv).__name__}, which cannot be masked", hint=hint
        )
    if "forward" in vars(conv):
        raise ModelError(
            f"layer '{name}' has a forward function of its own, so it cannot be masked",
            hint="only a plain torch.nn.Conv2d can carry a mask; what is put around it may be a "
            "hook or a layer of its own",
        )
    if not isinstance(conv, MaskedConv2d) and hasattr(conv, "mask"):
        raise ModelError(
            f"layer '{name}' has a 'mask' of its own, which another one would replace",
            hint="leave it out of the layers to mask, or give that another name",
        )
    return clean_mask(mask, name).to(conv.weight.device)


def _masked(conv: nn.Conv2d, plane: Tensor, name: str) -> MaskedConv2d:
    # As torch's parametrize does it: who holds the layer, or hooks into it, need not know.
    conv.__class__ = MaskedConv2d
    masked = cast(MaskedConv2d, conv)
    masked.layer_name = name
    masked.register_buffer("mask", plane)
    return masked


def attach_masks(
    model: nn.Module, masks: Mapping[str, Tensor], *, example_input: Tensor | None = None
) -> None:
    """Turn the named convolutions into :class:`MaskedConv2d`, in place.

    Args:
        model: any module.
        masks: layer name -> mask ``[Hout, Wout]``, bool or numbers that are 0 or 1. A layer that is
            registered under several names may be named by any of them.
        example_input: where given, ``[N, C, H, W]``, the model is run on it once and each mask's
            size is checked against its layer's output. Without it, the first forward pass tells.

    Raises:
        ModelError: no such layer, not a convolution, two masks for one layer, or a mask with a
            fault; names the layer.
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    first_names = {module: name for name, module in model.named_modules()}
    layers: dict[str, nn.Conv2d] = {}
    planes: dict[str, Tensor] = {}
    for name, mask in masks.items():
        layer = modules.get(name)
        if layer is None:
            raise ModelError(
                f"there is a mask for layer '{name}', which the model does not have",
                hint="the checkpoint was made for another model",
            )
        if not isinstance(layer, nn.Conv2d):
            raise ModelError(
                f"there is a mask for layer '{name}', which is a {type(layer).__name__}; "
                "only convolutions can be masked",
                hint="name it after the convolution whose output it multiplies: <layer>.mask",
            )
        first, plane = first_names[layer], _plane(layer, mask, name)
        if not torch.equal(planes.setdefault(first, plane), plane):
            raise ModelError(
                f"layers '{first}' and '{name}' are one, and their masks differ",
                hint="a layer has one mask, however often it is used; two masks need two layers",
            )
        layers[first] = layer
    if example_input is not None:
        for name, shape in output_shapes(model, example_input, layers).items():
            if shape[-2:] != planes[name].shape:
                raise _wrong_size(name, planes[name], shape)
    mask_layers(layers, planes)


@contextmanager
def watch_outputs(
    model: nn.Module, names: Collection[str] | None, see: Callable[[str, Tensor], None]
) -> Iterator[None]:
    """Call ``see(name, output [N, C, H, W])`` for each convolution that a forward pass runs.

    The output is the one that a mask multiplies, before the model's own hooks change it.

    The model is in eval mode and keeps no gradients meanwhile; its modes are put back.

    Args:
        model: any module.
        names: of the layers to watch; ``None`` watches every ``Conv2d``.
        see: called once for each use of a layer.
    """

    def hook(name: str) -> Callable[[nn.Module, object, Tensor], None]:
        return lambda _layer, _inputs, output: see(name, output)

    handles = [
        layer.register_forward_hook(hook(name), prepend=True)
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Conv2d) and (names is None or name in names)
    ]
    try:
        with evaluating(model):
            yield
    finally:
        for handle in handles:
            handle.remove()


def output_shapes(
    model: nn.Module, example_input: Tensor, names: Collection[str] | None = None
) -> dict[str, torch.Size]:
    """The output shape ``[N, C, H, W]`` of each convolution that one forward pass goes through.

    Args:
        model: any module that takes one tensor.
        example_input: ``[N, C, H, W]``.
        names: look at these layers only; the default is every ``Conv2d``.

    Raises:
        ModelError: a layer that is used twice gives outputs of two sizes.
    """
    shapes: dict[str, torch.Size] = {}

    def see(name: str, output: Tensor) -> None:
        if shapes.setdefault(name, output.shape)[-2:] != output.shape[-2:]:
            raise ModelError(
                f"layer '{name}' is used twice, with outputs of "
                f"{_size(shapes[name])} and {_size(output.shape)}: one mask cannot fit both"
            )

    with watch_outputs(model, names, see):
        model(example_input.clone())  # it may write into it
    return shapes


def summary(model: nn.Module, *, tile_rows: int = 1) -> list[MaskedLayer]:
    """One row for each masked convolution, in the order of the model's modules.

    Args:
        model: any module.
        tile_rows: pixels that the board's micro-kernel computes at once (MR).
    """
    return [
        MaskedLayer(
            name=name,
            height=layer.mask.shape[0],
            width=layer.mask.shape[1],
            kept=int(layer.mask.sum()),
            macs=layer.weight.numel() * layer.mask.numel(),
            tile_rows=tile_rows,
        )
        for name, layer in masked_layers(model).items()
    ]


def _size(shape: torch.Size) -> str:
    return f"{shape[-2]}x{shape[-1]}"


def _wrong_size(name: str, mask: Tensor, output: torch.Size) -> ModelError:
    return ModelError(
        f"mask of layer '{name}' is {_size(mask.shape)}, but the layer's output is "
        f"{_size(output)} (height x width)",
        hint="a mask fits one input size only: use the size that the masks were made for",
    )
