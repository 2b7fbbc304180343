"""Networks of published rows that the zoo does not have, with random weights."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from toolchain.zoo.init import randomise
from toolchain.zoo.mobilenet import conv_bn_relu

# Output channels and stride of each pair of a depthwise and a 1x1 convolution: Howard et al.,
# "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications", table 1.
_PAIRS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2),
          (1024, 1))  # fmt: skip
_STEM = 32


class MobileNetV1(nn.Module):
    """MobileNetV1 of width 1 for ``[N, 3, H, W]``."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.features = nn.Sequential(conv_bn_relu(3, _STEM, 3, 2))
        width = _STEM
        for channels, stride in _PAIRS:
            self.features.append(conv_bn_relu(width, width, 3, stride, groups=width))
            self.features.append(conv_bn_relu(width, channels, 1))
            width = channels
        self.classifier = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images ``[N, 3, H, W]`` to logits ``[N, classes]``."""
        x = functional.adaptive_avg_pool2d(self.features(x), 1).flatten(1)
        return cast(Tensor, self.classifier(x))


def mobilenet_v1(seed: int = 0) -> MobileNetV1:
    """MobileNetV1, 4,231,976 parameters.

    Args:
        seed: of the weights.
    """
    with torch.device("meta"):
        model = MobileNetV1()
    model.to_empty(device="cpu")
    randomise(model, seed)
    return model.eval()
