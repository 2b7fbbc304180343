"""The inputs and outputs of a converted file, and what its numbers stand for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from toolchain.agreement.differences import Array
from toolchain.agreement.interpreter import signature_details
from toolchain.tflite_file.graph import Graph, read_model
from toolchain.tflite_file.layers import quantization_of


@dataclass(frozen=True)
class Port:
    """An input or output of a file."""

    dtype: np.dtype[Any]
    scale: float
    zero_point: int
    step: float | None
    """Of its values: the scale, or that of the tensor that is only unpacked to it."""

    @property
    def quantised(self) -> bool:
        """Whether its whole numbers stand for real ones; those of an index or a class do not."""
        return self.dtype.kind in "iu" and self.scale != 0

    def to_file(self, array: Array) -> Array:
        """Real numbers as the file takes them."""
        if not self.quantised:
            return array
        span = np.iinfo(self.dtype)
        stored = np.round(array / self.scale) + self.zero_point
        return np.clip(stored, span.min, span.max).astype(self.dtype)

    def from_file(self, array: Array) -> Array:
        """What the file gives as real numbers."""
        if not self.quantised:
            return array
        return (array.astype(np.float32) - self.zero_point) * np.float32(self.scale)


@dataclass(frozen=True)
class Ports:
    """The inputs and outputs of a file, in its signature's order."""

    inputs: list[Port]
    outputs: list[Port]


def read_ports(path: Path) -> Ports:
    """The inputs and outputs of a converted file.

    Raises:
        VerificationError: the stock interpreter cannot load it.
    """
    graph = read_model(path).graph
    inputs, outputs = signature_details(path)
    return Ports([_port(graph, one) for one in inputs], [_port(graph, one) for one in outputs])


def _port(graph: Graph, detail: dict[str, Any]) -> Port:
    scale, zero_point = detail["quantization"]
    found = quantization_of(graph, detail["index"])
    step = float(found.scale[0]) if found is not None else None
    return Port(np.dtype(detail["dtype"]), float(scale), int(zero_point), step)


def channel_last_array(tensor: Tensor) -> Array:
    """A tensor as the file has it: ``[N, C, H, W]`` -> ``[N, H, W, C]``; others stay."""
    if tensor.dim() == 4:
        tensor = tensor.permute(0, 2, 3, 1)
    array: Array = tensor.contiguous().numpy()
    return array
