"""Operators of ONNX that move, cut, gather and put together, and change nothing of the values."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from toolchain.convert.from_onnx.call import Call
from toolchain.convert.from_onnx.file import TYPES

Function = Callable[[Call], Tensor | Sequence[Tensor]]
_MODES = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}


def _constant(call: Call) -> Tensor:
    attributes = call.node.attributes
    if "value" in attributes:
        value: Tensor = attributes["value"]
        return value
    for name, kind in (
        *(("value_float", torch.float32), ("value_floats", torch.float32)),
        *(("value_int", torch.int64), ("value_ints", torch.int64)),
    ):
        if name in attributes:
            return torch.tensor(attributes[name], dtype=kind)
    raise call.fault("holds no number")


def _constant_of_shape(call: Call) -> Tensor:
    shape = call.bounded(call.numbers(0))
    value = call.attribute("value")
    if value is None:
        return torch.zeros(shape)
    return torch.full(shape, value.flatten().tolist()[0], dtype=value.dtype)


def _range(call: Call) -> Tensor:
    start, limit, step = (call.scalar(number) for number in range(3))
    call.bounded([max(0, math.ceil((limit - start) / step))])
    return torch.arange(start, limit, step, dtype=call[0].dtype)


def _cast(call: Call) -> Tensor:
    kind = TYPES.get(call.attribute("to"))
    if kind is None:
        raise call.fault("gives a type that is not computed here")
    return call[0].to(kind)


def _shape(call: Call) -> Tensor:
    sizes = list(call[0].shape)
    start, end = call.attribute("start", 0), call.attribute("end", len(sizes))
    return torch.tensor(sizes[start:end], dtype=torch.int64)


def _reshape(call: Call) -> Tensor:
    x, sizes = call[0], list(call.numbers(1, "shape"))
    if not call.attribute("allowzero", 0):
        sizes = [x.shape[axis] if size == 0 else size for axis, size in enumerate(sizes)]
    return x.reshape(sizes)


def _flatten(call: Call) -> Tensor:
    x, axis = call[0], call.attribute("axis", 1)
    axis = axis % x.dim() if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), -1)


def _transpose(call: Call) -> Tensor:
    x = call[0]
    return x.permute(call.attribute("perm", list(range(x.dim()))[::-1]))


def _squeeze(call: Call) -> Tensor:
    x, axes = call[0], call.axes(1)
    return x.squeeze() if axes is None else x.squeeze([axis % x.dim() for axis in axes])


def _unsqueeze(call: Call) -> Tensor:
    x, axes = call[0], call.axes(1) or []
    rank = x.dim() + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x


def _concat(call: Call) -> Tensor:
    return torch.cat([call[number] for number in range(len(call.tensors))], call.attribute("axis"))


def _split(call: Call) -> Sequence[Tensor]:
    x, axis = call[0], call.attribute("axis", 0)
    sizes = call.numbers(1, "split")
    if sizes is None:
        each = math.ceil(x.shape[axis] / len(call.node.outputs))
        return torch.split(x, each, axis)
    return torch.split(x, sizes, axis)


def _slice(call: Call) -> Tensor:
    x = call[0]
    starts, ends = call.numbers(1, "starts"), call.numbers(2, "ends")
    axes = call.numbers(3, "axes") or list(range(len(starts)))
    steps = call.numbers(4, default=None) or [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        chosen = list(range(x.shape[axis]))[start:end:step]
        if step > 0:
            first = chosen[0] if chosen else 0
            last = chosen[-1] + 1 if chosen else 0
            x = _cut(x, axis % x.dim(), first, last, step)
        else:
            x = x.index_select(axis, torch.tensor(chosen, dtype=torch.int64))
    return x


def _cut(x: Tensor, axis: int, first: int, last: int, step: int) -> Tensor:
    return x[(*[slice(None)] * axis, slice(first, last, step))]


def _gather(call: Call) -> Tensor:
    x, axis = call[0], call.attribute("axis", 0) % call[0].dim()
    known = call.constants.get(1)
    if known is not None and known.dim() == 0:
        return x.select(axis, int(call.scalar(1)))
    indices = call[1].to(torch.int64)
    indices = torch.where(indices < 0, indices + x.shape[axis], indices)
    found = x.index_select(axis, indices.flatten())
    return found.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])


def _gather_elements(call: Call) -> Tensor:
    axis, indices = call.attribute("axis", 0), call[1].to(torch.int64)
    return call[0].gather(axis, torch.where(indices < 0, indices + call[0].shape[axis], indices))


def _gather_nd(call: Call) -> Tensor:
    if call.attribute("batch_dims", 0):
        raise call.fault("gathers in batches")
    return call[0][tuple(call[1].to(torch.int64).movedim(-1, 0))]


def _expand(call: Call) -> Tensor:
    shape = np.broadcast_shapes(tuple(call[0].shape), tuple(call.numbers(1)))
    return call[0].expand(call.bounded(shape))


def _tile(call: Call) -> Tensor:
    times = call.numbers(1)
    call.bounded([size * count for size, count in zip(call[0].shape, times, strict=True)])
    return call[0].repeat(times)


def _pad(call: Call) -> Tensor:
    x = call[0]
    numbers = call.numbers(1, "pads")
    half = len(numbers) // 2
    axes = [axis % x.dim() for axis in (call.numbers(3, default=None) or range(half))]
    pairs = {axis: (numbers[n], numbers[n + half]) for n, axis in enumerate(axes)}
    widths = [pairs.get(axis, (0, 0)) for axis in range(x.dim())]
    call.bounded([size + sum(pair) for size, pair in zip(x.shape, widths, strict=True)])
    mode = _MODES.get(call.attribute("mode", "constant"))
    if mode is None:
        raise call.fault("pads in an unknown way")
    while mode != "constant" and len(widths) > max(1, x.dim() - 2) and widths[0] == (0, 0):
        widths = widths[1:]  # torch wants the last axes alone
    while len(widths) > 1 and mode == "constant" and widths[0] == (0, 0):
        widths = widths[1:]
    flat = [size for pair in reversed(widths) for size in pair]
    if mode != "constant":
        return F.pad(x, flat, mode)
    return F.pad(x, flat, value=call.scalar(2, "value", 0.0))


def _depth_to_space(call: Call) -> Tensor:
    x, block = call[0], call.attribute("blocksize")
    if call.attribute("mode", "DCR") == "CRD":
        return F.pixel_shuffle(x, block)
    count, channels, height, width = x.shape
    kept = channels // block**2
    x = x.reshape(count, block, block, kept, height, width).permute(0, 3, 4, 1, 5, 2)
    return x.reshape(count, kept, height * block, width * block)


def _space_to_depth(call: Call) -> Tensor:
    x, block = call[0], call.attribute("blocksize")
    count, channels, height, width = x.shape
    x = x.reshape(count, channels, height // block, block, width // block, block)
    return x.permute(0, 3, 5, 1, 2, 4).reshape(
        count, channels * block**2, height // block, width // block
    )


def _one_of(call: Call) -> Tensor:
    return torch.where(call[0], call[1], call[2])


def _scatter_nd(call: Call) -> Tensor:
    if call.attribute("reduction", "none") != "none":
        raise call.fault("adds to what it overwrites")
    places = tuple(call[1].to(torch.int64).movedim(-1, 0))
    return call[0].index_put(places, call[2])


def _triangle(call: Call) -> Tensor:
    return (torch.triu if call.attribute("upper", 1) else torch.tril)(call[0], call.scalar(1) or 0)


SHAPES: dict[str, Function] = {
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Range": _range,
    "Cast": _cast,
    "CastLike": lambda call: call[0].to(call[1].dtype),
    "Shape": _shape,
    "Size": lambda call: torch.tensor(call[0].numel(), dtype=torch.int64),
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Transpose": _transpose,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Concat": _concat,
    "Split": _split,
    "Slice": _slice,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "ScatterND": _scatter_nd,
    "Expand": _expand,
    "Tile": _tile,
    "Pad": _pad,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
    "Where": _one_of,
    "Trilu": _triangle,
}
"""By name."""
