"""Which images of a program have their channels last in torch already.

Inputs of rank 4 are taken for ``[N, C, H, W]``, and become channels-last in the file. A network
that takes images as a camera gives them moves the channels itself: the file then takes what torch
takes. That is seen in what is done with the input; where that does not tell, its shape does: an
image has 1, 3 or 4 channels, and more rows and columns than that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, fx

_aten = torch.ops.aten
_CHECKS = ("_assert_tensor_metadata", "sym_size", "_assert_scalar")
_PASSED = (
    *("clone", "detach", "alias", "_to_copy", "to", "slice", "flip", "softmax", "contiguous"),
    *(
        "lift_fresh_copy",
        "dropout",
        "pad",
        "constant_pad_nd",
        "index",
        "mean",
        "amax",
        "amin",
        "hardtanh",
        "relu6",
        "hardswish",
        "silu",
        "gelu",
        "mish",
    ),
)
_OF_LAST_AXIS = ("linear", "layer_norm", "native_layer_norm")
"""Operators that have their channels in the last axis."""
_OF_SECOND_AXIS = (
    *("conv2d", "convolution", "conv_transpose2d", "batch_norm", "instance_norm", "group_norm"),
    *("max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d", "pixel_shuffle"),
    *("pixel_unshuffle", "upsample_nearest2d", "upsample_bilinear2d", "upsample_bicubic2d"),
)
"""Operators that have them behind the batch."""
_CHANNELS = (1, 3, 4)


def channels_last_inputs(program: torch.export.ExportedProgram) -> set[int]:
    """Numbers of the inputs whose channels are their last axis."""
    users = list(program.graph_signature.user_inputs)
    places = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    return {
        number
        for number, name in enumerate(users)
        if isinstance(name, str) and _rank(places[name]) == 4 and _takes_last(places[name])
    }


def channels_last_outputs(program: torch.export.ExportedProgram) -> set[int]:
    """Numbers of the outputs, of all leaves, whose channels are their last axis."""
    result = next(node for node in program.graph.nodes if node.op == "output")
    count = len(program.graph_signature.user_outputs)
    leaves = cast(tuple[Any, ...], result.args[0])
    leaves = leaves[len(leaves) - count :]
    return {
        number
        for number, node in enumerate(leaves)
        if isinstance(node, fx.Node) and _rank(node) == 4 and _was_moved(node)
    }


def _takes_last(node: fx.Node) -> bool:
    found = _is_last(node)
    if found is not None:
        return found
    _, height, width, channels = node.meta["val"].shape
    return channels in _CHANNELS and height not in _CHANNELS and width not in _CHANNELS


def _is_last(node: fx.Node) -> bool | None:
    """Whether what reads a tensor has its channels in the last axis; ``None``: it does not tell."""
    found = None
    seen: set[fx.Node] = set()
    stack = [node]
    while stack:
        last = stack.pop()
        for user in last.users:
            name = _name(user)
            if user in seen or name in _CHECKS:
                continue
            seen.add(user)
            order = _order(user)
            if order is not None:
                if order[:2] != [0, 3]:
                    return None
                found = True
            elif name in _OF_LAST_AXIS:
                found = True
            elif _passes(user, name):
                stack.append(user)
            else:
                return False if name in _OF_SECOND_AXIS else None
    return found


def _was_moved(node: fx.Node) -> bool:
    """Whether a tensor is what a permute to channels-last gave, or a layer of the last axis."""
    while node.op == "call_function":
        order, name = _order(node), _name(node)
        if order is not None:
            return order == [0, 2, 3, 1]
        if name in _OF_LAST_AXIS:
            return True
        sources = [source for source in node.all_input_nodes if _rank(source) == 4]
        if not _passes(node, name) or not sources:
            return False
        node = sources[0]
    return False


def _passes(node: fx.Node, name: str) -> bool:
    target = node.target
    pointwise = isinstance(target, torch._ops.OpOverload) and torch.Tag.pointwise in target.tags
    return _rank(node) == 4 and (pointwise or name in _PASSED)


def _order(node: fx.Node) -> list[int] | None:
    """The axes that a permute of rank 4 takes; ``None`` for any other node."""
    movers: dict[Any, Callable[..., Tensor]] = {
        _aten.permute.default: torch.permute,
        _aten.transpose.int: torch.transpose,
        _aten.movedim.int: torch.movedim,
        _aten.movedim.intlist: torch.movedim,
        _aten.moveaxis.int: torch.moveaxis,
        _aten.moveaxis.intlist: torch.moveaxis,
        _aten.swapaxes.default: torch.swapaxes,
    }
    mover = movers.get(node.target)
    if mover is None or _rank(node) != 4:
        return None
    # Sizes 2, 3, 4 and 5 tell where each axis went.
    return [size - 2 for size in mover(torch.empty(2, 3, 4, 5), *node.args[1:]).shape]


def _rank(node: fx.Node) -> int:
    value = node.meta.get("val")
    return value.dim() if isinstance(value, Tensor) else -1


def _name(node: fx.Node) -> str:
    target = node.target
    if isinstance(target, torch._ops.OpOverload):
        return target._schema.name.rpartition("::")[2]
    return ""
