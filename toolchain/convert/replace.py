"""Put operators that TFLite computes right in the place of those that it does not."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, fx, nn

from toolchain.convert.operators import (
    ColumnProduct,
    Gather,
    Largest,
    MaxOfWindows,
    TransposedAxis,
    TransposedConvolution,
    Weigh,
    adaptive_windows,
    gather_or_none,
    is_repeated,
    matrix_or_none,
    sliding_windows,
)

_aten = torch.ops.aten

Constant = Callable[[fx.Node], Tensor | None]
"""The value of a node that depends on no input; ``None`` for others."""


@dataclass(frozen=True)
class _Resize:
    axes: int
    plain: Callable[..., Any]
    """Takes ``(input, output_size, [align_corners], scale an axis ...)``."""
    gathers: bool = False
    corners: bool = False
    """Whether it has ``align_corners``."""


def _resizes() -> dict[str, _Resize]:
    found = {}
    for axes, linear in (
        (1, "upsample_linear"),
        (2, "upsample_bilinear"),
        (3, "upsample_trilinear"),
    ):
        for name in (f"upsample_nearest{axes}d", f"_upsample_nearest_exact{axes}d"):
            found[name] = _Resize(axes, getattr(_aten, name).default, gathers=True)
        name = f"{linear}{axes}d"
        found[name] = _Resize(axes, getattr(_aten, name).default, corners=True)
    for name in ("upsample_bicubic2d", "_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa"):
        found[name] = _Resize(2, getattr(_aten, name).default, corners=True)
    return found


_RESIZES = _resizes()
_AVERAGES = {
    "adaptive_avg_pool1d": (1, _aten.adaptive_avg_pool2d.default),
    "adaptive_avg_pool2d": (2, _aten.adaptive_avg_pool2d.default),
    "_adaptive_avg_pool2d": (2, _aten.adaptive_avg_pool2d.default),
    "adaptive_avg_pool3d": (3, _aten.adaptive_avg_pool2d.default),
    "_adaptive_avg_pool3d": (3, _aten.adaptive_avg_pool2d.default),
}
_POOLS = (
    *("avg_pool1d", "avg_pool2d", "avg_pool3d"),
    *("max_pool1d", "max_pool2d", "max_pool2d_with_indices"),
)
_LARGEST = {"adaptive_max_pool1d": 1, "adaptive_max_pool2d": 2}
_TRANSPOSED = ("conv_transpose1d", "conv_transpose2d")


def replacement(node: fx.Node, constant: Constant) -> nn.Module | None:
    """A module that computes what a node does, of its first input; a :class:`ColumnProduct` of two.

    Args:
        node: with ``meta["val"]``.
        constant: values of nodes that depend on no input.

    Returns:
        ``None`` where the node is to stay as it is. The module's output stands for the node's;
        where the node has several and the module one, for the first.
    """
    target = node.target
    if node.op != "call_function" or not isinstance(target, torch._ops.OpOverload):
        return None
    name = target._schema.name.removeprefix("aten::")
    arguments = _arguments(node, target)
    if name in _RESIZES:
        return _resize(node, _RESIZES[name], arguments)
    if name in _AVERAGES:
        return _average(node, *_AVERAGES[name])
    if name in _LARGEST:
        return _largest(node, _LARGEST[name])
    if name in _POOLS:
        return _pool(node, name, arguments)
    if name == "matmul":
        return _product(node)
    if name in ("topk", "sort", "argsort"):
        return _ordered(node, name, arguments)
    if name in _TRANSPOSED or (name == "convolution" and arguments["transposed"]):
        return _transposed(node, arguments, constant)
    return None


def unread(node: fx.Node) -> bool:
    """Whether only the first of a node's outputs, or its only one, is read."""
    return isinstance(node.meta["val"], Tensor) or all(
        user.target is operator.getitem and user.args[1] == 0 for user in node.users
    )


def _arguments(node: fx.Node, target: torch._ops.OpOverload) -> dict[str, Any]:
    given = dict(zip((item.name for item in target._schema.arguments), node.args, strict=False))
    defaults = {
        item.name: item.default_value
        for item in target._schema.arguments
        if item.has_default_value()
    }
    return {**defaults, **given, **node.kwargs}


def _sizes(value: Any, axes: int) -> list[int] | None:
    """Of the spatial axes, where they are known; ``None`` for a tensor of another rank too."""
    shape = list(value.shape)
    known = len(shape) == axes + 2 and all(isinstance(size, int) for size in shape)
    return shape[2:] if known else None


