"""Operators that mask: what of a tensor they keep, and what they put in the place of the rest.

x * mask, mask * x                        a constant that holds zeros
where(mask, x, value), masked_fill        a constant condition
x[..., ~mask] = value                     likewise
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, fx

from toolchain.convert.constants import Constants

_aten = torch.ops.aten
MULTIPLIES = (_aten.mul.Tensor, operator.mul)
_WHERES = (
    _aten.where.self,
    _aten.where.ScalarOther,
    _aten.where.ScalarSelf,
    _aten.where.Scalar,
)
_FILLS = (_aten.masked_fill.Scalar, _aten.masked_fill.Tensor)


@dataclass(frozen=True, eq=False)
class Masking:
    """A node that masks another."""

    node: fx.Node
    data: fx.Node
    kept: Tensor
    """bool, of the shape of ``data``; False where the node's output is ``fill``."""
    fill: Tensor
    """Of a shape that broadcasts to that of ``data``."""
    factor: fx.Node | None
    """The constant that is multiplied with; ``None`` for a selection."""
    exact: bool
    """Whether the node gives what is kept as it is; a factor may hold other numbers than 1."""


def find_masking(node: fx.Node, constants: Constants) -> Masking | None:
    """What a node masks; ``None`` where it does not, or not by a constant."""
    if node.op != "call_function":
        return None
    if node.target in MULTIPLIES:
        return _multiply(node, constants)
    if node.target in _WHERES:
        condition, on_true, on_false = node.args[:3]
        return _select(node, constants, condition, on_true, on_false)
    if node.target in _FILLS:
        data, condition, value = node.args[:3]
        return _select(node, constants, condition, value, data)
    return None


def _multiply(node: fx.Node, constants: Constants) -> Masking | None:
    for data, factor in (node.args[:2], node.args[1::-1]):
        if not isinstance(data, fx.Node) or not isinstance(factor, fx.Node):
            continue
        value = constants.value(factor)
        if value is None or constants.value(data) is not None:
            continue
        kept = _expanded(value != 0, data)
        if kept is None or not _same_shape(node, data):
            return None
        exact = bool(((value == 0) | (value == 1)).all())
        return Masking(node, data, kept, torch.zeros(()), factor, exact)
    return None


def _select(
    node: fx.Node, constants: Constants, condition: Any, on_true: Any, on_false: Any
) -> Masking | None:
    mask = constants.value(condition) if isinstance(condition, fx.Node) else None
    if mask is None or mask.dtype != torch.bool:
        return None
    for data, other, kept in ((on_true, on_false, mask), (on_false, on_true, ~mask)):
        if not isinstance(data, fx.Node) or constants.value(data) is not None:
            continue
        fill = _value(other, constants)
        whole = _expanded(kept, data)
        if fill is None or whole is None or not _same_shape(node, data):
            return None
        if _expanded(fill, data) is None:
            return None
        return Masking(node, data, whole, fill.to(torch.float32), None, True)
    return None


def _value(argument: Any, constants: Constants) -> Tensor | None:
    if isinstance(argument, fx.Node):
        return constants.value(argument)
    return torch.tensor(float(argument)) if isinstance(argument, int | float) else None


def _same_shape(node: fx.Node, data: fx.Node) -> bool:
    result, source = node.meta.get("val"), data.meta.get("val")
    if not isinstance(result, Tensor) or not isinstance(source, Tensor):
        return False
    return result.shape == source.shape and result.dtype == source.dtype


def _expanded(value: Tensor, data: fx.Node) -> Tensor | None:
    source = data.meta.get("val")
    if not isinstance(source, Tensor) or not all(isinstance(n, int) for n in source.shape):
        return None
    try:
        return value.expand(source.shape)
    except RuntimeError:
        return None


_COPIES = (_aten.clone.default, _aten.detach.default, _aten.alias.default)
_VIEWS = (_aten.view.default, _aten._unsafe_view.default)


# --- plainer forms ----------------------------------------------------------------------------


