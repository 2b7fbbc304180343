"""Networks masked, run and saved as the paper's own training code does it, and by none of ours.

What it writes was learnt from its source (github: Deeplite/activ-sparse): the shapes, the types and
the layout below are its own; the code is not.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from toolchain.zoo.init import randomise
from toolchain.zoo.resnet import ResNet

SIZE = 48


def small_resnet() -> ResNet:
    """ResNet18 but for its widths: the published names, in a network that takes milliseconds."""
    model = ResNet((2, 2, 2, 2), (4, 6, 8, 10), (1, 2, 2, 2), classes=7)
    randomise(model, 5)
    return model


def random_masks(model: nn.Module, size: int, *, sparsity: float, seed: int) -> dict[str, Tensor]:
    """A bool mask ``[H, W]`` for each convolution that is not 1x1, as the paper's ResNet18 has.

    Each skips ``round(sparsity * H * W)`` pixels.
    """
    generator = torch.Generator().manual_seed(seed)
    masks: dict[str, Tensor] = {}
    hooks = []
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Conv2d) and layer.kernel_size != (1, 1):

            def draw(_layer: nn.Module, _inputs: object, output: Tensor, name: str = name) -> None:
                pixels = output.shape[2] * output.shape[3]
                order = torch.randperm(pixels, generator=generator)
                masks[name] = (order >= round(sparsity * pixels)).view(output.shape[2:])

            hooks.append(layer.register_forward_hook(draw))
    with torch.no_grad():
        model.eval()(torch.zeros(1, 3, size, size))
    for hook in hooks:
        hook.remove()
    return masks


def mask_by_hooks(model: nn.Module, masks: Mapping[str, Tensor]) -> nn.Module:
    """Multiply the outputs of convolutions by float masks ``[C, H, W]``, kept as buffers."""

    def multiply(layer: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        return output * layer.get_buffer("mask").tile(output.shape[0], 1, 1, 1)

    for name, mask in masks.items():
        conv = model.get_submodule(name)
        assert isinstance(conv, nn.Conv2d)
        conv.register_buffer("mask", mask.float().tile(conv.out_channels, 1, 1))
        conv.register_forward_hook(multiply)
    return model


def publish(model: nn.Module, path: Path, *, prefix: str = "") -> nn.Module:
    """Save the state_dict of a network that :func:`mask_by_hooks` masked, in half precision.

    Args:
        model: is not changed.
        path: of the checkpoint.
        prefix: ``module.`` is what a run on several GPUs writes.

    Returns:
        The network that the file holds, hooks included, in float32.
    """
    half = copy.deepcopy(model).half()
    torch.save({prefix + name: tensor for name, tensor in half.state_dict().items()}, path)
    return half.float().eval()


def header_text(masks: Mapping[str, Tensor]) -> str:
    """``bin_mask.h`` of masks by layer name, to the blank and comma."""
    lines = []
    for name, mask in masks.items():
        height, width = mask.shape
        array = name.replace(".", "_").upper()
        lines.append(f"const uint8_t {array}[{height}][{width}] = {{")
        lines += [f"    {{ {', '.join(map(str, row))} }}," for row in mask.int().tolist()]
        lines.append("  };")
    return "\n".join(lines) + "\n\n"


def write_header(path: Path, masks: Mapping[str, Tensor]) -> Path:
    """Write :func:`header_text`."""
    path.write_text(header_text(masks))
    return path
