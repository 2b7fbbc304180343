"""Scales of a quantised file that int8 kernels can compute with.

A bias is int32 of the scale *input scale x weight scale*, which weights that are nearly zero make
so small that the bias overflows and changes its sign. Such layers are common: BatchNorm scales
that training drove to 0, or began at 0 in the last layer of each residual block. Where it happens
the weights' scale is raised; they are small beside the bias, so that this costs nothing.

Kernels also bound the ratio *input scale x weight scale / output scale*: XNNPACK refuses a file
with 256 or more. A layer whose outputs are nearly always 0 comes there. Its range is widened until
the sum of products, a whole number, is worth a few steps of the output: nothing is lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from toolchain.tflite_file.graph import Model, Operator, Quantization, Tensor, parse_model

Array = npt.NDArray[Any]

_MOST_BIAS = 2.0**30
"""Of int32's 2^31: the rest is for the sum of products, below 2^28 in all but absurd layers."""
_LEAST_RATIO = 2.0**-30
"""Least *input scale x weight scale / output scale*. XNNPACK takes no layer below 2^-32."""
_MOST_RATIO = 16.0
_OPERANDS = {
    "CONV_2D": (0, 1, 2),
    "DEPTHWISE_CONV_2D": (0, 1, 2),
    "FULLY_CONNECTED": (0, 1, 2),
    "TRANSPOSE_CONV": (2, 1, 3),
}
"""Operator -> positions of its input, weights and bias."""


@dataclass(frozen=True, eq=False)
class _Layer:
    weights: Tensor
    float_weights: Array
    bias: Tensor | None
    float_bias: Array
    input_scale: float
    least: Array
    """Of the weights' scale, ``[channels]`` or ``[1]``."""


def fit_scales(float_model: Model, content: bytearray) -> int:
    """Raise the scales of weights in place where a bias or a kernel wants it.

    Args:
        float_model: what was quantised; its layers are those of the file, in the same order.
        content: the quantised file.

    Returns:
        How many scales were raised.
    """
    model = parse_model(content)
    pairs = zip(_operators(float_model), _operators(model), strict=True)
    shared: dict[int, list[_Layer]] = {}
    for before, after in pairs:
        if layer := _layer(float_model, before, model, after):
            assert layer.weights.data is not None  # noqa: S101 (_layer looked)
            shared.setdefault(layer.weights.data.ctypes.data, []).append(layer)
    return sum(_raise(layers) for layers in shared.values())


def narrow_ranges(model: Model) -> dict[str, float]:
    """How much wider ranges of activations have to be, by the tensor's name.

    Args:
        model: a quantised file. Tensors that share a scale with a layer's output are widened with
            it.
    """
    tensors = model.graph.tensors
    factors: dict[str, float] = {}
    for op in _operators(model):
        source, weights = (tensors[op.inputs[_OPERANDS[op.op][which]]] for which in (0, 1))
        result = tensors[op.outputs[0]].quantization
        if source.quantization is None or weights.quantization is None or result is None:
            continue
        product = float(source.quantization.scale[0] * weights.quantization.scale.max())
        factor = product / float(result.scale[0]) / _MOST_RATIO
        if factor > 1:
            for tensor in tensors:
                if not tensor.constant and _alike(tensor.quantization, result):
                    factors[tensor.name] = max(factor, factors.get(tensor.name, 0.0))
    return factors


def _alike(one: Quantization | None, other: Quantization) -> bool:
    return (
        one is not None
        and one.scale.tobytes() == other.scale.tobytes()
        and one.zero_point.tobytes() == other.zero_point.tobytes()
    )


def _operators(model: Model) -> list[Operator]:
    return [op for op in model.graph.operators if op.op in _OPERANDS]


def _layer(float_model: Model, before: Operator, model: Model, after: Operator) -> _Layer | None:
    def operand(owner: Model, op: Operator, which: int) -> Tensor | None:
        position = _OPERANDS[op.op][which]
        index = op.inputs[position] if position < len(op.inputs) else -1
        return owner.graph.tensors[index] if index >= 0 else None

    source, weights = operand(model, after, 0), operand(model, after, 1)
    result = model.graph.tensors[after.outputs[0]]
    if source is None or weights is None or weights.dtype != "int8" or weights.data is None:
        return None
    if source.quantization is None or result.quantization is None or weights.quantization is None:
        return None  # dynamic range: biases and activations are float
    float_weights, float_bias = operand(float_model, before, 1), operand(float_model, before, 2)
    if float_weights is None or float_weights.data is None:
        return None
    bias = operand(model, after, 2)
    numbers: Array = np.zeros(1)
    if bias is not None and float_bias is not None and float_bias.data is not None:
        numbers = float_bias.data.astype(np.float64).reshape(-1)
    else:
        bias = None
    input_scale = float(source.quantization.scale[0])
    least = np.maximum(
        np.abs(numbers) / (input_scale * _MOST_BIAS),
        float(result.quantization.scale[0]) / input_scale * _LEAST_RATIO,
    )
    if weights.quantization.scale.size == 1:
        least = least.max(keepdims=True)
    return _Layer(weights, float_weights.data, bias, numbers, input_scale, least)


def _raise(layers: list[_Layer]) -> int:
    """One buffer of weights, and the layers that use it."""
    first = layers[0]
    quantization = first.weights.quantization
    assert quantization is not None and first.weights.data is not None  # noqa: S101, PT018 (the caller looked)
    scale = quantization.scale
    least = np.maximum.reduce([np.broadcast_to(layer.least, scale.shape) for layer in layers])
    low = scale < least
    if not low.any():
        return 0
    raised = np.where(low, least, scale).astype(np.float32)
    shape = [1] * first.weights.data.ndim
    shape[quantization.axis] = raised.size
    rounded = np.round(first.float_weights / raised.astype(np.float64).reshape(shape))
    changed = np.broadcast_to(low.reshape(shape), rounded.shape)
    first.weights.data[changed] = np.clip(rounded, -127, 127).astype(np.int8)[changed]
    for layer in layers:
        if layer.weights.quantization is not None:
            layer.weights.quantization.scale[:] = raised
        if layer.bias is not None and layer.bias.data is not None and layer.bias.quantization:
            scales = np.float32(layer.input_scale) * raised
            layer.bias.quantization.scale[:] = scales
            values = np.round(layer.float_bias / scales).astype(layer.bias.data.dtype)
            which = np.broadcast_to(low, values.shape)
            layer.bias.data.reshape(-1)[which] = values[which]
    return int(low.sum())
