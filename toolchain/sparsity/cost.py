"""What a whole network costs: multiply-accumulates of one image, and parameters."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from toolchain.sparsity.masked_conv import MaskedConv2d
from toolchain.sparsity.modes import evaluating


@dataclass(frozen=True)
class ModelCost:
    """The cost of a network, as :func:`model_cost` counts it."""

    macs: int
    """Multiply-accumulates of one image, masks left out of account."""
    macs_kept: int
    """Multiply-accumulates of one image at the pixels that masks keep; ``macs`` without masks."""
    parameters: int


def model_cost(model: nn.Module, example_input: Tensor) -> ModelCost:
    """Count a network's multiply-accumulates and parameters by one forward pass.

    Counted are ``Conv2d`` (grouped and depthwise ones too) and ``Linear`` layers, as often as they
    are used; biases, normalisation, activations and pools are not, which is the usual custom.

    Args:
        model: any module that takes one tensor; its modes are put back.
        example_input: ``[N, ...]``; the figures are those of one of the N examples.
    """
    macs = kept = 0

    def count(layer: nn.Module, _inputs: object, output: Tensor) -> None:
        nonlocal macs, kept
        if isinstance(layer, nn.Linear):
            once = output.numel() // len(example_input) * layer.in_features
            macs, kept = macs + once, kept + once
        elif isinstance(layer, nn.Conv2d):
            pixels = output.shape[-2] * output.shape[-1]
            weights = layer.weight.numel()
            macs += weights * pixels
            kept += weights * (int(layer.mask.sum()) if isinstance(layer, MaskedConv2d) else pixels)

    handles = [
        layer.register_forward_hook(count, prepend=True)  # before hooks of the model
        for layer in model.modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
    ]
    try:
        with evaluating(model):
            model(example_input.clone())  # it may write into it
    finally:
        for handle in handles:
            handle.remove()
    return ModelCost(macs, kept, sum(parameter.numel() for parameter in model.parameters()))
