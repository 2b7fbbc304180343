"""Which operator of a file a runtime computes wrong, or cannot run."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from toolchain.agreement.differences import Array, Difference, absolute_difference
from toolchain.errors import ModelError, VerificationError
from toolchain.storage.scratch import temporary_folder
from toolchain.tflite_file.graph import Graph, read_model
from toolchain.tflite_file.layers import find_layers, layer_name

Run = Callable[[Path], Sequence[Array]]
"""Outputs of a file, in its graph's order, on inputs that are always the same."""

_PART = 0.1
_LEAST = 1e-5
"""Of the largest value of a tensor: what rounding does not come to."""


@dataclass(frozen=True)
class Blame:
    """The first operator whose result is another one, or that is refused."""

    index: int
    op: str
    layer: str
    """Where it stands in the model, or the name of its output."""

    def __str__(self) -> str:
        return f"operator {self.index}, {self.op} of '{self.layer}'"


def find_operator(path: Path, good: Run, bad: Run, difference: Difference | None) -> Blame | None:
    """Find the first operator behind which two runtimes differ.

    The file is cut behind an operator: whatever is alive there becomes its outputs. What is wrong
    stays alive until an output is made of it, so that halving finds the place.

    Args:
        path: a ``.tflite`` file.
        good: runs a file where it is right.
        bad: runs a file where it is wrong, or fails.
        difference: what was found at an output; a tenth of that, beside the largest value of a
            tensor, is a difference. ``None``: only what fails is looked for.

    Returns:
        ``None`` where the two agree on every cut, or the one that is right fails.
    """
    model = read_model(path)
    limit = math.inf
    if difference is not None:
        limit = max(_LEAST, _PART * difference.max_abs_diff / (difference.max_output or 1.0))
    count = len(model.graph.operators)
    low, high = 0, count  # behind `low` operators all is right
    with temporary_folder() as folder:

        def wrong(operators: int) -> bool | None:
            # A runtime may know files by their paths.
            cut = folder / f"cut{operators}.tflite"
            kept = _alive(model.graph, operators)
            if not kept:
                return False
            cut.write_bytes(_cut(path.read_bytes(), operators, kept))
            try:
                wanted = good(cut)
            except (ModelError, VerificationError):
                return None
            try:
                found = bad(cut)
            except (ModelError, VerificationError):
                return True
            return any(_apart(*pair) > limit for pair in zip(found, wanted, strict=True))

        if not wrong(count):
            return None
        while high - low > 1:
            middle = (low + high) // 2
            if wrong(middle):
                high = middle
            else:
                low = middle
    op = model.graph.operators[high - 1]
    names = {layer.index: layer.name for layer in find_layers(model)}
    result = model.graph.tensors[op.outputs[0]].name
    return Blame(op.index, op.op, names.get(op.index) or layer_name(result))


def _alive(graph: Graph, operators: int) -> list[int]:
    """Computed tensors that are read, or given, behind the first so many operators.

    Without what is computed of constants alone, such as float32 weights of float16 ones: runtimes
    unpack those at their own times.
    """
    made = set(graph.inputs)
    for op in graph.operators[:operators]:
        if made.intersection(op.inputs):
            made.update(index for index in op.outputs if index >= 0)
    made -= set(graph.inputs)
    read = {index for op in graph.operators[operators:] for index in op.inputs}
    return sorted(made & (read | set(graph.outputs)))


def _cut(content: bytes, operators: int, outputs: Sequence[int]) -> bytes:
    model: Any = schema.ModelT.InitFromPackedBuf(bytearray(content), 0)
    graph = model.subgraphs[0]
    graph.operators = graph.operators[:operators]
    graph.outputs = np.asarray(outputs, np.int32)
    for signature in model.signatureDefs or []:
        if signature.subgraphIndex == 0:
            signature.outputs = [_named(f"output_{i}", index) for i, index in enumerate(outputs)]
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _named(name: str, index: int) -> Any:
    found: Any = schema.TensorMapT()
    found.name, found.tensorIndex = name, index
    return found


def _apart(found: Array, wanted: Array) -> float:
    difference = absolute_difference(found, wanted)
    largest = np.abs(wanted.astype(np.float64)).max(initial=0.0)
    top = float(difference.max(initial=0.0))
    return top / float(largest) if largest else top
