"""What goes into a network and comes out of it, as a file has it: tensors, one after the other.

A network may give dicts, named tuples and dataclasses, ``None`` among the tensors, and numbers of
types that TFLite's kernels do not compute in.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor, nn

from toolchain.errors import ModelError

_STORED = {
    torch.float16: torch.float32,
    torch.bfloat16: torch.float32,
    torch.float64: torch.float32,
    torch.int64: torch.int32,
}
"""Types of outputs that are others in the file."""
_KEPT = (torch.float32, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)
_ORDER, _BACK = (0, 2, 3, 1), (0, 3, 1, 2)


@dataclass(frozen=True)
class Interface:
    """Which of a network's leaves are tensors, and how their axes stand."""

    in_spec: pytree.TreeSpec
    """The tree of ``(args, kwargs)`` that the inputs are the leaves of."""
    outputs: tuple[int, ...] | None = None
    """Numbers of the leaves that are outputs of the file; ``None`` for all."""
    last_inputs: frozenset[int] = frozenset()
    """Inputs that the network takes as ``[N, H, W, C]``."""
    last_outputs: frozenset[int] = frozenset()
    """Leaves that it gives so."""


class Flat(nn.Module):
    """A module that takes its inputs, and gives its outputs, one after the other in a tuple.

    Images are ``[N, C, H, W]`` whatever the module has; types are those of the file.

    Args:
        module: any module.
        interface: of it.
    """

    def __init__(self, module: nn.Module, interface: Interface) -> None:
        super().__init__()
        self.module, self._interface = module, interface

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Tensors to tensors."""
        interface = self._interface
        given = [
            tensor.permute(_ORDER) if number in interface.last_inputs else tensor
            for number, tensor in enumerate(inputs)
        ]
        args, kwargs = pytree.tree_unflatten(given, interface.in_spec)
        leaves = pytree.tree_leaves(self.module(*args, **kwargs))
        numbers = range(len(leaves)) if interface.outputs is None else interface.outputs
        results = []
        for number in numbers:
            tensor = leaves[number]
            if tensor.dtype in _STORED:
                tensor = tensor.to(_STORED[tensor.dtype])
            results.append(tensor.permute(_BACK) if number in interface.last_outputs else tensor)
        return tuple(results)


@dataclass(frozen=True)
class Outputs:
    """What a network gave, as far as a file can hold it."""

    leaves: tuple[int, ...]
    """Numbers of the leaves that are tensors."""
    names: tuple[str, ...]
    """Of these in torch: ``['out']``, ``[1]``; empty where there is one alone."""
    notes: tuple[str, ...]
    """What is not in the file, or is of another type there, a sentence each."""


def describe_outputs(result: Any, where: str) -> Outputs:
    """Sort what a network gave.

    Args:
        result: what its ``forward`` returned.
        where: the network, for messages.

    Raises:
        ModelError: there is no tensor, or something that no file can hold; says which and where.
    """
    leaves, names, notes = [], [], []
    pairs = pytree.tree_flatten_with_path(result)[0]
    for number, (path, value) in enumerate(pairs):
        name = pytree.keystr(path)
        what = f"output {name}" if name else "the output"
        if value is None:
            notes.append(f"{what} is None in torch, and is not in the file")
        elif isinstance(value, bool | int | float | str):
            notes.append(f"{what} is {value!r}, always, and is not in the file")
        elif not isinstance(value, Tensor):
            raise ModelError(
                f"{where}: {what} is of type {type(value).__name__}",
                hint="give tensors (or None), in tuples, lists, dicts, named tuples or dataclasses",
            )
        elif value.dtype not in _KEPT and value.dtype not in _STORED:
            raise ModelError(
                f"{where}: {what} is of type {value.dtype}, which no TFLite kernel computes",
                hint="give its parts as float32 outputs: torch.view_as_real(x) for complex numbers",
            )
        else:
            if value.dtype in _STORED:
                kinds = [str(kind).removeprefix("torch.") for kind in
                         (value.dtype, _STORED[value.dtype])]  # fmt: skip
                notes.append(f"{what} is {kinds[0]} in torch, {kinds[1]} in the file")
            leaves.append(number)
            names.append(name)
    if not leaves:
        raise ModelError(
            f"{where}: gives no tensor", hint="a network's forward returns its outputs"
        )
    return Outputs(tuple(leaves), tuple(names) if len(names) > 1 else ("",), tuple(notes))


def register_containers(result: Any) -> None:
    """Make torch know the dataclasses, and the kinds of dicts, that a network gives."""
    seen: list[Any] = [result]
    while seen:
        value = seen.pop()
        kind = type(value)
        known = kind in pytree.SUPPORTED_NODES
        if isinstance(value, Mapping):
            if not known:
                _register(kind, lambda given: dict(given.items()), pytree.MappingKey)
            seen += value.values()
        elif dataclasses.is_dataclass(value):
            if not known:
                _register(kind, _fields, pytree.GetAttrKey)
            seen += _fields(value).values()
        elif isinstance(value, list | tuple):
            seen += value


def _fields(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def _register(
    kind: type[Any], items: Callable[[Any], dict[Any, Any]], entry: Callable[[Any], Any]
) -> None:
    def flatten(value: Any) -> tuple[list[Any], list[Any]]:
        found = items(value)
        return list(found.values()), list(found)

    def flatten_with_keys(value: Any) -> tuple[list[tuple[Any, Any]], list[Any]]:
        found = items(value)
        return [(entry(key), item) for key, item in found.items()], list(found)

    def unflatten(values: Any, keys: list[Any]) -> Any:
        # Not of its own kind: what its constructor wants is not known, and nobody reads it.
        return dict(zip(keys, values, strict=True))

    pytree.register_pytree_node(
        kind,
        flatten,
        unflatten,
        serialized_type_name=_full_name(kind),
        flatten_with_keys_fn=flatten_with_keys,
    )


def _full_name(kind: type[Any]) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def images_first(shapes: Sequence[tuple[int, ...]], last: Collection[int]) -> list[tuple[int, ...]]:
    """Shapes with the channels behind the batch, where some numbers have them last."""
    return [
        (shape[0], shape[3], shape[1], shape[2]) if number in last else tuple(shape)
        for number, shape in enumerate(shapes)
    ]
