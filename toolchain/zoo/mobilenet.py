"""MobileNetV2, with the layer names of the published weights.

Architecture: Sandler, Howard, Zhu, Zhmoginov and Chen, "MobileNetV2: Inverted Residuals and Linear
Bottlenecks" (2018). Nearly all of its work is in 1x1 and depthwise convolutions.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from toolchain.sparsity.policies import Pooled
from toolchain.sparsity.selection import every_conv
from toolchain.sparsity.sparsify import sparsify
from toolchain.zoo.init import randomise

# expansion, output channels, blocks, stride of the first
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_STEM, _HEAD = 32, 1280


def conv_bn_relu(
    in_channels: int, channels: int, kernel: int, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """What MobileNets are made of: convolution, BatchNorm and ReLU6, named as torchvision does."""
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU6(),
    )


class InvertedResidual(nn.Module):
    """Expand with a 1x1, filter depthwise with a 3x3, project with a 1x1; add if shapes agree."""

    def __init__(self, in_channels: int, channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = in_channels * expansion
        self.conv = nn.Sequential()
        if expansion != 1:
            self.conv.append(conv_bn_relu(in_channels, hidden, 1))
        self.conv.append(conv_bn_relu(hidden, hidden, 3, stride, groups=hidden))
        self.conv.append(nn.Conv2d(hidden, channels, 1, bias=False))
        self.conv.append(nn.BatchNorm2d(channels))
        self._residual = stride == 1 and in_channels == channels

    def forward(self, x: Tensor) -> Tensor:
        """``[N, in_channels, H, W]`` to ``[N, channels, ceil(H/stride), ceil(W/stride)]``."""
        y = cast(Tensor, self.conv(x))
        return x + y if self._residual else y


class MobileNetV2(nn.Module):
    """MobileNetV2 of width 1 for ``[N, 3, 224, 224]``."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.features = nn.Sequential(conv_bn_relu(3, _STEM, 3, 2))
        width = _STEM
        for expansion, channels, count, stride in _STAGES:
            for number in range(count):
                step = stride if number == 0 else 1
                self.features.append(InvertedResidual(width, channels, step, expansion))
                width = channels
        self.features.append(conv_bn_relu(width, _HEAD, 1))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(_HEAD, classes))

    def forward(self, x: Tensor) -> Tensor:
        """Images ``[N, 3, H, W]`` to logits ``[N, classes]``."""
        x = functional.adaptive_avg_pool2d(self.features(x), 1).flatten(1)
        return cast(Tensor, self.classifier(x))


def mobilenet_v2(sparsity: float = 0.0, seed: int = 0, *, classes: int = 1000) -> MobileNetV2:
    """MobileNetV2, 3,504,872 parameters, 224x224, with random weights.

    The layer names are the published ones, so that published weights load into it.

    Args:
        sparsity: mask this share of the pixels of every convolution, 1x1 and depthwise ones
            included; 0 lays no masks.
        seed: of the weights and the masks; the weights do not depend on the sparsity.
        classes: outputs of the classifier.
    """
    with torch.device("meta"):
        model = MobileNetV2(classes)
    model.to_empty(device="cpu")
    randomise(model, seed)
    if sparsity:
        sparsify(
            model, torch.zeros(1, 3, 224, 224), Pooled(), sparsity, select=every_conv, seed=seed
        )
    return model.eval()