def _in_and_out(node: fx.Node, axes: int) -> tuple[list[int], list[int]] | None:
    source = cast(fx.Node, node.args[0])
    result = node.meta["val"]
    if isinstance(result, tuple | list):
        result = result[0]
    sizes, outputs = _sizes(source.meta["val"], axes), _sizes(result, axes)
    return None if sizes is None or outputs is None else (sizes, outputs)


def _batch(node: fx.Node) -> int:
    return int(cast(fx.Node, node.args[0]).meta["val"].shape[0])


def _resize(node: fx.Node, kind: _Resize, arguments: dict[str, Any]) -> nn.Module | None:
    found = _in_and_out(node, kind.axes)
    if found is None:
        return None
    sizes, outputs = found
    corners = bool(arguments.get("align_corners"))
    scales = _scales(arguments, kind.axes)
    axes = list(zip(sizes, outputs, scales, strict=True))

    def along(size: int, scale: float | None) -> Callable[[Tensor], Tensor]:
        options = [corners] if kind.corners else []
        # One axis at a time: the others have two equal elements, and keep them. (With one, torch's
        # antialiasing does something else.)
        others = [2] * (kind.axes - 1)
        scales = [scale, *([None] * (kind.axes - 1))]

        def operation(x: Tensor) -> Tensor:
            x = x.reshape(*x.shape[:3], *(1 for _ in others)).expand(*x.shape[:3], *others)
            y = cast(Tensor, kind.plain(x, [size, *others], *options, *scales))
            return y.reshape(*y.shape[:3], -1)[..., :1]

        return operation

    with torch.no_grad():
        if kind.gathers:
            indices = [gather_or_none(along(out, scale), size) for size, out, scale in axes]
            if kind.axes == 2 and all(map(is_repeated, indices, sizes)):
                return None if node.target is _aten.upsample_nearest2d.vec else _Repeat(outputs)
            return Gather(indices, sizes, _batch(node))
        if node.target is _aten.upsample_bilinear2d.vec and all(
            _tflite_is_exact(size, out, scale, corners) for size, out, scale in axes
        ):
            return None
        matrices = [matrix_or_none(along(out, scale), size) for size, out, scale in axes]
        return Weigh(matrices, sizes)


class _Repeat(nn.Module):
    """Resizes to whole multiples, which TFLite's own operator does exactly."""

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self._sizes = list(sizes)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.interpolate(x, size=self._sizes)


def _scales(arguments: dict[str, Any], axes: int) -> list[float | None]:
    factors = arguments.get("scale_factors")
    if factors is not None:
        return list(factors)
    names = {1: ("scales",), 2: ("scales_h", "scales_w"), 3: ("scales_d", "scales_h", "scales_w")}
    return [arguments.get(name) for name in names[axes]]


def _tflite_is_exact(size: int, out: int, scale: float | None, corners: bool) -> bool:
    """Whether every runtime's own bilinear operator finds torch's coordinates along an axis.

    They compute coordinates in float32, each in a way of its own. The ways agree where nothing is
    rounded: where input over output size is a whole number of some 1/2, 1/4, 1/8 ...
    """
    if corners:
        return True
    if scale is not None and size * scale != out:
        return False
    return (1 << 10) * size % out == 0


def _average(node: fx.Node, axes: int, plain: Callable[..., Any]) -> nn.Module | None:
    found = _in_and_out(node, axes)
    if found is None or all(size % out == 0 for size, out in zip(*found, strict=True)):
        return None
    sizes, outputs = found

    def along(out: int) -> Callable[[Tensor], Tensor]:
        return lambda x: cast(Tensor, plain(x, [out, 1]))

    with torch.no_grad():
        matrices = [matrix_or_none(along(out), n) for n, out in zip(sizes, outputs, strict=True)]
    return Weigh(matrices, sizes)


def _largest(node: fx.Node, axes: int) -> nn.Module | None:
    found = _in_and_out(node, axes)
    if found is None or not unread(node):
        return None
    sizes, outputs = found
    windows = [adaptive_windows(size, out) for size, out in zip(sizes, outputs, strict=True)]
    return MaxOfWindows(windows, sizes, _batch(node))


