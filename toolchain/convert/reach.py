"""Which convolutions a mask reaches: those whose pixels nobody reads where it masks.

From the masking node backwards, through operators that compute each element from those at the same
place, however many branches there are. What of a tensor the mask keeps is known at each node.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, fx

from toolchain.convert.constants import Constants
from toolchain.convert.masking import Masking

_aten = torch.ops.aten
CONVOLUTIONS = (_aten.conv2d.default, _aten.conv2d.padding, _aten.convolution.default)
_NORMS = (_aten.batch_norm.default, _aten._native_batch_norm_legit_no_training.default)
_ELEMENTWISE = (
    *("relu6", "hardtanh", "hardswish", "hardsigmoid", "mish", "silu", "gelu", "leaky_relu", "elu"),
    *("celu", "selu", "prelu", "_prelu_kernel", "softplus", "threshold", "clamp", "clamp_min"),
    *("clamp_max", "dropout", "clone", "detach", "alias", "contiguous", "lift_fresh_copy"),
    *("_to_copy", "to", "masked_fill", "where"),
)
"""Beside those that torch itself calls pointwise."""
_RESHAPES = ("view", "reshape", "_unsafe_view", "flatten", "unsqueeze", "squeeze", "unflatten")
_MIXING = ("pool", "upsample", "conv", "norm", "slice", "split", "chunk", "pad", "shuffle", "roll")
"""Parts of names of operators that give images, but not pixel by pixel."""
_AGAIN = "the convolution has another mask in front of this one, and that one is skipped"
OPERATOR = "tileskip_operator"
"""In a node's ``meta`` where a module stands in an operator's place: that operator's name."""


@dataclass(frozen=True, eq=False)
class Reached:
    """A convolution in front of a mask, or what stands in its place."""

    node: fx.Node
    kept: Tensor
    """bool, of the shape of the node's output."""
    reason: str | None
    """Why its pixels have to be computed all the same."""
    again: bool = False
    """Whether it is masked by another mask already, which keeps pixels that this one does not."""


@dataclass(frozen=True, eq=False)
class Done:
    """A convolution that is masked by a mask of its own already."""

    conv: fx.Node
    plane: Tensor
    """bool ``[H, W]``, True = kept."""


def is_convolution(node: fx.Node) -> bool:
    """Whether a node is a convolution of images, not a transposed one."""
    if node.op != "call_function" or node.target not in CONVOLUTIONS:
        return False
    transposed = node.target is _aten.convolution.default and bool(node.args[6])
    return not transposed and len(node.meta["val"].shape) == 4


def reach(
    masking: Masking,
    constants: Constants,
    done: Mapping[fx.Node, Done],
    order: Mapping[fx.Node, int],
) -> list[Reached]:
    """What a masking node reaches.

    Args:
        masking: the node.
        constants: of the graph.
        done: by the node that masks it; such nodes end the search.
        order: positions of nodes in the graph.

    Returns:
        The convolutions in the order of the graph; where there is none, what ended the search.
    """
    found: list[Reached] = []
    free = {masking.node}
    pending = {masking.data: masking.kept}
    reasons: dict[fx.Node, str] = {}
    while pending:
        # The last first: all that reads a node and belongs here has been seen before it.
        node = max(pending, key=lambda item: order.get(item, -1))
        kept, reason = pending.pop(node), reasons.get(node)
        if reason is None and any(user not in free for user in node.users):
            named = (
                "the convolution's output"
                if is_convolution(node)
                else f"what {name_of(node)} gives"
            )
            reason = f"{named} is used elsewhere, without the mask"
        if is_convolution(node):
            found.append(Reached(node, kept, reason))
            continue
        if node in done:
            earlier = done[node]
            if (earlier.plane & ~kept).any():
                found.append(Reached(earlier.conv, kept, reason or _AGAIN, again=True))
            continue
        sources = _sources(node, kept)
        if sources is None:
            found.append(Reached(node, kept, reason or _between(node)))
            continue
        if reason is None:
            # Whatever it reads where the mask masks ends there. What a convolution, a mean or a
            # pool reads does not: they are readers like any other.
            free.add(node)
        for source, part in sources.items():
            if constants.value(source) is not None:
                continue
            pending[source] = pending[source] | part if source in pending else part
            if reason is not None:
                reasons[source] = reason
    convolutions = [item for item in reversed(found) if is_convolution(item.node)]
    return convolutions or found[::-1]


