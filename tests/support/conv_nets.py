"""Small convolutional networks with masks, drawn by hypothesis, as torch modules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from toolchain.sparsity.masked_conv import MaskedConv2d

Kind = Literal["conv", "depthwise", "pointwise"]
MaskKind = Literal["none", "random", "full", "empty", "single_pixel"]
MaskHow = Literal["own_layer", "left_factor", "four_dimensions", "unsqueezed", "number", "cloned"]
MASK_HOWS: tuple[MaskHow, ...] = (
    "own_layer", "left_factor", "four_dimensions", "unsqueezed", "number", "cloned",
)  # fmt: skip
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "none": nn.Identity,
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "hardtanh": nn.Hardtanh,
    "hardswish": nn.Hardswish,
    "silu": nn.SiLU,
    "sigmoid": nn.Sigmoid,
    "leaky_relu": nn.LeakyReLU,
}


@dataclass(frozen=True)
class Block:
    """A convolution with what follows it."""

    kind: Kind = "conv"
    channels: int = 4
    kernel: int = 3
    stride: int = 1
    dilation: int = 1
    padded: bool = True
    bias: bool = True
    norm: bool = True
    activation: str = "relu"
    mask: MaskKind = "random"
    how: MaskHow = "own_layer"
    residual: bool = False


@dataclass(frozen=True)
class Net:
    """A network: blocks, one after the other."""

    blocks: tuple[Block, ...]
    channels: int = 3
    size: int = 9
    classifier: bool = True
    seed: int = 0

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        """``[N, C, H, W]``."""
        return (1, self.channels, self.size, self.size)

    def build(self) -> nn.Module:
        """The network with random weights, masks and BatchNorm statistics, in eval mode."""
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            return _Network(self).eval()

    def input(self, seed: int = 0) -> Tensor:
        """A random input."""
        return torch.randn(self.input_shape, generator=torch.Generator().manual_seed(seed))


class HandMaskedConv2d(nn.Conv2d):
    """A layer as a user may write it, the mask multiplied in one of several ways."""

    mask: Tensor
    how: MaskHow

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        output = super().forward(input)
        match self.how:
            case "left_factor":
                return self.mask * output
            case "unsqueezed":
                return output * self.mask.unsqueeze(0).unsqueeze(0)
            case "cloned":
                return output * self.mask.clone().to(torch.float32)
        return output * self.mask


class _Network(nn.Module):
    def __init__(self, net: Net) -> None:
        super().__init__()
        self._net = net
        channels = net.channels
        x = torch.zeros(net.input_shape)
        self.convs, self.norms, self.acts = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        shared: dict[tuple[int, int], Tensor] = {}  # layers of one size and kind share a mask
        for index, block in enumerate(net.blocks):
            conv = _convolution(block, channels)
            with torch.no_grad():
                x = conv(x)
            size = (x.shape[2], x.shape[3])
            if block.mask != "none":
                mask = _mask(block.mask, size)
                if block.mask == "random":
                    mask = shared.setdefault(size, mask)
                conv = _masked(conv, mask, block.how, f"convs.{index}")
            channels = x.shape[1]
            self.convs.append(conv)
            self.norms.append(_norm(channels) if block.norm else nn.Identity())
            self.acts.append(ACTIVATIONS[block.activation]())
        if net.classifier:
            self.head = nn.Linear(channels, 5)

    def forward(self, x: Tensor) -> Tensor:
        for block, conv, norm, act in zip(
            self._net.blocks, self.convs, self.norms, self.acts, strict=True
        ):
            y = act(norm(conv(x)))
            x = x + y if block.residual and x.shape == y.shape else y
        if not self._net.classifier:
            return x
        pooled = nn.functional.adaptive_avg_pool2d(x, 1).flatten(1)
        result: Tensor = self.head(pooled)
        return result


def _convolution(block: Block, channels: int) -> nn.Conv2d:
    kernel = 1 if block.kind == "pointwise" else block.kernel
    out = channels if block.kind == "depthwise" else block.channels
    return nn.Conv2d(
        channels,
        out,
        kernel,
        stride=block.stride,
        padding=block.dilation * (kernel // 2) if block.padded else 0,
        dilation=block.dilation,
        groups=channels if block.kind == "depthwise" else 1,
        bias=block.bias,
    )


def _mask(kind: MaskKind, size: tuple[int, int]) -> Tensor:
    mask = torch.zeros(size, dtype=torch.bool)
    if kind == "random":
        mask = torch.rand(size) > 0.3
        mask[0, 0], mask[-1, -1] = True, False
    elif kind == "full":
        mask[:] = True
    elif kind == "single_pixel":
        mask[size[0] // 2, size[1] // 3] = True
    return mask


def _masked(conv: nn.Conv2d, mask: Tensor, how: MaskHow, name: str) -> nn.Conv2d:
    if how == "own_layer":
        return MaskedConv2d.from_conv(conv, mask, name=name)
    conv.__class__ = HandMaskedConv2d
    assert isinstance(conv, HandMaskedConv2d)
    conv.how = how
    value = mask[None, None] if how == "four_dimensions" else mask
    if how == "number":
        value = value.to(torch.float32)
    conv.register_buffer("mask", value)
    return conv


def _norm(channels: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels)
    nn.init.normal_(norm.weight, 1, 0.3)
    nn.init.normal_(norm.bias, 0.3, 1)  # BN(0) is not 0: a mask that writes zeros is wrong
    assert norm.running_mean is not None
    assert norm.running_var is not None
    nn.init.normal_(norm.running_mean, 0, 0.5)
    nn.init.uniform_(norm.running_var, 0.5, 2)
    return norm


@st.composite
def nets(draw: st.DrawFn, max_blocks: int = 3) -> Net:
    """Any small network: strides 1 and 2, dilation, padding or none, every kind of mask."""
    blocks = []
    size = draw(st.integers(9, 14))
    left = size
    for _ in range(draw(st.integers(1, max_blocks))):
        kind: Kind = draw(st.sampled_from(("conv", "depthwise", "pointwise")))
        stride = draw(st.sampled_from([1, 1, 2]))
        dilation = draw(st.sampled_from([1, 1, 2]))
        reach = (3 - 1) * dilation + 1
        padded = draw(st.booleans()) or left <= reach + 2
        if not padded and kind != "pointwise":
            left -= reach - 1
        left = -(-left // stride)
        blocks.append(
            Block(
                kind=kind,
                channels=draw(st.integers(1, 9)),
                stride=stride,
                dilation=dilation,
                padded=padded,
                bias=draw(st.booleans()),
                norm=draw(st.sampled_from([True, True, False])),
                activation=draw(st.sampled_from(sorted(ACTIVATIONS))),
                mask=draw(
                    st.sampled_from(("random", "random", "none", "full", "empty", "single_pixel"))
                ),
                how=draw(st.sampled_from(MASK_HOWS)),
                residual=draw(st.booleans()),
            )
        )
    return Net(
        blocks=tuple(blocks),
        channels=draw(st.integers(1, 4)),
        size=size,
        classifier=draw(st.booleans()),
        seed=draw(st.integers(0, 2**16)),
    )


def upsampling() -> nn.Module:
    """A factory for ``--model``: a convolution and a transposed one, for ``[1, 3, 9, 11]``."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.ConvTranspose2d(8, 5, 2, stride=2)
    )


class SharedConvolution(nn.Module):
    """One convolution under two names, which both take part."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 1, 3, padding=1)
        self.second = self.first

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.second(torch.relu(self.first(x)))
        return y
