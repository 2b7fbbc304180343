"""Residual networks of basic blocks, with the layer names of the published ResNet18 weights.

Architecture: He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition" (2016).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from toolchain.models.init import randomise
from toolchain.sparsity.planes import only_3x3, sparsify


@dataclass(frozen=True)
class Stem:
    """The first convolution of a residual network."""

    kernel: int
    stride: int
    pool: bool
    """Followed by a max pool of 3x3, stride 2."""


IMAGENET_STEM = Stem(kernel=7, stride=2, pool=True)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, which is a 1x1 convolution where the shape changes."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or in_channels != channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        """``[N, in_channels, H, W]`` to ``[N, channels, ceil(H/stride), ceil(W/stride)]``."""
        y = functional.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        shortcut = x if self.downsample is None else self.downsample(x)
        return functional.relu(y + shortcut)


class ResNet(nn.Module):
    """A stem, up to nine stages of basic blocks, an average pool and a linear classifier.

    Args:
        blocks: how many blocks each stage has.
        widths: the channels of each stage; the stem has those of the first.
        strides: the stride of each stage's first block.
        stem: the first convolution.
        in_channels: of the image.
        classes: outputs of the classifier.
    """

    def __init__(
        self,
        blocks: Sequence[int],
        widths: Sequence[int],
        strides: Sequence[int],
        *,
        stem: Stem = IMAGENET_STEM,
        in_channels: int = 3,
        classes: int = 1000,
    ) -> None:
        super().__init__()
        channels = widths[0]
        self.conv1 = nn.Conv2d(
            in_channels, channels, stem.kernel, stem.stride, stem.kernel // 2, bias=False
        )
        self.bn1 = nn.BatchNorm2d(channels)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if stem.pool else nn.Identity()
        self._stages = len(blocks)
        for index, (count, width, stride) in enumerate(
            zip(blocks, widths, strides, strict=True), start=1
        ):
            stage = nn.Sequential()
            for number in range(count):
                stage.append(BasicBlock(channels, width, stride if number == 0 else 1))
                channels = width
            self.add_module(f"layer{index}", stage)
        self.fc = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images ``[N, in_channels, H, W]`` to logits ``[N, classes]``."""
        x = self.maxpool(functional.relu(self.bn1(self.conv1(x))))
        for index in range(1, self._stages + 1):
            x = self.get_submodule(f"layer{index}")(x)
        x = functional.adaptive_avg_pool2d(x, 1).flatten(1)
        return cast(Tensor, self.fc(x))


def resnet18(sparsity: float = 0.0, seed: int = 0) -> ResNet:
    """ResNet18 for ImageNet, 11,689,512 parameters, 224x224, with random weights.

    The layer names are the published ones, so that published weights load into it.

    Args:
        sparsity: mask this share of the pixels of every 3x3 convolution; 0 lays no masks.
        seed: of the weights and the masks; the weights do not depend on the sparsity.
    """
    with torch.device("meta"):
        model = ResNet((2, 2, 2, 2), (64, 128, 256, 512), (1, 2, 2, 2))
    model.to_empty(device="cpu")
    randomise(model, seed)
    if sparsity:
        sparsify(model, torch.zeros(1, 3, 224, 224), sparsity, select=only_3x3, seed=seed)
    return model.eval()


def resnet18_s10() -> ResNet:
    """:func:`resnet18` with a tenth of the pixels of every 3x3 convolution masked."""
    return resnet18(0.1)


def resnet18_s20() -> ResNet:
    """:func:`resnet18` with a fifth of the pixels of every 3x3 convolution masked."""
    return resnet18(0.2)


def resnet18_s30() -> ResNet:
    """:func:`resnet18` with three tenths of the pixels of every 3x3 convolution masked."""
    return resnet18(0.3)
