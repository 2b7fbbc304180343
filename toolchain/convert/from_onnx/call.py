"""One ONNX operator as it is called: its tensors, its constants, its attributes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from toolchain.convert.from_onnx.file import Node
from toolchain.errors import ModelError
from toolchain.foreign_text import harmless

MOST_VALUES = 2**28
"""Of one tensor, 1 GiB: a small file could ask for all memory otherwise."""


@dataclass(frozen=True, eq=False)
class Call:
    """What an operator's function is given."""

    node: Node
    opset: int
    tensors: Sequence[Tensor | None]
    """Inputs; ``None`` were left away."""
    constants: Mapping[int, Tensor]
    """Those of them that are known, whatever the network's input is."""

    def __getitem__(self, number: int) -> Tensor:
        tensor = self.tensors[number] if number < len(self.tensors) else None
        if tensor is None:
            raise self.fault(f"its input {number} is missing")
        return tensor

    def has(self, number: int) -> bool:
        """Whether an input is given."""
        return number < len(self.tensors) and self.tensors[number] is not None

    def get(self, number: int) -> Tensor | None:
        """An input that may be left away."""
        return self[number] if self.has(number) else None

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute, or what stands for one that is not there."""
        return self.node.attributes.get(name, default)

    def numbers(self, number: int, name: str = "", default: Any = None) -> Any:
        """A list of numbers that is an input since some opset, and an attribute before.

        Raises:
            ModelError: it depends on the network's input.
        """
        if not self.has(number):
            return self.attribute(name, default) if name else default
        if number not in self.constants:
            raise self.fault(
                f"its input {number}, which says how it computes, depends on values",
                hint="export the model for one input shape, without dynamic axes",
            )
        return self.constants[number].tolist()

    def scalar(self, number: int, name: str = "", default: Any = None) -> Any:
        """The same of one number."""
        found = self.numbers(number, name, default)
        while isinstance(found, list):
            if len(found) != 1:
                raise self.fault(f"its input {number} is not one number")
            found = found[0]
        return found

    def axes(self, number: int) -> list[int] | None:
        """The axes that an operator goes over; ``None`` where none are named."""
        found = self.numbers(number, "axes")
        return None if found is None else [found] if isinstance(found, int) else list(found)

    def bounded(self, shape: Sequence[int]) -> list[int]:
        """A shape that something is to be made of.

        Raises:
            ModelError: it is not one, or larger than a gibibyte.
        """
        sizes = [int(size) for size in shape]
        if any(size < 0 for size in sizes) or math.prod(sizes) > MOST_VALUES:
            raise self.fault(f"it makes a tensor of {'x'.join(map(str, sizes))[:80]}")
        return sizes

    def fault(self, why: str, hint: str | None = None) -> ModelError:
        """The error of this operator."""
        return ModelError(f"the operator {described(self.node)}: {why}", hint=hint)


def described(node: Node) -> str:
    """An operator and its name, harmless for a terminal."""
    name = node.name or next(iter(node.outputs), "")
    return harmless(f"{node.op[:60]} '{name[:120]}'")
