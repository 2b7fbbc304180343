"""Residual networks, with the layer names of the published ResNet18 and ResNet50 weights.

Architecture: He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition" (2016). A
bottleneck has its stride on the 3x3 convolution, as the published weights want it; the paper has it
on the first 1x1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from toolchain.sparsity.policies import POLICIES, Pooled
from toolchain.sparsity.selection import KERNELS, every_conv
from toolchain.sparsity.sparsify import sparsify
from toolchain.zoo.init import randomise


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

    expansion: ClassVar[int] = 1
    """Channels of the result over those that a stage is as wide as."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = _downsample(in_channels, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, in_channels, H, W]`` to ``[N, channels, ceil(H/stride), ceil(W/stride)]``."""
        y = functional.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        shortcut = x if self.downsample is None else self.downsample(x)
        return functional.relu(y + shortcut)


class Bottleneck(nn.Module):
    """Reduce with a 1x1, filter with a 3x3, expand fourfold with a 1x1; and a shortcut."""

    expansion: ClassVar[int] = 4

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        wide = channels * self.expansion
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, wide, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(wide)
        self.downsample = _downsample(in_channels, wide, stride)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, in_channels, H, W]`` to ``[N, 4 * channels, ceil(H/stride), ceil(W/stride)]``."""
        y = functional.relu(self.bn1(self.conv1(x)))
        y = functional.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        shortcut = x if self.downsample is None else self.downsample(x)
        return functional.relu(y + shortcut)


def _downsample(in_channels: int, channels: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and in_channels == channels:
        return None
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
    )


class ResNet(nn.Module):
    """A stem, up to nine stages of blocks, an average pool and a linear classifier.

    Args:
        blocks: how many blocks each stage has.
        widths: the channels of each stage, before a bottleneck's expansion; the stem has those of
            the first.
        strides: the stride of each stage's first block.
        block: what the stages are made of.
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
        block: type[BasicBlock | Bottleneck] = BasicBlock,
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
                stage.append(block(channels, width, stride if number == 0 else 1))
                channels = width * block.expansion
            self.add_module(f"layer{index}", stage)
        self.fc = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images ``[N, in_channels, H, W]`` to logits ``[N, classes]``."""
        x = self.maxpool(functional.relu(self.bn1(self.conv1(x))))
        for index in range(1, self._stages + 1):
            x = self.get_submodule(f"layer{index}")(x)
        x = functional.adaptive_avg_pool2d(x, 1).flatten(1)
        return cast(Tensor, self.fc(x))


def resnet18(
    sparsity: float = 0.0,
    seed: int = 0,
    *,
    classes: int = 1000,
    kernels: str = "3x3",
    policy: str = "pooled",
) -> ResNet:
    """ResNet18 for ImageNet, 11,689,512 parameters, 224x224, with random weights.

    The layer names are the published ones, so that published weights load into it.

    Args:
        sparsity: mask this share of the pixels of every 3x3 convolution; 0 lays no masks.
        seed: of the weights and the masks; the weights do not depend on the sparsity.
        classes: outputs of the classifier.
        kernels: which convolutions are masked, a key of
            :data:`toolchain.sparsity.selection.KERNELS`.
        policy: which pixels are, a key of :data:`toolchain.sparsity.policies.POLICIES` that needs
            no data.
    """
    with torch.device("meta"):
        model = ResNet((2, 2, 2, 2), (64, 128, 256, 512), (1, 2, 2, 2), classes=classes)
    model.to_empty(device="cpu")
    randomise(model, seed)
    if sparsity:
        sparsify(
            model,
            torch.zeros(1, 3, 224, 224),
            POLICIES[policy](),
            sparsity,
            select=KERNELS[kernels],
            seed=seed,
        )
    return model.eval()


def resnet50(sparsity: float = 0.0, seed: int = 0, *, classes: int = 1000) -> ResNet:
    """ResNet50 for ImageNet, 25,557,032 parameters, 224x224, with random weights.

    The layer names are the published ones, so that published weights load into it. Half of its work
    is in 1x1 convolutions, so those are masked, too, the ones on shortcuts included.

    Args:
        sparsity: mask this share of the pixels of every convolution; 0 lays no masks.
        seed: of the weights and the masks; the weights do not depend on the sparsity.
        classes: outputs of the classifier.
    """
    with torch.device("meta"):
        model = ResNet(
            (3, 4, 6, 3),
            (64, 128, 256, 512),
            (1, 2, 2, 2),
            block=Bottleneck,
            classes=classes,
        )
    model.to_empty(device="cpu")
    randomise(model, seed, shift=1.0)
    if sparsity:
        sparsify(
            model, torch.zeros(1, 3, 224, 224), Pooled(), sparsity, select=every_conv, seed=seed
        )
    return model.eval()
