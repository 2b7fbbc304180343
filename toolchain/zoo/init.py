"""Weights for networks that are not trained: to measure speed with, and to begin training from.

The first say nothing about accuracy, but they are sane: activations stay bounded through the
network, and BatchNorm leaves another non-zero constant in each channel of a masked pixel.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from toolchain.sparsity.statistics import measure_statistics

_CALIBRATION = (8, 64, 2)  # images, their height and width, batches


def randomise(model: nn.Module, seed: int, *, in_channels: int = 3, shift: float = 0.0) -> None:
    """Give every weight and BatchNorm statistic of a model a reproducible random value, in place.

    Convolutions get Kaiming-normal weights, BatchNorm random scales and shifts; its running mean
    and variance are then measured on random images. The model ends in eval mode.

    Args:
        model: takes ``[N, in_channels, H, W]`` for any sufficiently large H and W; without masks.
        seed: the same seed gives the same weights.
        in_channels: of the model's input.
        shift: the mean of BatchNorm's shifts. In networks of more than some forty layers every
            activation makes rounding errors grow, to 1e-5 of the output; at 1, where activations
            bend less, they stay at 1e-6, as in a trained network.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.Conv2d):
                fan_in = layer.weight[0].numel()
                layer.weight.normal_(0, math.sqrt(2 / fan_in), generator=generator)
                if layer.bias is not None:
                    layer.bias.normal_(0, 0.1, generator=generator)
            elif isinstance(layer, nn.Linear):
                layer.weight.normal_(0, 1 / math.sqrt(layer.in_features), generator=generator)
                layer.bias.normal_(0, 0.1, generator=generator)
            elif isinstance(layer, nn.BatchNorm2d):
                layer.weight.uniform_(0.5, 1.5, generator=generator)
                layer.bias.normal_(shift, 0.3, generator=generator)
    images, size, batches = _CALIBRATION
    noise = (
        torch.randn(images, in_channels, size, size, generator=generator) for _ in range(batches)
    )
    measure_statistics(model, noise)
    model.eval()


def initialise(model: nn.Module) -> None:
    """Give a model the weights that training from nothing begins with, in place.

    Convolutions get Kaiming-normal weights by their outputs (He and others, 2015), BatchNorm and
    linear layers torch's own; all of it from torch's global generator.
    """
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d | nn.Linear):
            layer.reset_parameters()
