"""Convolutions and pools of ONNX: how they are padded, and what torch's own are of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from toolchain.convert.from_onnx.call import Call

Pads = list[tuple[int, int]]
"""Of each spatial axis: before and behind."""


@dataclass(frozen=True)
class Window:
    """The numbers of a convolution or a pool, one for each spatial axis."""

    kernel: list[int]
    stride: list[int]
    dilation: list[int]
    pads: Pads

    @property
    def even(self) -> bool:
        """Whether each axis is padded alike at both ends."""
        return all(before == behind for before, behind in self.pads)

    @property
    def before(self) -> list[int]:
        """Of each axis, before it."""
        return [before for before, _ in self.pads]


def window(call: Call, kernel: Sequence[int]) -> Window:
    """The numbers of an operator on its first input.

    Args:
        call: with ``pads`` or ``auto_pad``.
        kernel: its sizes.
    """
    axes = len(kernel)
    stride = list(call.attribute("strides", [1] * axes))
    dilation = list(call.attribute("dilations", [1] * axes))
    auto = call.attribute("auto_pad", "NOTSET")
    numbers = list(call.attribute("pads", [0] * 2 * axes))
    pads = list(zip(numbers[:axes], numbers[axes:], strict=True))
    if auto == "VALID":
        pads = [(0, 0)] * axes
    elif auto in ("SAME_UPPER", "SAME_LOWER"):
        pads = []
        for size, k, s, d in zip(call[0].shape[2:], kernel, stride, dilation, strict=True):
            spare = max(0, (math.ceil(size / s) - 1) * s + (k - 1) * d + 1 - size)
            less, more = spare // 2, spare - spare // 2
            pads.append((less, more) if auto == "SAME_UPPER" else (more, less))
    return Window(list(kernel), stride, dilation, pads)


def padded(x: Tensor, pads: Pads, value: float = 0.0) -> Tensor:
    """``[N, C, *in]`` with more at its ends."""
    if not any(map(any, pads)):
        return x
    return F.pad(x, [size for pair in reversed(pads) for size in pair], value=value)


def convolution(call: Call) -> tuple[nn.Module, Pads]:
    """A convolution of constant weights, and what its input is padded with before it."""
    weight, bias = _weights(call)
    numbers = window(call, list(weight.shape[2:]))
    kinds = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
    axes, groups = len(numbers.kernel), int(call.attribute("group", 1))
    if axes not in kinds:
        raise call.fault(f"is a convolution of {axes} axes")
    layer = kinds[axes](
        weight.shape[1] * groups,
        weight.shape[0],
        tuple(numbers.kernel),  # type: ignore[arg-type]
        tuple(numbers.stride),  # type: ignore[arg-type]
        tuple(numbers.before) if numbers.even else 0,  # type: ignore[arg-type]
        tuple(numbers.dilation),  # type: ignore[arg-type]
        groups,
        bias is not None,
    )
    return _filled(layer, weight, bias), [] if numbers.even else numbers.pads


def transposed_convolution(call: Call) -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    """A transposed convolution of constant weights, and what is cut off its output."""
    weight, bias = _weights(call)
    numbers = window(call, list(weight.shape[2:]))
    axes, groups = len(numbers.kernel), int(call.attribute("group", 1))
    kinds = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d}
    if axes not in kinds:
        raise call.fault(f"is a transposed convolution of {axes} axes")
    extra = list(call.attribute("output_padding", [0] * axes))
    whole = [
        (size - 1) * s + (k - 1) * d + 1 + more
        for size, k, s, d, more in zip(
            call[0].shape[2:], numbers.kernel, numbers.stride, numbers.dilation, extra, strict=True
        )
    ]
    pads = numbers.pads
    wanted = call.attribute("output_shape")
    if wanted is not None or call.attribute("auto_pad", "NOTSET").startswith("SAME"):
        wanted = wanted or [n * s for n, s in zip(call[0].shape[2:], numbers.stride, strict=True)]
        upper = call.attribute("auto_pad", "NOTSET") == "SAME_UPPER"
        pads = []
        for size, keep in zip(whole, wanted[-axes:], strict=True):
            spare = max(0, size - keep)
            less, more = spare // 2, spare - spare // 2
            pads.append((less, more) if upper else (more, less))
    even = all(before == behind for before, behind in pads)
    layer = kinds[axes](
        weight.shape[0],
        weight.shape[1] * groups,
        tuple(numbers.kernel),  # type: ignore[arg-type]
        tuple(numbers.stride),  # type: ignore[arg-type]
        tuple(before for before, _ in pads) if even else 0,  # type: ignore[arg-type]
        tuple(extra),  # type: ignore[arg-type]
        groups,
        bias is not None,
        tuple(numbers.dilation),  # type: ignore[arg-type]
    )

    def cut(y: Tensor) -> Tensor:
        for axis, (before, behind) in enumerate(pads if not even else []):
            y = y.narrow(2 + axis, before, y.shape[2 + axis] - before - behind)
        return y

    return _filled(layer, weight, bias), cut


def _weights(call: Call) -> tuple[Tensor, Tensor | None]:
    if 1 not in call.constants or (call.has(2) and 2 not in call.constants):
        raise call.fault(
            "its weights depend on the network's input", hint="layers have constant weights here"
        )
    return call.constants[1], call.constants.get(2)


def _filled(layer: nn.Module, weight: Tensor, bias: Tensor | None) -> nn.Module:
    layer.load_state_dict({"weight": weight} if bias is None else {"weight": weight, "bias": bias})
    return layer.eval()


# --- pools -----------------------------------------------------------------------------------

_MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVERAGE = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def max_pool(call: Call) -> Tensor:
    """``MaxPool``."""
    if len(call.node.outputs) > 1 and call.node.outputs[1]:
        raise call.fault("where a maximum stands is not to be had", "use its value alone")
    numbers = window(call, call.attribute("kernel_shape"))
    x, pads = call[0], numbers.before
    if not numbers.even or any(2 * p > k for p, k in zip(pads, numbers.kernel, strict=True)):
        x, pads = padded(x, numbers.pads, -torch.inf), [0] * len(pads)
    result: Tensor = _MAX[len(pads)](
        x,
        numbers.kernel,
        numbers.stride,
        pads,
        numbers.dilation,
        ceil_mode=bool(call.attribute("ceil_mode", 0)),
    )
    return result


def average_pool(call: Call) -> Tensor:
    """``AveragePool``."""
    numbers = window(call, call.attribute("kernel_shape"))
    if any(dilation != 1 for dilation in numbers.dilation):
        raise call.fault("is dilated")
    counted = bool(call.attribute("count_include_pad", 0))
    ceil = bool(call.attribute("ceil_mode", 0))
    pool = _AVERAGE[len(numbers.kernel)]
    half = all(2 * p <= k for p, k in zip(numbers.before, numbers.kernel, strict=True))
    if numbers.even and half:
        result: Tensor = pool(
            call[0],
            numbers.kernel,
            numbers.stride,
            numbers.before,
            ceil_mode=ceil,
            count_include_pad=counted,
        )
        return result
    total: Tensor = pool(padded(call[0], numbers.pads), numbers.kernel, numbers.stride, 0, ceil)
    if counted:
        return total
    ones = padded(torch.ones(1, 1, *call[0].shape[2:]), numbers.pads)
    share: Tensor = pool(ones, numbers.kernel, numbers.stride, 0, ceil)
    return total / share
