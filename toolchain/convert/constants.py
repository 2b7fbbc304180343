"""What nodes of a graph hold that depend on no input."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx


class Constants:
    """Values of a graph's constant nodes, each computed once.

    What a convolution gives is never one, also where its input is a constant: layers keep their
    form.

    Args:
        module: whose graph it is; its parameters and buffers are constants.
    """

    def __init__(self, module: fx.GraphModule) -> None:
        self._module = module
        self._known: dict[fx.Node, Tensor | None] = {}

    def value(self, node: fx.Node) -> Tensor | None:
        """The value of a node that depends on no input; ``None`` for others."""
        # Not by recursion: a chain of nodes may be longer than Python's stack.
        stack = [node]
        while stack:
            last = stack[-1]
            missing = [n for n in last.all_input_nodes if n not in self._known]
            if last in self._known or not missing:
                stack.pop()
                if last not in self._known:
                    self._known[last] = self._evaluate(last)
            else:
                stack += missing
        return self._known[node]

    def stored(self, node: fx.Node) -> list[fx.Node]:
        """The stored tensors that a constant is made from."""
        if node.op == "get_attr":
            return [node]
        return [root for source in node.all_input_nodes for root in self.stored(source)]

    def _evaluate(self, node: fx.Node) -> Tensor | None:
        if node.op == "get_attr":
            value: Any = self._module
            for part in str(node.target).split("."):
                value = getattr(value, part)
            return value.detach() if isinstance(value, Tensor) else None
        target = node.target
        if node.op != "call_function" or not isinstance(target, torch._ops.OpOverload):
            return None
        if torch.Tag.nondeterministic_seeded in target.tags or "conv" in target._schema.name:
            return None
        if any(self._known[source] is None for source in node.all_input_nodes):
            return None
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda n: self._known[n])
        with torch.no_grad():
            result = target(*args, **kwargs)
        return result if isinstance(result, Tensor) else None