def _pool(node: fx.Node, name: str, arguments: dict[str, Any]) -> nn.Module | None:
    """Pools of settings that litert-torch has no operator for."""
    axes = int(name.partition("_pool")[2][0])
    found = _in_and_out(node, axes)
    if found is None or not unread(node):
        return None
    sizes, outputs = found
    kernel = _each(arguments["kernel_size"], axes)
    stride = _each(arguments["stride"], axes) or kernel
    padding = _each(arguments["padding"], axes)
    dilation = _each(arguments.get("dilation", 1), axes)
    numbers = list(zip(sizes, outputs, kernel, stride, padding, dilation, strict=True))
    if name.startswith("max_pool"):
        if dilation == [1] * axes:
            return None
        windows = [sliding_windows(*number) for number in numbers]
        return MaxOfWindows(windows, sizes, _batch(node)) if all(map(all, windows)) else None
    return _average_of_windows(numbers, arguments)


def _average_of_windows(
    numbers: list[tuple[int, ...]], arguments: dict[str, Any]
) -> nn.Module | None:
    ceil, counted = bool(arguments["ceil_mode"]), bool(arguments["count_include_pad"])
    divisor = arguments.get("divisor_override")
    alike = counted or (not ceil and _is_padded_as_tflite(numbers))
    if divisor is None and alike and len(numbers) < 3:
        return None

    def along(axis: int) -> Callable[[Tensor], Tensor]:
        _, _, kernel, stride, padding, _ = numbers[axis]
        share = None if divisor is None else (divisor if axis == 0 else 1)
        return lambda x: torch.nn.functional.avg_pool2d(
            x, (kernel, 1), (stride, 1), (padding, 0), ceil, counted, share
        )

    with torch.no_grad():
        matrices = [matrix_or_none(along(axis), number[0]) for axis, number in enumerate(numbers)]
    return Weigh(matrices, [number[0] for number in numbers])


def _is_padded_as_tflite(numbers: list[tuple[int, ...]]) -> bool:
    """Whether all axes are padded as by ``VALID`` or ``SAME``, which do not count the padding.

    With a stride litert-torch has no ``SAME``.
    """
    return all(padding == 0 for *_, padding, _ in numbers) or all(
        stride == 1 and kernel - 1 == 2 * padding for _, _, kernel, stride, padding, _ in numbers
    )


def _product(node: fx.Node) -> nn.Module | None:
    matrix, _ = (cast(fx.Node, argument).meta["val"].shape for argument in node.args)
    *batch, _, columns = node.meta["val"].shape if node.meta["val"].dim() == 4 else (0, 0, 0)
    whole = len(matrix) == 4 and batch == [1, 1] and columns == 1
    return ColumnProduct() if whole else None


def _each(value: Any, axes: int) -> list[int]:
    """A number for each axis, where one may stand for all; none for none."""
    values = list(value) if isinstance(value, tuple | list) else [value]
    return [int(number) for number in (values * axes if len(values) == 1 else values)]


def _ordered(node: fx.Node, name: str, arguments: dict[str, Any]) -> nn.Module | None:
    shape = cast(fx.Node, node.args[0]).meta["val"].shape
    axis = arguments["dim"] % len(shape) if shape else 0
    if not shape or not isinstance(shape[axis], int):
        return None
    if name == "topk":
        return Largest(arguments["k"], axis, bool(arguments["largest"]))
    order = Largest(int(shape[axis]), axis, bool(arguments["descending"]))
    return _Places(order) if name == "argsort" else order


class _Places(nn.Module):
    """Where the values of an axis stand, in order."""

    def __init__(self, order: Largest) -> None:
        super().__init__()
        self._order = order

    def forward(self, x: Tensor) -> Tensor:
        _, places = self._order(x)
        return cast(Tensor, places)


def _transposed(node: fx.Node, arguments: dict[str, Any], constant: Constant) -> nn.Module | None:
    shape = node.meta["val"].shape
    sizes = _sizes(node.meta["val"], len(shape) - 2)
    tensors = [
        constant(value) if isinstance(value, fx.Node) else None
        for value in (arguments["weight"], arguments["bias"])
    ]
    weight, bias = tensors
    if sizes is None or len(sizes) > 2 or weight is None:
        return None
    if bias is None and arguments["bias"] is not None:
        return None
    lists = [
        list(arguments[key]) * (len(sizes) if len(arguments[key]) == 1 else 1)
        for key in ("stride", "dilation", "padding", "output_padding")
    ]
    numbers = [
        TransposedAxis(stride, dilation, size, padding, extra)
        for size, (stride, dilation, padding, extra) in zip(
            sizes, zip(*lists, strict=True), strict=True
        )
    ]
    return TransposedConvolution(weight, bias, numbers, arguments["groups"])
