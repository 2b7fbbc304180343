"""Float32 in the place of every other float: TFLite's kernels compute in no other here."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx, nn

OTHERS = {torch.float16: "float16", torch.bfloat16: "bfloat16", torch.float64: "float64"}


def has_other_floats(module: nn.Module) -> list[str]:
    """Which of its weights' types are floats other than float32."""
    tensors = (*module.parameters(), *module.buffers())
    return sorted({OTHERS[tensor.dtype] for tensor in tensors if tensor.dtype in OTHERS})


def computed_in(program: torch.export.ExportedProgram) -> list[str]:
    """Which floats other than float32 a program computes in, inside or at its outputs."""
    found = set()
    for node in program.graph.nodes:
        value = node.meta.get("val")
        for item in value if isinstance(value, tuple | list) else [value]:
            if isinstance(item, torch.Tensor) and item.dtype in OTHERS:
                found.add(OTHERS[item.dtype])
    return sorted(found)


def to_float32(module: fx.GraphModule) -> None:
    """Change a graph's weights, and the types that its operators name, to float32."""
    for owner in module.modules():
        # New tensors: the model that was exported shares the old ones.
        for name, weight in list(owner._parameters.items()):
            if weight is not None and weight.dtype in OTHERS:
                owner._parameters[name] = nn.Parameter(weight.detach().float(), requires_grad=False)
        for held in (owner._buffers, vars(owner)):
            for name, value in list(held.items()):
                if isinstance(value, torch.Tensor) and value.dtype in OTHERS:
                    held[name] = value.float()
    for node in module.graph.nodes:
        node.args = fx.node.map_aggregate(node.args, _single)
        node.kwargs = fx.node.map_aggregate(node.kwargs, _single)
        value = node.meta.get("val")
        if isinstance(value, torch.Tensor) and value.dtype in OTHERS:
            node.meta["val"] = value.to(torch.float32)
    module.recompile()


def _single(argument: Any) -> Any:
    return torch.float32 if isinstance(argument, torch.dtype) and argument in OTHERS else argument
