"""Fold what follows a mask into the masked convolution, in a ``.tflite`` file.

TensorFlow's converter folds BatchNorm into a convolution, and fuses an activation, only where they
stand right behind it. A mask stands between, as the method wants it (arXiv 2309.06626):

    CONV -> SELECT_V2(mask, fill) -> MUL(scale) -> ADD(shift, RELU)

Scale and shift are constants of each channel, so they go into the weights and the bias, and into
the fill, and the activation behind them, too. What is left is the pair that a runtime skips:

    CONV(RELU) -> SELECT_V2(mask, relu(fill * scale + shift))
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from toolchain.tflite_file.graph import ACTIVATIONS, Graph, Operator, Tensor, parse_model
from toolchain.tflite_file.packing import Buffer, drop_unused, pack, unpack

Array = npt.NDArray[Any]
Rename = Callable[[str], str | None]

_CONVOLUTIONS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3}
"""Operator -> the axis of its weights that is the output's channels."""
_ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "NONE": lambda x: x,
    "RELU": lambda x: np.maximum(x, 0),
    "RELU6": lambda x: np.clip(x, 0, 6),
    "RELU_N1_TO_1": lambda x: np.clip(x, -1, 1),
}
"""Those that XNNPACK's convolution applies."""
_NUMBERS = {name: getattr(schema.ActivationFunctionType, name) for name in _ACTIVATIONS}


def fold(raw: bytes, rename: Rename = lambda _: None) -> bytes:
    """A copy of a float32 file in which nothing follows a mask that its convolution can do.

    Args:
        raw: the file.
        rename: gives a masked convolution its name, by the name of the ``SELECT_V2``'s output;
            ``None`` leaves the name that the file has.
    """
    graph = parse_model(raw).graph
    pairs = [pair for op in graph.operators if (pair := _Pair.at(graph, op))]
    if not pairs:
        return raw
    model = unpack(raw)
    writer = _Writer(model, graph)
    gone = {index for pair in pairs for index in writer.fold(pair, rename)}
    main = model.subgraphs[0]
    main.operators = [op for index, op in enumerate(main.operators) if index not in gone]
    drop_unused(model)
    return pack(model)


class _Pair:
    """A convolution, its mask, and the operators behind that are folded."""

    def __init__(self, graph: Graph, conv: Operator, select: Operator, fill: Tensor) -> None:
        self.conv, self.select = conv, select
        self.swapped = select.inputs[1] == fill.index
        channels = graph.tensors[select.outputs[0]].shape[3]
        assert fill.data is not None  # noqa: S101 (at() looked)
        self.fill: Array = np.broadcast_to(fill.data.reshape(-1), (channels,)).astype(np.float64)
        self.scale, self.shift = np.ones(channels), np.zeros(channels)
        self.activation = _fused(conv)
        self.folded: list[Operator] = []
        self._follow(graph)

    @classmethod
    def at(cls, graph: Graph, select: Operator) -> _Pair | None:
        """The pair of a ``SELECT_V2`` that masks a convolution of float32; ``None`` for others."""
        if select.op != "SELECT_V2" or len(select.inputs) != 3 or min(select.inputs) < 0:
            return None
        mask, *values = (graph.tensors[index] for index in select.inputs)
        made = [one for one in values if one.index in graph.producers]
        fills = [one for one in values if one.data is not None]
        if mask.data is None or len(made) != 1 or len(fills) != 1:
            return None
        conv, result = graph.producers[made[0].index], graph.tensors[select.outputs[0]]
        if conv.op not in _CONVOLUTIONS or graph.sole_consumer(made[0].index) is not select:
            return None
        known = result.dtype == "float32" and len(result.shape) == 4
        if (
            not known
            or result.shape != made[0].shape
            or fills[0].elements
            not in (
                1,
                result.shape[3],
            )
        ):
            return None
        weights = graph.tensors[conv.inputs[1]]
        if len(conv.inputs) < 3 or min(conv.inputs) < 0 or weights.data is None:
            return None
        if graph.tensors[conv.inputs[2]].data is None:
            return None
        if weights.dtype != "float32" or _fused(conv) not in _ACTIVATIONS:
            return None
        return cls(graph, conv, select, fills[0])

    def _follow(self, graph: Graph) -> None:
        """Take in one operator after the other, up to an activation."""
        result = graph.tensors[self.select.outputs[0]]
        while self.activation == "NONE":
            op = graph.sole_consumer(result.index)
            if op is None or len(op.outputs) != 1 or not self._take(graph, op, result):
                return
            self.folded.append(op)
            result = graph.tensors[op.outputs[0]]

    def _take(self, graph: Graph, op: Operator, data: Tensor) -> bool:
        if graph.tensors[op.outputs[0]].shape != data.shape:
            return False
        if op.op in _ACTIVATIONS:
            return self._activate(op.op)
        if op.op not in ("MUL", "ADD") or len(op.inputs) != 2 or _fused(op) not in _ACTIVATIONS:
            return False
        others = [index for index in op.inputs if index != data.index]
        if len(others) != 1:
            return False
        values = _by_channel(graph.tensors[others[0]], data.shape[3])
        if values is None:
            return False
        if op.op == "MUL":
            self.scale, self.shift, self.fill = (
                item * values for item in (self.scale, self.shift, self.fill)
            )
        else:
            self.shift, self.fill = self.shift + values, self.fill + values
        return self._activate(_fused(op))

    def _activate(self, name: str) -> bool:
        self.activation, self.fill = name, _ACTIVATIONS[name](self.fill)
        return True