def is_image_operator(node: fx.Node) -> bool:
    """Whether a mask behind a node may be meant to mask pixels: not one of attention, say."""
    if node.op == "placeholder":
        return True
    return any(part in name_of(node) for part in _MIXING)


def name_of(node: fx.Node) -> str:
    """The operator of a node, as torch calls it: ``max_pool2d``."""
    target = node.target
    if isinstance(target, torch._ops.OpOverload):
        return target._schema.name.rpartition("::")[2]
    return str(node.meta.get(OPERATOR, node.name))


def _between(node: fx.Node) -> str:
    if node.op == "placeholder":
        return "it masks an input of the network, not a convolution"
    name = name_of(node)
    if "conv" in name:
        return f"it masks the output of a {name}; only 2-d convolutions are skipped"
    return f"{name} stands between the mask and a convolution, and mixes pixels"


def _sources(node: fx.Node, kept: Tensor) -> dict[fx.Node, Tensor] | None:
    """What is kept of each input of a node; ``None`` where an input's pixels mix."""
    if node.op != "call_function":
        return None
    if node.target is operator.getitem:
        source = cast(fx.Node, node.args[0])
        return {source: kept} if source.target in _NORMS and node.args[1] == 0 else None
    if node.target in _NORMS:
        return {cast(fx.Node, node.args[0]): kept}
    if not isinstance(node.target, torch._ops.OpOverload):
        return None
    name = name_of(node)
    first = node.args[0]
    if name in ("permute", "transpose"):
        return {cast(fx.Node, first): _permuted_back(node, kept)}
    if name in _RESHAPES:
        source = cast(fx.Node, first)
        return {source: kept.reshape(source.meta["val"].shape)}
    if name == "cat":
        return _parts(node, kept)
    if name in _ELEMENTWISE or torch.Tag.pointwise in node.target.tags:
        return {source: _shrunk(kept, source) for source in node.all_input_nodes}
    return None


def _permuted_back(node: fx.Node, kept: Tensor) -> Tensor:
    if name_of(node) == "transpose":
        return kept.transpose(cast(int, node.args[1]), cast(int, node.args[2]))
    order = [axis % kept.dim() for axis in cast(list[int], node.args[1])]
    return kept.permute([order.index(axis) for axis in range(len(order))])


def _parts(node: fx.Node, kept: Tensor) -> dict[fx.Node, Tensor]:
    axis = cast(int, node.args[1]) if len(node.args) > 1 else node.kwargs.get("dim", 0)
    parts: dict[fx.Node, Tensor] = {}
    start = 0
    for source in cast(list[fx.Node], node.args[0]):
        size = source.meta["val"].shape[axis]
        part = kept.narrow(cast(int, axis), start, size)
        parts[source] = parts[source] | part if source in parts else part
        start += size
    return parts


def _shrunk(kept: Tensor, source: fx.Node) -> Tensor:
    """What is kept of a tensor that is broadcast: what any of its copies keeps."""
    value = source.meta.get("val")
    if not isinstance(value, Tensor):
        return kept
    for _ in range(kept.dim() - value.dim()):
        kept = kept.any(0)
    for axis, size in enumerate(value.shape):
        if size == 1 != kept.shape[axis]:
            kept = kept.any(axis, keepdim=True)
    return kept


def evaluate(node: fx.Node, known: Mapping[fx.Node, Tensor], constants: Constants) -> Tensor | None:
    """The value of a node where some others have given values; ``None`` if it needs more.

    Args:
        node: with no more between it and the others than :func:`reach` goes through.
        known: values of nodes.
        constants: of the graph.
    """
    values: dict[fx.Node, Any] = dict(known)
    stack = [node]
    while stack:
        last = stack[-1]
        if last in values:
            stack.pop()
            continue
        value = constants.value(last)
        if value is not None:
            values[last] = value
            continue
        if last.op != "call_function" or is_convolution(last):
            return None
        missing = [source for source in last.all_input_nodes if source not in values]
        if missing:
            stack += missing
            continue
        args, kwargs = fx.node.map_arg((last.args, last.kwargs), lambda n: values[n])
        with torch.no_grad():
            values[last] = cast(Callable[..., Any], last.target)(*args, **kwargs)
    result = values[node]
    return result if isinstance(result, Tensor) else None
