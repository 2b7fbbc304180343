"""Lay masks on a copy of any ``.tflite`` file, flatbuffer in and flatbuffer out.

A masked convolution is ``CONV_2D | DEPTHWISE_CONV_2D -> SELECT_V2(mask, conv, fill)``. The
convolution gets a new output, and the ``SELECT_V2`` takes its old one over, so that nothing else of
the graph changes. A masked pixel holds what the convolution gives for an input of zeros, that is
its activation of the bias: where BatchNorm was folded into the convolution, this is BatchNorm of 0.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from toolchain.errors import ModelError
from toolchain.tflite_file.graph import Graph, Model, Tensor, parse_model
from toolchain.tflite_file.layers import MAX_PIXELS, Layer, Plane, find_layers, unpacked
from toolchain.tflite_file.packing import Buffer, pack, unpack
from toolchain.tflite_file.untrained import UNTRAINED

HAS_MASK = "there is a mask already"
"""Why a convolution that has a mask gets no other one."""
_SELECT = schema.BuiltinOperator.SELECT_V2
_LIMITS: Mapping[str, tuple[float, float]] = {
    "NONE": (-np.inf, np.inf),
    "RELU": (0, np.inf),
    "RELU6": (0, 6),
    "RELU_N1_TO_1": (-1, 1),
}
_INTEGERS = {"int8": np.int8, "uint8": np.uint8}

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Candidate:
    """A convolution that could carry a mask, or why it cannot."""

    layer: Layer
    fault: str | None


def candidates(model: Model) -> list[Candidate]:
    """Every convolution of a file, in its order."""
    return [
        Candidate(layer, _fault(model.graph, layer))
        for layer in find_layers(model)
        if layer.kernel is not None
    ]


def _fault(graph: Graph, layer: Layer) -> str | None:
    if layer.op not in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        return f"{layer.op} is no convolution that the runtime masks"
    if layer.mask is not None:
        return HAS_MASK
    if {1, 2} & set(graph.tensors[graph.operators[layer.index].outputs[0]].varies):
        return "the output's height or width is not fixed in the file"
    if layer.pixels < 2:
        return "the output is a single pixel"
    if layer.pixels > MAX_PIXELS:
        return f"the output has {layer.pixels} pixels"
    if layer.dtype not in ("float32", *_INTEGERS):
        return f"outputs are {layer.dtype}; the runtime masks float32, int8 and uint8"
    if layer.activation not in _LIMITS:
        return f"XNNPACK has no fused {layer.activation}"
    op = graph.operators[layer.index]
    weights = _stored(graph, op.inputs[1])
    if not weights.constant:
        maker = graph.producers.get(weights.index)
        sparse = maker is not None and maker.op == "DENSIFY"
        return f"the weights are {'stored sparsely' if sparse else 'no constant'}"
    any_bias = weights.dtype in _INTEGERS and layer.dtype == "float32"
    if any_bias and unpacked(graph, op.inputs[1]) is None:
        return f"weights are {weights.dtype} and outputs float32 (dynamic range)"
    if len(op.inputs) < 3 or op.inputs[2] < 0:
        return None if any_bias else "there is no bias, which XNNPACK's delegate needs"
    bias = _stored(graph, op.inputs[2])
    if bias.data is None:
        return None if any_bias else "the bias is no constant"
    channels = layer.output_shape[3]
    scales = [one.quantization.scale.size for one in (weights, bias) if one.quantization]
    if bias.data.size != channels or not {1, channels}.issuperset(scales):
        return "the bias is not one number for each channel"
    return None


def _stored(graph: Graph, tensor: int) -> Tensor:
    """A tensor, or the one that a DEQUANTIZE unpacks to it."""
    packed = unpacked(graph, tensor)
    return graph.tensors[tensor] if packed is None else packed


def lay_masks(
    raw: bytes, masks: Mapping[int, Plane], how: Mapping[str, object], name: str = "model"
) -> bytes:
    """A copy of a file with masks.

    Args:
        raw: the file.
        masks: by the operator's index in the main graph: bool ``[H, W]``, True = kept.
        how: what the copy's metadata says of them.
        name: of the file, for messages.

    Raises:
        ModelError: the file is damaged, stores its weights behind the flatbuffer, or an operator
            cannot carry a mask.
    """
    model = parse_model(raw, name)
    known = {one.layer.index: one for one in candidates(model)}
    for index, kept in masks.items():
        one = known.get(index)
        fault = "it is no convolution" if one is None else one.fault
        if fault is None and one is not None and kept.shape != one.layer.output_shape[1:3]:
            fault = f"its output is {one.layer.output_shape[1:3]} and the mask {kept.shape}"
        if fault is not None:
            raise ModelError(f"{name}: operator {index} cannot be masked: {fault}")
    writer = _Writer(raw, name)
    for index, kept in sorted(masks.items(), reverse=True):
        layer = known[index].layer
        writer.mask(index, kept, fill_of(model.graph, layer))
    writer.say(how)
    return writer.packed()


def fill_of(graph: Graph, layer: Layer) -> Array:
    """What masked pixels of a convolution hold: its outputs for an input of zeros, ``[C]``.

    Args:
        graph: of the file.
        layer: of it, that can carry a mask.

    Returns:
        Of the type of the convolution's output: quantised as that is.
    """
    op = graph.operators[layer.index]
    bias = _bias(graph, op.inputs, layer.output_shape[3])
    low, high = _LIMITS[layer.activation]
    real = np.clip(bias, low, high)
    if layer.dtype == "float32":
        return real.astype(np.float32)
    result = graph.tensors[op.outputs[0]].quantization
    if result is None or result.scale.size != 1:
        raise ModelError(f"operator {layer.index}: its output has no scale")
    offset = int(result.zero_point[0]) if result.zero_point.size else 0
    kind = _INTEGERS[layer.dtype]
    limits = np.iinfo(kind)
    steps = np.rint(real / float(result.scale[0])) + offset
    return steps.clip(limits.min, limits.max).astype(kind)


def _bias(graph: Graph, inputs: tuple[int, ...], channels: int) -> npt.NDArray[np.float64]:
    tensor = _stored(graph, inputs[2]) if len(inputs) > 2 and inputs[2] >= 0 else None
    if tensor is None or tensor.data is None:
        return np.zeros(channels)
    values = tensor.data.reshape(-1).astype(np.float64)
    if tensor.dtype not in ("int32", "int64"):
        return values
    if tensor.quantization is not None and tensor.quantization.scale.size:
        return values * tensor.quantization.scale.astype(np.float64)
    source, weights = (graph.tensors[index].quantization for index in inputs[:2])
    if source is None or weights is None:
        raise ModelError("a bias of integers has no scale")
    return values * float(source.scale[0]) * weights.scale.astype(np.float64)


class _Writer:
    """A file as the generated code has it, with what is added."""

    def __init__(self, raw: bytes, name: str) -> None:
        self._model = unpack(raw, name)
        self._graph = self._model.subgraphs[0]
        self._planes: dict[bytes, int] = {}
        self._code: int | None = None

    def mask(self, index: int, kept: Plane, fill: Array) -> None:
        """Mask one convolution; those behind it have theirs already."""
        conv = self._graph.operators[index]
        result = int(conv.outputs[0])
        tensor = self._graph.tensors[result]
        unmasked = copy.copy(tensor)
        unmasked.buffer = 0
        # A layer is called after the convolution's output, an output of the model after itself.
        is_output = result in list(self._graph.outputs)
        named = unmasked if is_output else tensor
        named.name = (tensor.name or b"") + (b";unmasked" if is_output else b";masked")
        if not is_output:
            unmasked.name = (tensor.name or b"").removesuffix(b";masked")
        self._graph.tensors.append(unmasked)
        conv.outputs = [len(self._graph.tensors) - 1]
        select = schema.OperatorT()
        select.opcodeIndex = self._select()
        select.inputs = [
            self._plane(kept), int(conv.outputs[0]), self._constant(fill, tensor, b"fill"),
        ]  # fmt: skip
        select.outputs = [result]
        select.builtinOptionsType = schema.BuiltinOptions.SelectV2Options
        select.builtinOptions = schema.SelectV2OptionsT()
        self._graph.operators.insert(index + 1, select)

    def say(self, how: Mapping[str, object]) -> None:
        """Mark the file's masks as drawn for measuring."""
        entry = schema.MetadataT()
        entry.name = UNTRAINED.encode()
        entry.buffer = self._buffer(json.dumps(dict(how), sort_keys=True).encode())
        self._model.metadata = [*(self._model.metadata or []), entry]

    def packed(self) -> bytes:
        """The file."""
        return pack(self._model)

    def _select(self) -> int:
        if self._code is None:
            code = schema.OperatorCodeT()
            code.builtinCode, code.version = _SELECT, 1
            code.deprecatedBuiltinCode = min(_SELECT, 127)
            self._model.operatorCodes.append(code)
            self._code = len(self._model.operatorCodes) - 1
        return self._code

    def _plane(self, kept: Plane) -> int:
        """The constant of a mask, one for all convolutions that have the same."""
        key = repr(kept.shape).encode() + np.packbits(kept).tobytes()
        if key not in self._planes:
            tensor = schema.TensorT()
            tensor.shape, tensor.type = [1, *kept.shape, 1], schema.TensorType.BOOL
            tensor.buffer = self._buffer(kept.astype(np.uint8).tobytes())
            tensor.name = f"mask_{len(self._planes)}".encode()
            tensor.hasRank = True
            self._graph.tensors.append(tensor)
            self._planes[key] = len(self._graph.tensors) - 1
        return self._planes[key]

    def _constant(self, values: Array, like: Any, what: bytes) -> int:
        """A constant ``[1, 1, 1, C]`` of another tensor's type and quantisation."""
        tensor = schema.TensorT()
        tensor.shape, tensor.type = [1, 1, 1, values.size], like.type
        tensor.quantization, tensor.hasRank = like.quantization, True
        tensor.buffer = self._buffer(values.tobytes())
        tensor.name = (like.name or b"") + b";" + what
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def _buffer(self, content: bytes) -> int:
        self._model.buffers.append(Buffer(content))
        return len(self._model.buffers) - 1
