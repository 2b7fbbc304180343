"""What a network of :mod:`support.masked_nets` computes: by torch, quantised types in integers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from support.masked_nets import Net
from support.tflite_writer import Array, Quantization, quantize

_UPPER = {None: None, "relu": None, "relu6": 6.0}


@dataclass(frozen=True)
class Value:
    """``[batch, channels, height, width]``: floats, or integers as float64."""

    data: Tensor
    steps: float = 0
    """How many steps a quantised value may be off: ADD of XNNPACK rounds its factors."""

    @property
    def array(self) -> Array:
        """``[batch, height, width, channels]``."""
        result: Array = self.data.permute(0, 2, 3, 1).numpy()
        return result


def expected(net: Net, x: Array) -> list[Value]:
    """The outputs for one input."""
    data = torch.from_numpy(x).permute(0, 3, 1, 2)
    values = [Value(data.double() if net.is_quantized else data)]
    for number, step in enumerate(net.steps):
        sources = [values[i] for i in step.inputs]
        first = sources[0]
        worst = max(source.steps for source in sources)
        match step.op:
            case "convolution" | "depthwise":
                value = _convolution(net, number, first)
            case "add":
                value = _add(net, number, sources)
            case "concatenate":
                value = Value(torch.cat([source.data for source in sources], 1), worst)
            case "max_pool":
                value = Value(torch.nn.functional.max_pool2d(first.data, step.kernel, 1), worst)
            case "hard_swish":
                value = Value(torch.nn.functional.hardswish(first.data))
            case "scale_channels":
                factors = torch.from_numpy(net.parameters(number).fill)[:, None, None]
                value = Value(first.data * factors)
            case "gate":
                parameters = net.parameters(number)
                mixed = torch.nn.functional.conv2d(
                    first.data.mean((2, 3), keepdim=True),
                    torch.from_numpy(parameters.filters).permute(0, 3, 1, 2),
                    torch.from_numpy(parameters.bias),
                )
                value = Value(first.data * mixed.sigmoid())
        if step.mask is not None:
            mask = torch.from_numpy(step.mask.pixels(step.shape[:2]))
            value = Value(torch.where(mask, value.data, _fill(net, number)), value.steps)
        values.append(value)
    return [values[i] for i in net.outputs]


def _fill(net: Net, number: int) -> Tensor:
    fill = net.parameters(number).fill
    if net.is_quantized:
        fill = quantize(fill, net.quantization(number + 1), net.dtype).astype(np.float64)
    return torch.from_numpy(fill)[:, None, None]


def _convolution(net: Net, number: int, source: Value) -> Value:
    step = net.steps[number]
    if not net.is_quantized:
        parameters = net.parameters(number)
        data = _convolve(net, number, source.data, parameters.filters, parameters.bias)
        return Value(data if step.activation is None else data.clamp(0, _UPPER[step.activation]))
    before, after = net.quantization(step.inputs[0]), net.quantization(number + 1)
    quantized = net.quantized_filters(number)
    filters = quantized.filters.astype(np.float64) - quantized.filters_as.zero_point
    sums = _convolve(net, number, source.data - before.zero_point, filters, quantized.bias)
    # In the runtime's precision and order, so that nothing is rounded otherwise.
    factors = np.float32(before.scales[0]) * np.array(quantized.filters_as.scales, np.float32)
    scales = torch.from_numpy(factors / np.float32(after.scales[0]))[:, None, None]
    rounded = torch.round(sums.float() * scales).double() + after.zero_point
    steps = 0.0
    if source.steps:
        axes = (0, 1, 2) if step.op == "depthwise" else (1, 2, 3)
        weight = torch.from_numpy(np.abs(filters).sum(axis=axes)) * scales.flatten()
        steps = float(np.ceil(source.steps * float(weight.max()))) + 1
    return Value(_limit(rounded, after, net.dtype, step.activation), steps)


def _convolve(net: Net, number: int, source: Tensor, filters: Array, bias: Array) -> Tensor:
    step = net.steps[number]
    height, width, channels = net.shapes[step.inputs[0]]
    pads = [0, 0, 0, 0]
    if step.padding == "SAME":
        pads = []
        for size in (width, height):
            total = max(0, (-(-size // step.stride) - 1) * step.stride + step.kernel - size)
            pads += [total // 2, total - total // 2]
    depthwise = step.op == "depthwise"
    order = (3, 0, 1, 2) if depthwise else (0, 3, 1, 2)
    return torch.nn.functional.conv2d(
        torch.nn.functional.pad(source, pads),
        torch.from_numpy(filters).permute(*order).to(source.dtype),
        torch.from_numpy(bias).to(source.dtype),
        stride=step.stride,
        groups=channels if depthwise else 1,
    )


def _add(net: Net, number: int, sources: list[Value]) -> Value:
    step = net.steps[number]
    if not net.is_quantized:
        return Value(sources[0].data + sources[1].data)
    after = net.quantization(number + 1)
    total, steps = torch.zeros_like(sources[0].data), 1.0
    for value, source in zip(step.inputs, sources, strict=True):
        held = net.quantization(value)
        ratio = held.scales[0] / after.scales[0]
        total += (source.data - held.zero_point) * ratio
        steps += source.steps * ratio
    rounded = torch.round(total) + after.zero_point
    return Value(_limit(rounded, after, net.dtype, None), float(np.ceil(steps)))


def _limit(values: Tensor, held: Quantization, dtype: str, activation: str | None) -> Tensor:
    limits = np.iinfo(dtype)
    low, high = float(limits.min), float(limits.max)
    if activation is not None:
        low = max(low, float(held.zero_point))
        upper = _UPPER[activation]
        if upper is not None:
            high = min(high, float(np.rint(upper / held.scales[0])) + held.zero_point)
    return values.clamp(low, high)
