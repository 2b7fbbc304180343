"""YOLOv5n, a small detector, with the layer names of the published weights (releases 6 and 7).

The network gives the raw outputs of its three scales; :mod:`toolchain.zoo.detection` turns them
into boxes. It is a backbone of strided convolutions and C3 blocks that ends in spatial pooling, a
neck that goes up the pyramid and down again, and one 1x1 convolution a scale as the head. The other
sizes of the family differ in ``depth`` and ``width`` alone.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from toolchain.sparsity.policies import Pooled
from toolchain.sparsity.sparsify import sparsify
from toolchain.zoo.detection import ANCHORS, STRIDES
from toolchain.zoo.init import randomise

INPUT_SIZE = 640
_HEAD = "model.24."


class Conv(nn.Module):
    """Convolution without a bias, BatchNorm, SiLU; padded so that stride 1 keeps the size."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        kernel: int = 1,
        stride: int = 1,
        padding: int | None = None,
    ) -> None:
        super().__init__()
        padding = kernel // 2 if padding is None else padding
        self.conv = nn.Conv2d(in_channels, channels, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(channels, eps=1e-3, momentum=0.03)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, in_channels, H, W]`` to ``[N, channels, H / stride, W / stride]``."""
        return functional.silu(self.bn(self.conv(x)))


class Bottleneck(nn.Module):
    """A 1x1 and a 3x3 of equal width, and in the backbone a shortcut around them."""

    def __init__(self, channels: int, shortcut: bool) -> None:
        super().__init__()
        self.cv1 = Conv(channels, channels)
        self.cv2 = Conv(channels, channels, 3)
        self._shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """``[N, channels, H, W]`` to the same shape."""
        y = cast(Tensor, self.cv2(self.cv1(x)))
        return x + y if self._shortcut else y


class C3(nn.Module):
    """Two halves of the channels, one through bottlenecks, joined by a 1x1."""

    def __init__(self, in_channels: int, channels: int, count: int, shortcut: bool = True) -> None:
        super().__init__()
        half = channels // 2
        self.cv1 = Conv(in_channels, half)
        self.cv2 = Conv(in_channels, half)
        self.cv3 = Conv(2 * half, channels)
        self.m = nn.Sequential(*(Bottleneck(half, shortcut) for _ in range(count)))

    def forward(self, x: Tensor) -> Tensor:
        """``[N, in_channels, H, W]`` to ``[N, channels, H, W]``."""
        return cast(Tensor, self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), 1)))


class SPPF(nn.Module):
    """Pooling over windows of 5, 9 and 13, as three max pools of 5 one after the other."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.cv1 = Conv(channels, channels // 2)
        self.cv2 = Conv(channels // 2 * 4, channels)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, channels, H, W]`` to the same shape."""
        levels = [cast(Tensor, self.cv1(x))]
        for _ in range(3):
            levels.append(functional.max_pool2d(levels[-1], 5, 1, 2))
        return cast(Tensor, self.cv2(torch.cat(levels, 1)))


class Upsample(nn.Module):
    """Every pixel becomes 2x2 equal ones."""

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, H, W]`` to ``[N, C, 2H, 2W]``."""
        return functional.interpolate(x, scale_factor=2.0, mode="nearest")


class Concat(nn.Module):
    """Channels of several tensors, one after the other."""

    def forward(self, *inputs: Tensor) -> Tensor:
        """``[N, C1, H, W]``, ``[N, C2, H, W]`` ... to ``[N, C1 + C2 + ..., H, W]``."""
        return torch.cat(inputs, 1)


class Detect(nn.Module):
    """The head: a 1x1 convolution for each scale, three anchors a cell.

    The buffer ``anchors`` ``[3, 3, 2]`` (scale, anchor, width and height) is in cells, as in the
    published weights, and no part of the computation.
    """

    anchors: Tensor

    def __init__(self, classes: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        anchors = torch.tensor(ANCHORS) / torch.tensor(STRIDES).reshape(-1, 1, 1)
        self.register_buffer("anchors", anchors)
        outputs = anchors.shape[1] * (5 + classes)
        self.m = nn.ModuleList(nn.Conv2d(width, outputs, 1) for width in widths)

    def forward(self, *features: Tensor) -> tuple[Tensor, ...]:
        """One feature map a scale to as many raw outputs ``[N, 3 * (5 + classes), h, w]``."""
        return tuple(conv(x) for conv, x in zip(self.m, features, strict=True))


class YOLOv5(nn.Module):
    """The network of the YOLOv5 family for images whose sides are multiples of 32.

    Args:
        classes: kinds of objects.
        depth: multiplies how many bottlenecks a C3 block has.
        width: multiplies the channels.
    """

    unneeded = (_HEAD + "anchor_grid",)
    """What files of older releases hold besides: the anchors once more."""

    def __init__(self, classes: int = 80, *, depth: float = 0.33, width: float = 0.25) -> None:
        super().__init__()
        # Channels at strides 2, 4, 8, 16 and 32; multiples of 8.
        c1, c2, c3, c4, c5 = (-int(-c * width // 8) * 8 for c in (64, 128, 256, 512, 1024))

        def count(blocks: int) -> int:
            return max(round(blocks * depth), 1)

        # What each layer reads: results of other layers by number, -1 for the one before.
        layers: list[tuple[nn.Module, tuple[int, ...]]] = [
            (Conv(3, c1, 6, 2, 2), (-1,)),
            (Conv(c1, c2, 3, 2), (-1,)),
            (C3(c2, c2, count(3)), (-1,)),
            (Conv(c2, c3, 3, 2), (-1,)),
            (C3(c3, c3, count(6)), (-1,)),
            (Conv(c3, c4, 3, 2), (-1,)),
            (C3(c4, c4, count(9)), (-1,)),
            (Conv(c4, c5, 3, 2), (-1,)),
            (C3(c5, c5, count(3)), (-1,)),
            (SPPF(c5), (-1,)),
            # up the pyramid
            (Conv(c5, c4), (-1,)),
            (Upsample(), (-1,)),
            (Concat(), (-1, 6)),
            (C3(2 * c4, c4, count(3), shortcut=False), (-1,)),
            (Conv(c4, c3), (-1,)),
            (Upsample(), (-1,)),
            (Concat(), (-1, 4)),
            (C3(2 * c3, c3, count(3), shortcut=False), (-1,)),
            # and down again
            (Conv(c3, c3, 3, 2), (-1,)),
            (Concat(), (-1, 14)),
            (C3(2 * c3, c4, count(3), shortcut=False), (-1,)),
            (Conv(c4, c4, 3, 2), (-1,)),
            (Concat(), (-1, 10)),
            (C3(2 * c4, c5, count(3), shortcut=False), (-1,)),
            (Detect(classes, (c3, c4, c5)), (17, 20, 23)),
        ]
        self.model = nn.ModuleList(layer for layer, _ in layers)
        self._sources = [sources for _, sources in layers]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Images to raw outputs, before any sigmoid.

        Args:
            x: ``[N, 3, H, W]``, RGB, 0 to 1.

        Returns:
            ``[N, 3 * (5 + classes), H / s, W / s]`` for the strides ``s`` 8, 16 and 32.
        """
        results = [x]  # the result of layer n stands at n + 1
        for layer, sources in zip(self.model, self._sources, strict=True):
            results.append(layer(*(results[-1 if n < 0 else n + 1] for n in sources)))
        return cast(tuple[Tensor, ...], results[-1])


def all_but_head(name: str, conv: nn.Conv2d) -> bool:  # noqa: ARG001
    """Choose every convolution that is not the head's, whose masked outputs would be detections."""
    return not name.startswith(_HEAD)


def yolov5n(
    sparsity: float = 0.0, seed: int = 0, classes: int = 80, *, size: int = INPUT_SIZE
) -> YOLOv5:
    """YOLOv5n, 1,872,157 parameters for 80 classes, with random weights.

    The layer names are the published ones, so that published weights load into it. (The 1,867,405
    parameters that are given for it, too, are those after BatchNorm is folded.)

    Args:
        sparsity: mask this share of the pixels of every convolution but the head's three, 1x1 ones
            included; 0 lays no masks.
        seed: of the weights and the masks; the weights do not depend on the sparsity.
        classes: kinds of objects.
        size: height and width of the images that the masks fit, a multiple of 32.
    """
    with torch.random.fork_rng(devices=[]):  # the constructors draw weights, which are not kept
        model = YOLOv5(classes)
    randomise(model, seed, shift=1.0)
    if sparsity:
        example = torch.zeros(1, 3, size, size)
        sparsify(model, example, Pooled(), sparsity, select=all_but_head, seed=seed)
    return model.eval()