def simplify(module: fx.GraphModule, constants: Constants) -> None:
    """Bring a graph to the forms that :func:`find_masking` and what follows it know.

    Checks of types, dropout and copies, which do nothing here, go. Views become reshapes: without
    the copies, and channel-last as in the file, tensors may be laid out so that no view is to be
    had. Constants that take no more than the shape or type of a tensor (``zeros_like``) do not read
    it any more. What is put at the places of a constant mask becomes a ``where``.
    """
    graph = module.graph
    for node in graph.nodes:
        if node.target in _VIEWS:
            node.target = _aten.reshape.default
    for node in list(graph.nodes):
        if node.op != "call_function":
            continue
        if node.target is _aten._assert_tensor_metadata.default:
            graph.erase_node(node)
        elif node.target in _COPIES or (node.target is _aten.dropout.default and not node.args[2]):
            node.replace_all_uses_with(cast(fx.Node, node.args[0]))
            graph.erase_node(node)
        elif (plain := _plain_constant(node)) is not None or (
            plain := _put(node, constants) or _product(node, constants, graph)
        ) is not None:
            target, args, kwargs = plain
            with graph.inserting_before(node):
                new = graph.call_function(target, args, kwargs)
            new.meta = dict(node.meta)
            node.replace_all_uses_with(new)
            graph.erase_node(node)


_Call = tuple[Any, tuple[Any, ...], dict[str, Any]]

_LIKE = {
    _aten.zeros_like.default: 0,
    _aten.ones_like.default: 1,
    _aten.new_zeros.default: 0,
    _aten.new_ones.default: 1,
}


def _plain_constant(node: fx.Node) -> _Call | None:
    result = node.meta.get("val")
    if not isinstance(result, Tensor) or not all(isinstance(n, int) for n in result.shape):
        return None
    if node.target is _aten.type_as.default:
        return _aten._to_copy.default, (node.args[0],), {"dtype": result.dtype}
    value: Any
    if node.target in _LIKE:
        value = _LIKE[cast(Any, node.target)]
    elif node.target in (_aten.full_like.default, _aten.new_full.default):
        value = node.args[-1]
    else:
        return None
    if isinstance(value, fx.Node):
        return None
    return _aten.full.default, (list(result.shape), value), {"dtype": result.dtype}


def _put(node: fx.Node, constants: Constants) -> _Call | None:
    """``index_put`` of one value at the places of a mask of the last axes."""
    if node.target is not _aten.index_put.default or len(node.args) > 3:
        return None
    data, indices, value = cast(tuple[fx.Node, list[Any], fx.Node], node.args)
    source, mask = data.meta["val"], indices[-1]
    if not isinstance(mask, fx.Node) or any(index is not None for index in indices[:-1]):
        return None
    if mask.meta["val"].dtype != torch.bool or value.meta["val"].numel() != 1:
        return None
    if len(indices) - 1 + mask.meta["val"].dim() != source.dim() or constants.value(mask) is None:
        return None
    return _aten.where.self, (mask, value, data), {}


def _product(node: fx.Node, constants: Constants, graph: fx.Graph) -> _Call | None:
    """``einsum("nchw,hw->nchw", x, mask)``, which sums nothing, as a multiplication."""
    if node.target is not _aten.einsum.default:
        return None
    equation, operands = str(node.args[0]).replace(" ", ""), cast(list[fx.Node], node.args[1])
    terms, _, result = equation.partition("->")
    parts = terms.split(",")
    if len(parts) != 2 or len(operands) != 2 or "." in equation:
        return None
    for (own, x), (other, factor) in zip(
        zip(parts, operands, strict=True),
        zip(parts[::-1], operands[::-1], strict=True),
        strict=True,
    ):
        known = constants.value(factor)
        if own != result or known is None or not set(other) <= set(own):
            continue
        if len(set(other)) != len(other) or len(set(own)) != len(own):
            continue
        order = [other.index(letter) for letter in own if letter in other]
        shape = [known.shape[other.index(letter)] if letter in other else 1 for letter in own]
        with graph.inserting_before(node):
            turned = graph.call_function(_aten.permute.default, (factor, order))
            spread = graph.call_function(_aten.reshape.default, (turned, shape))
        turned.meta["val"] = known.permute(order)
        spread.meta["val"] = known.permute(order).reshape(shape)
        return _aten.mul.Tensor, (x, spread), {}
    return None
