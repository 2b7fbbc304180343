"""What each operator of ONNX computes, by torch: https://onnx.ai/onnx/operators/.

Each function takes a :class:`~toolchain.convert.from_onnx.call.Call`. What an operator goes by
(axes, sizes) has to be constant; its data may be.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from functools import reduce

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from toolchain.convert.from_onnx.call import Call
from toolchain.convert.from_onnx.resize import resize, upsample
from toolchain.convert.from_onnx.shapes import SHAPES
from toolchain.convert.from_onnx.windows import (
    average_pool,
    convolution,
    max_pool,
    padded,
    transposed_convolution,
)

Function = Callable[[Call], Tensor | Sequence[Tensor]]


def _unary(function: Callable[[Tensor], Tensor]) -> Function:
    return lambda call: function(call[0])


def _binary(function: Callable[[Tensor, Tensor], Tensor]) -> Function:
    return lambda call: function(call[0], call[1])


def _any_number(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Call], Tensor]:
    return lambda call: reduce(function, (call[n] for n in range(len(call.tensors))))


def _divide(call: Call) -> Tensor:
    whole = not call[0].is_floating_point()
    return torch.div(call[0], call[1], rounding_mode="trunc" if whole else None)


def _modulo(call: Call) -> Tensor:
    function = torch.fmod if call.attribute("fmod", 0) else torch.remainder
    return function(call[0], call[1])


def _power(call: Call) -> Tensor:
    exponent = call.constants.get(1)
    if exponent is not None and exponent.numel() == 1:
        return torch.pow(call[0], call.scalar(1))
    return torch.pow(call[0], call[1])


def _clip(call: Call) -> Tensor:
    low, high = call.scalar(1, "min"), call.scalar(2, "max")
    if (low, high) == (0.0, 6.0):
        return F.relu6(call[0])
    return call[0] if low is None and high is None else torch.clamp(call[0], low, high)


def _prelu(call: Call) -> Tensor:
    x, slope = call[0], call[1]
    channels = x.shape[1] if x.dim() > 1 else 1
    flat = slope.numel() in (1, channels) and slope.dim() in (0, 1, x.dim() - 1, x.dim())
    if flat and (slope.numel() == 1 or slope.shape[slope.dim() - x.dim() + 1] == channels):
        return F.prelu(x, slope.flatten())
    return torch.where(x < 0, x * slope, x)


def _softmax(function: Callable[..., Tensor]) -> Function:
    def compute(call: Call) -> Tensor:
        x = call[0]
        axis = call.attribute("axis", -1 if call.opset >= 13 else 1)
        if call.opset >= 13 or axis in (-1, x.dim() - 1):
            return function(x, dim=axis)
        return function(x.flatten(axis), dim=-1).reshape(x.shape)

    return compute


def _gelu(call: Call) -> Tensor:
    return F.gelu(call[0], approximate=call.attribute("approximate", "none"))


def _gemm(call: Call) -> Tensor:
    a = call[0].T if call.attribute("transA", 0) else call[0]
    b = call[1].T if call.attribute("transB", 0) else call[1]
    y = call.attribute("alpha", 1.0) * (a @ b)
    result: Tensor = y + call.attribute("beta", 1.0) * call[2] if call.has(2) else y
    return result


# Of constant data: a layer of the network is made in network.py.


def _convolution(call: Call) -> Tensor:
    layer, pads = convolution(call)
    result: Tensor = layer(padded(call[0], pads))
    return result


def _transposed_convolution(call: Call) -> Tensor:
    layer, cut = transposed_convolution(call)
    return cut(layer(call[0]))


# --- norms -----------------------------------------------------------------------------------


def _batch_norm(call: Call) -> Tensor:
    x, scale, bias, mean, variance = (call[number] for number in range(5))
    epsilon = call.attribute("epsilon", 1e-5)
    return F.batch_norm(x, mean, variance, scale, bias, False, 0.0, epsilon)


def _layer_norm(call: Call) -> Tensor:
    x = call[0]
    axis = call.attribute("axis", -1) % x.dim()
    shape = list(x.shape[axis:])
    bias = call[2].expand(shape) if call.has(2) else None
    return F.layer_norm(x, shape, call[1].expand(shape), bias, call.attribute("epsilon", 1e-5))


def _instance_norm(call: Call) -> Tensor:
    return F.instance_norm(
        call[0], weight=call[1], bias=call[2], eps=call.attribute("epsilon", 1e-5)
    )


def _group_norm(call: Call) -> Tensor:
    groups, epsilon = call.attribute("num_groups"), call.attribute("epsilon", 1e-5)
    return F.group_norm(call[0], groups, call[1], call[2], epsilon)


def _local_response(call: Call) -> Tensor:
    return F.local_response_norm(
        call[0],
        call.attribute("size"),
        call.attribute("alpha", 1e-4),
        call.attribute("beta", 0.75),
        call.attribute("bias", 1.0),
    )


def _lp_norm(call: Call) -> Tensor:
    return F.normalize(call[0], call.attribute("p", 2), call.attribute("axis", -1), 0.0)


# --- reductions ------------------------------------------------------------------------------


def _reduction(function: Callable[[Tensor, list[int], bool], Tensor]) -> Function:
    def compute(call: Call) -> Tensor:
        x, axes = call[0], call.axes(1)
        if not axes and call.attribute("noop_with_empty_axes", 0):
            return x
        over = [axis % x.dim() for axis in axes] if axes else list(range(x.dim()))
        return function(x, over, bool(call.attribute("keepdims", 1)))

    return compute


def _product(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    for axis in sorted(axes, reverse=True):
        x = x.prod(axis, keepdim=keep)
    return x


def _place(function: Callable[..., Tensor]) -> Function:
    def compute(call: Call) -> Tensor:
        if call.attribute("select_last_index", 0):
            raise call.fault("takes the last of several", "take the first: select_last_index=0")
        axis, keep = call.attribute("axis", 0), bool(call.attribute("keepdims", 1))
        return function(call[0], axis, keep)

    return compute


def _top(call: Call) -> Sequence[Tensor]:
    count = call.scalar(1, "k")
    axis, largest = call.attribute("axis", -1), bool(call.attribute("largest", 1))
    return torch.topk(call[0], count, axis, largest, bool(call.attribute("sorted", 1)))


def _running_sum(call: Call) -> Tensor:
    if call.attribute("exclusive", 0):
        raise call.fault("leaves out the element itself")
    axis = call.scalar(1)
    if call.attribute("reverse", 0):
        return call[0].flip(axis).cumsum(axis).flip(axis)
    return call[0].cumsum(axis)


def _globally(function: Callable[..., Tensor]) -> Function:
    return lambda call: function(call[0], tuple(range(2, call[0].dim())), True)


def _global_average(call: Call) -> Tensor:
    if call[0].dim() == 4:
        return F.adaptive_avg_pool2d(call[0], 1)
    return call[0].mean(tuple(range(2, call[0].dim())), True)


# --- the table -------------------------------------------------------------------------------

_ONE: dict[str, Callable[[Tensor], Tensor]] = {
    **{"Relu": F.relu, "Sigmoid": torch.sigmoid, "Tanh": torch.tanh, "Erf": torch.erf},
    **{"Exp": torch.exp, "Log": torch.log, "Sqrt": torch.sqrt, "Reciprocal": torch.reciprocal},
    **{"Neg": torch.neg, "Abs": torch.abs, "Floor": torch.floor, "Ceil": torch.ceil},
    **{"Round": torch.round, "Sign": torch.sign, "Sin": torch.sin, "Cos": torch.cos},
    **{"Not": torch.logical_not, "IsNaN": torch.isnan, "Identity": lambda x: x},
    **{"Softplus": F.softplus, "Softsign": F.softsign, "Mish": F.mish, "HardSwish": F.hardswish},
    **{"Tan": torch.tan, "Atan": torch.atan, "Asin": torch.asin, "Acos": torch.acos},
    **{"Sinh": torch.sinh, "Cosh": torch.cosh, "Dropout": lambda x: x},
}
_TWO: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    **{"Add": operator.add, "Sub": operator.sub, "Mul": operator.mul, "MatMul": torch.matmul},
    **{"Equal": torch.eq, "Greater": torch.gt, "Less": torch.lt, "GreaterOrEqual": torch.ge},
    **{"LessOrEqual": torch.le, "And": torch.logical_and, "Or": torch.logical_or},
    "Xor": torch.logical_xor,
}
_REDUCTIONS: dict[str, Callable[[Tensor, list[int], bool], Tensor]] = {
    "ReduceMean": lambda x, axes, keep: x.mean(axes, keep),
    "ReduceSum": lambda x, axes, keep: x.sum(axes, keep),
    "ReduceMax": lambda x, axes, keep: x.amax(axes, keep),
    "ReduceMin": lambda x, axes, keep: x.amin(axes, keep),
    "ReduceProd": _product,
    "ReduceL1": lambda x, axes, keep: x.abs().sum(axes, keep),
    "ReduceL2": lambda x, axes, keep: (x * x).sum(axes, keep).sqrt(),
    "ReduceSumSquare": lambda x, axes, keep: (x * x).sum(axes, keep),
    "ReduceLogSum": lambda x, axes, keep: x.sum(axes, keep).log(),
    "ReduceLogSumExp": lambda x, axes, keep: x.logsumexp(axes, keep),
}


def _slope(name: str, default: float, function: Callable[..., Tensor]) -> Function:
    return lambda call: function(call[0], call.attribute(name, default))


def _hard_sigmoid(call: Call) -> Tensor:
    alpha, beta = call.attribute("alpha", 0.2), call.attribute("beta", 0.5)
    if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5:
        return F.hardsigmoid(call[0])
    return torch.clamp(call[0] * alpha + beta, 0.0, 1.0)


def _selu(call: Call) -> Tensor:
    alpha, gamma = call.attribute("alpha", 1.67326319), call.attribute("gamma", 1.05070102)
    result: Tensor = gamma * F.elu(call[0], alpha)
    return result


OPERATORS: dict[str, Function] = {
    **{name: _unary(function) for name, function in _ONE.items()},
    **{name: _binary(function) for name, function in _TWO.items()},
    **{name: _reduction(function) for name, function in _REDUCTIONS.items()},
    **SHAPES,
    "Div": _divide,
    "Mod": _modulo,
    "Pow": _power,
    "Min": _any_number(torch.minimum),
    "Max": _any_number(torch.maximum),
    "Sum": _any_number(operator.add),
    "Mean": lambda call: _any_number(operator.add)(call) / len(call.tensors),
    "Clip": _clip,
    "PRelu": _prelu,
    "LeakyRelu": _slope("alpha", 0.01, F.leaky_relu),
    "Elu": _slope("alpha", 1.0, F.elu),
    "Celu": _slope("alpha", 1.0, F.celu),
    "ThresholdedRelu": _slope("alpha", 1.0, lambda x, least: torch.where(x > least, x, 0.0)),
    "Selu": _selu,
    "HardSigmoid": _hard_sigmoid,
    "Gelu": _gelu,
    "Softmax": _softmax(torch.softmax),
    "LogSoftmax": _softmax(torch.log_softmax),
    "Gemm": _gemm,
    "Conv": _convolution,
    "ConvTranspose": _transposed_convolution,
    "BatchNormalization": _batch_norm,
    "LayerNormalization": _layer_norm,
    "InstanceNormalization": _instance_norm,
    "GroupNormalization": _group_norm,
    "LRN": _local_response,
    "LpNormalization": _lp_norm,
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "GlobalAveragePool": _global_average,
    "GlobalMaxPool": _globally(torch.amax),
    "ArgMax": _place(torch.argmax),
    "ArgMin": _place(torch.argmin),
    "TopK": _top,
    "CumSum": _running_sum,
    "Resize": resize,
    "Upsample": upsample,
    "Einsum": lambda call: torch.einsum(
        call.attribute("equation"), *(call[number] for number in range(len(call.tensors)))
    ),
}
"""By name; a value for each operator that is known."""

_QUANTISED = (
    "it is quantised already: export the float model, and give --quantize int8 with --calibration"
)
_LATER = "choosing boxes belongs behind the network: leave it out of the export"
_RECURRENT = "recurrent layers are not read: --model or a .pt2 file of the torch model may do"
REFUSED: dict[str, str] = {
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"), _QUANTISED),
    **dict.fromkeys(("QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger"), _QUANTISED),
    **dict.fromkeys(("NonMaxSuppression", "RoiAlign", "NonZero"), _LATER),
    **dict.fromkeys(("LSTM", "GRU", "RNN", "Loop", "Scan"), _RECURRENT),
}
"""What to do about operators that are not known."""
