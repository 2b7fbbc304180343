"""Find the operator of a graph that a converter cannot take: by giving it each one alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols

from toolchain.convert.reach import name_of

Converter = Callable[[nn.Module, Sequence[Tensor], Sequence[Tensor]], None]
"""Takes a module, its inputs and its outputs; raises what it raises."""

_COMMON = (
    *("conv2d", "relu", "relu6", "sigmoid", "add", "mul", "sub", "where", "batch_norm", "linear"),
    *("reshape", "view", "permute", "cat", "mean", "max_pool2d", "avg_pool2d", "hardtanh", "silu"),
    *("adaptive_avg_pool2d", "hardswish", "softmax", "unsqueeze", "slice", "full", "_to_copy"),
    *("flatten", "select"),
)
"""Tried last: they are hardly ever at fault."""


BY_VALUE = (
    "item",
    "_local_scalar_dense",
    "nonzero",
    "masked_select",
    "_unique2",
    "bincount",
    "nms",
)
"""Operators whose results, as numbers or as sizes, torch knows when it has the values alone."""


def find_culprit(module: fx.GraphModule, convert: Converter) -> fx.Node | None:
    """The node that a graph cannot be converted for.

    Args:
        module: nodes have ``meta["val"]``.
        convert: raises for what it cannot take.

    Returns:
        One whose result depends on values; else the first that cannot be converted alone; else the
        first up to which the graph cannot be; ``None`` where all can.
    """
    for node in module.graph.nodes:
        if node.op == "call_function" and depends_on_values(node):
            return cast(fx.Node, node)
    return _alone(module, convert) or _first(module, convert)


def depends_on_values(node: fx.Node) -> bool:
    """Whether what a node gives, or how much, is known with the values of its input alone."""
    value = node.meta.get("val")
    sizes = list(value.shape) if isinstance(value, Tensor) else [value]
    return name_of(node) in BY_VALUE or any(
        isinstance(size, torch.SymInt) and bool(free_unbacked_symbols(size)) for size in sizes
    )


def _alone(module: fx.GraphModule, convert: Converter) -> fx.Node | None:
    seen: set[Any] = set()
    nodes = [node for node in module.graph.nodes if node.op in ("call_function", "call_module")]
    for node in sorted(nodes, key=lambda item: name_of(item) in _COMMON):
        key = _key(node)
        if key in seen:
            continue
        seen.add(key)
        one = _One.of(module, node)
        if one is None:
            continue
        inputs, outputs = one.example()
        if not outputs:
            continue
        try:
            convert(one, inputs, outputs)
        except Exception:
            return cast(fx.Node, node)
    return None


def _first(module: fx.GraphModule, convert: Converter) -> fx.Node | None:
    """By halves: what fails up to a node fails up to all behind it."""
    inputs = [node for node in module.graph.nodes if node.op == "placeholder"]
    nodes = [
        node
        for node in module.graph.nodes
        if node.op in ("call_function", "call_module") and isinstance(node.meta.get("val"), Tensor)
    ]
    low, high = 0, len(nodes)  # all before `low` are known to do, all from `high` on to fail
    while low < high:
        middle = (low + high) // 2
        part = _until(module, nodes[middle])
        values = [node.meta["val"] for node in (*inputs, nodes[middle])]
        *given, result = [torch.zeros([int(n) for n in v.shape], dtype=v.dtype) for v in values]
        try:
            convert(part, given, [result])
            low = middle + 1
        except Exception:
            high = middle
    return cast(fx.Node, nodes[low]) if low < len(nodes) else None


def _until(module: fx.GraphModule, last: fx.Node) -> fx.GraphModule:
    graph, copies = fx.Graph(), dict[fx.Node, fx.Node]()
    for node in module.graph.nodes:
        copies[node] = graph.node_copy(node, lambda source: copies[source])
        if node is last:
            break
    graph.output((copies[last],))
    part = fx.GraphModule(module, graph)
    # Not before: whether a module may go is asked of the module that holds it.
    part.graph.eliminate_dead_code()
    part.recompile()
    return part


def _key(node: fx.Node) -> Any:
    """Two nodes of one key are converted alike."""
    shapes = str(
        [getattr(source.meta.get("val"), "shape", None) for source in node.all_input_nodes]
    )
    numbers = fx.node.map_arg((node.args, node.kwargs), lambda _: "a tensor")
    return str(node.target), shapes, str(numbers)


class _One(nn.Module):
    """One node of a graph as a module of the tensors that it reads."""

    def __init__(self, node: fx.Node, operation: Callable[..., Any], fixed: dict[str, Any]) -> None:
        super().__init__()
        self._node, self._operation, self._fixed = node, operation, fixed
        self._free = [source for source in node.all_input_nodes if source.name not in fixed]

    @classmethod
    def of(cls, module: fx.GraphModule, node: fx.Node) -> _One | None:
        """``None`` where it cannot stand alone."""
        operation = (
            module.get_submodule(str(node.target)) if node.op == "call_module" else node.target
        )
        fixed: dict[str, Any] = {}
        for source in node.all_input_nodes:
            if source.op == "get_attr":
                value: Any = module
                for part in str(source.target).split("."):
                    value = getattr(value, part)
                fixed[source.name] = value.detach() if isinstance(value, Tensor) else value
            elif not isinstance(source.meta.get("val"), Tensor):
                return None
        return cls(node, cast(Callable[..., Any], operation), fixed)

    def example(self) -> tuple[list[Tensor], list[Tensor]]:
        """Inputs, and what comes of them; nothing where torch itself cannot run it."""
        inputs = [
            torch.zeros([int(size) for size in value.shape], dtype=value.dtype)
            for value in (source.meta["val"] for source in self._free)
        ]
        try:
            with torch.no_grad():
                return inputs, list(self(*inputs))
        except Exception:
            return inputs, []

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """What the node gives, tensors alone."""
        values = {source.name: one for source, one in zip(self._free, tensors, strict=True)}
        values |= self._fixed
        args, kwargs = fx.node.map_arg(
            (self._node.args, self._node.kwargs), lambda source: values[source.name]
        )
        result = self._operation(*args, **kwargs)
        found = result if isinstance(result, tuple | list) else [result]
        return tuple(item for item in found if isinstance(item, Tensor))