class _Writer:
    """Changes the objects of a file."""

    def __init__(self, model: Any, graph: Graph) -> None:
        self._model, self._graph = model, graph
        self._main = model.subgraphs[0]
        self._names = {tensor.name for tensor in self._main.tensors}

    def fold(self, pair: _Pair, rename: Rename) -> Iterable[int]:
        """Write what a pair has become; the operators that are not needed any more."""
        conv = self._main.operators[pair.conv.index]
        select = self._main.operators[pair.select.index]
        weights, bias = (self._graph.tensors[index] for index in pair.conv.inputs[1:3])
        assert weights.data is not None and bias.data is not None  # noqa: S101, PT018 (at() looked)
        if pair.folded:
            shape = [1] * 4
            shape[_CONVOLUTIONS[pair.conv.op]] = -1
            conv.inputs = [
                pair.conv.inputs[0],
                self._constant(weights, weights.data * pair.scale.reshape(shape)),
                self._constant(bias, bias.data.reshape(-1) * pair.scale + pair.shift),
            ]
            conv.builtinOptions.fusedActivationFunction = _NUMBERS[pair.activation]
            fill = self._new(pair.fill.reshape(1, 1, 1, -1), self._name(select) + b";fill")
            inputs = list(pair.select.inputs)
            inputs[1 if pair.swapped else 2] = fill
            select.inputs = inputs
        name = rename(self._name(select).decode("utf-8", errors="replace"))
        if name is not None:
            self._main.tensors[pair.conv.outputs[0]].name = self._unique(name.encode())
        if pair.folded:
            select.outputs = [pair.folded[-1].outputs[0]]
        return [op.index for op in pair.folded]

    def _name(self, op: Any) -> bytes:
        return bytes(self._main.tensors[op.outputs[0]].name or b"")

    def _constant(self, like: Tensor, values: Array) -> int:
        return self._new(values.reshape(like.shape), like.name.encode() + b";folded")

    def _unique(self, name: bytes) -> bytes:
        """A name that no other tensor has, which is what quantizers want."""
        found, number = name, 1
        while found in self._names:
            number += 1
            found = name + f";{number}".encode()
        self._names.add(found)
        return found

    def _new(self, values: Array, name: bytes) -> int:
        self._model.buffers.append(Buffer(values.astype("<f4").tobytes()))
        tensor = schema.TensorT()
        tensor.shape, tensor.type = list(values.shape), schema.TensorType.FLOAT32
        tensor.buffer, tensor.name = len(self._model.buffers) - 1, self._unique(name)
        tensor.hasRank = True
        self._main.tensors.append(tensor)
        return len(self._main.tensors) - 1


def _by_channel(tensor: Tensor, channels: int) -> Array | None:
    """A constant as one number for each channel; ``None`` for any other tensor."""
    if tensor.data is None or tensor.dtype != "float32":
        return None
    whole = tensor.elements == channels and tensor.shape[-1] == channels
    if tensor.elements != 1 and not whole:
        return None
    return np.broadcast_to(tensor.data.reshape(-1), (channels,)).astype(np.float64)


def _fused(op: Operator) -> str:
    return ACTIVATIONS.get(op.options.get("FusedActivationFunction", 0), "?")
