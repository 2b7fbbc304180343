"""Files of one operator with quantised weights, as several quantizers write them, and the truth."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import flatbuffers
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from ai_edge_litert import schema_py_generated as schema

from support.tflite_writer import Array

Activations = Literal["float32", "int8", "int16"]
Weights = Literal["int8", "int4"]
Scales = Literal["tensor", "channel", "equal"]
"""One scale; one for each output channel; those all the same."""

_TYPES = {name.lower(): value for name, value in vars(schema.TensorType).items() if name.isupper()}
_BIGGEST = {"int8": 127, "int4": 7}
_INPUTS = {
    "FULLY_CONNECTED": (37,),
    "CONV_2D": (7, 9, 6),
    "DEPTHWISE_CONV_2D": (7, 9, 5),
    "TRANSPOSE_CONV": (5, 6, 3),
    "BATCH_MATMUL": (3, 7),
}
_WEIGHTS = {
    "FULLY_CONNECTED": ((13, 37), 0),
    "CONV_2D": ((12, 3, 3, 6), 0),
    "DEPTHWISE_CONV_2D": ((1, 3, 3, 10), 3),
    "TRANSPOSE_CONV": ((5, 3, 2, 3), 0),
    "BATCH_MATMUL": ((7, 9), 1),
    "EMBEDDING_LOOKUP": ((11, 7), 0),
}
"""Shapes, and the axis of output channels."""
_WIDE_INPUTS = {"FULLY_CONNECTED": (64,), "DEPTHWISE_CONV_2D": (7, 9, 16)}
_WIDE_WEIGHTS = {"FULLY_CONNECTED": (16, 64), "DEPTHWISE_CONV_2D": (1, 3, 3, 16)}
NOISE = {"float32": 0.03, "int8": 0.02, "int16": 0.003}
"""What rounding inputs or outputs to that type comes to, as a part of the largest output."""


class FileWriter:
    """A file under construction, of any types and versions."""

    def __init__(self) -> None:
        self._model, self._graph = schema.ModelT(), schema.SubGraphT()
        self._model.version, self._model.subgraphs = 3, [self._graph]
        self._model.buffers, self._model.operatorCodes = [schema.BufferT()], []
        self._graph.tensors, self._graph.operators = [], []

    def tensor(
        self,
        shape: tuple[int, ...],
        dtype: str,
        *,
        scales: Array | float | None = None,
        zero_point: int = 0,
        axis: int = 0,
        data: bytes | None = None,
        sparse: bool = False,
        variable: bool = False,
    ) -> int:
        """A tensor, with values where ``data`` is given; a variable one keeps its own."""
        tensor = schema.TensorT()
        tensor.shape, tensor.type, tensor.buffer = list(shape), _TYPES[dtype], 0
        tensor.name, tensor.isVariable = f"t{len(self._graph.tensors)}", variable
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(data, np.uint8)
            self._model.buffers.append(buffer)
            tensor.buffer = len(self._model.buffers) - 1
        if scales is not None:
            found = schema.QuantizationParametersT()
            found.scale = [float(scale) for scale in np.atleast_1d(scales)]
            found.zeroPoint = [zero_point] * len(found.scale)
            found.quantizedDimension = axis
            tensor.quantization = found
        if sparse:
            tensor.sparsity = _dense_sparsity(shape)
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def operator(
        self,
        name: str,
        inputs: list[int],
        outputs: list[int],
        options_type: str | None = None,
        options: object | None = None,
        *,
        version: int = 1,
        custom: bytes | None = None,
    ) -> None:
        """An operator; a custom one with its own data in ``custom``."""
        code = schema.OperatorCodeT()
        code.builtinCode = schema.BuiltinOperator.CUSTOM
        if custom is None:
            code.builtinCode = getattr(schema.BuiltinOperator, name)
        else:
            code.customCode = name
        code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), version
        self._model.operatorCodes.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex = len(self._model.operatorCodes) - 1
        operator.inputs, operator.outputs = inputs, outputs
        if options_type is not None:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, options_type)
            operator.builtinOptions = options
        if custom is not None:
            operator.customOptions = np.frombuffer(custom, np.uint8)
        self._graph.operators.append(operator)

    def write(self, path: Path, inputs: list[int], outputs: list[int]) -> Path:
        """Write the file and give its path."""
        self._graph.inputs, self._graph.outputs = inputs, outputs
        builder = flatbuffers.Builder(1024)
        builder.Finish(self._model.Pack(builder), b"TFL3")
        path.write_bytes(bytes(builder.Output()))
        return path


@dataclass(frozen=True)
class Case:
    """One operator with quantised weights."""

    op: str
    activations: Activations
    weights: Weights
    scales: Scales
    batch: int = 1
    bias: bool = True
    groups: int = 1
    asymmetric: bool = False
    """The option of inputs that are quantised on the fly with a zero point."""
    wide: bool = False
    """Sizes that the fastest kernels want."""
    rows: tuple[int, ...] = ()
    """Of a fully connected layer: axes between the batch and the channels, which stay."""

    def __str__(self) -> str:
        parts = [self.op.lower(), self.activations, self.weights, self.scales, f"b{self.batch}"]
        parts += ["no_bias"] * (not self.bias) + [f"g{self.groups}"] * (self.groups > 1)
        parts += [f"rows{'x'.join(map(str, self.rows))}"] * bool(self.rows)
        return "-".join(parts + ["asymmetric"] * self.asymmetric + ["wide"] * self.wide)

    def write(self, path: Path, seed: int = 0) -> tuple[Array, Array, float, int]:
        """Write the file.

        Returns:
            An input; the output as the numbers in the file give it, computed in float64; scale and
            zero point of the file's output, 1 and 0 where that is float32.
        """
        rng, file = np.random.default_rng(seed), FileWriter()
        if self.op == "EMBEDDING_LOOKUP":
            x = file.tensor((4,), "int32")
            table, real, _ = self._weights(file, rng)
            y = file.tensor((4, 7), "float32")
            file.operator(self.op, [x, table], [y])
            rows = np.array([0, 3, 10, 3], np.int32)
            file.write(path, [x], [y])
            return rows, real[rows], 1.0, 0
        shape = (self.batch, *self.rows, *(_WIDE_INPUTS if self.wide else _INPUTS)[self.op])
        x, given, inputs, step = self._input(file, rng, shape)
        filters, real, scales = self._weights(file, rng)
        result = _compute(self.op, inputs, real, self.groups)
        operands = [x, filters]
        if self.bias and self.op != "BATCH_MATMUL":
            tensor, bias = self._bias(file, rng, scales * step, result.shape[-1])
            operands.append(tensor)
            result = result + bias
        scale, zero_point = 1.0, 0
        if self.activations == "float32":
            y = file.tensor(result.shape, "float32")
        else:
            most = 120 if self.activations == "int8" else 32000
            scale = float(np.float32(np.abs(result).max() / most))
            zero_point = 2 if self.activations == "int8" else 0
            y = file.tensor(result.shape, self.activations, scales=scale, zero_point=zero_point)
        self._operator(file, operands, y, result.shape)
        file.write(path, [x], [y])
        return given, result, scale, zero_point

    def _input(
        self, file: FileWriter, rng: np.random.Generator, shape: tuple[int, ...]
    ) -> tuple[int, Array, Array, float]:
        if self.activations == "float32":
            given = rng.uniform(-1, 1, shape).astype(np.float32)
            return file.tensor(shape, "float32"), given, given.astype(np.float64), 1.0
        step, zero_point = (0.02, -3) if self.activations == "int8" else (0.0005, 0)
        most = np.iinfo(self.activations).max // 2
        stored = rng.integers(-most, most, shape).astype(self.activations)
        x = file.tensor(shape, self.activations, scales=step, zero_point=zero_point)
        return x, stored, (stored.astype(np.float64) - zero_point) * step, step

    def _weights(self, file: FileWriter, rng: np.random.Generator) -> tuple[int, Array, Array]:
        shape, axis = _WEIGHTS[self.op]
        if self.op == "CONV_2D":
            shape = (*shape[:3], shape[3] // self.groups)
        if self.wide:
            shape = _WIDE_WEIGHTS[self.op]
        channels, most = shape[axis], _BIGGEST[self.weights]
        stored = rng.integers(-most, most + 1, shape).astype(np.int8)
        scales = {
            "tensor": np.array([0.01]),
            "equal": np.full(channels, 0.01),
            "channel": rng.uniform(0.001, 0.02, channels),
        }[self.scales].astype(np.float32)
        data = pack_int4(stored) if self.weights == "int4" else stored.tobytes()
        many = scales.size > 1
        tensor = file.tensor(
            shape, self.weights, scales=scales, axis=axis if many else 0, data=data
        )
        along = [1] * len(shape)
        along[axis] = channels if many else 1
        real = stored.astype(np.float64) * scales.astype(np.float64).reshape(along)
        return tensor, real, scales.astype(np.float64)

    def _bias(
        self, file: FileWriter, rng: np.random.Generator, scales: Array, channels: int
    ) -> tuple[int, Array]:
        bias = rng.uniform(-0.5, 0.5, channels)
        if self.activations == "float32":
            data = bias.astype(np.float32).tobytes()
            return file.tensor((channels,), "float32", data=data), bias
        stored = np.round(bias / scales)
        dtype = "int64" if self.activations == "int16" else "int32"
        tensor = file.tensor((channels,), dtype, scales=scales, data=stored.astype(dtype).tobytes())
        return tensor, stored * scales

    def _operator(
        self, file: FileWriter, operands: list[int], y: int, shape: tuple[int, ...]
    ) -> None:
        options: Any
        if self.op == "FULLY_CONNECTED":
            options = schema.FullyConnectedOptionsT()
            options.asymmetricQuantizeInputs = self.asymmetric
            options.keepNumDims = bool(self.rows)
            file.operator(self.op, operands, [y], "FullyConnectedOptions", options)
        elif self.op == "BATCH_MATMUL":
            options = schema.BatchMatMulOptionsT()
            options.asymmetricQuantizeInputs = self.asymmetric
            file.operator(self.op, operands, [y], "BatchMatMulOptions", options)
        elif self.op == "TRANSPOSE_CONV":
            options = schema.TransposeConvOptionsT()
            options.padding, options.strideH, options.strideW = schema.Padding.VALID, 2, 2
            size = file.tensor((4,), "int32", data=np.array(shape, np.int32).tobytes())
            x, filters, *bias = operands
            file.operator(
                self.op, [size, filters, x, *bias], [y], "TransposeConvOptions", options,
                version=3 if bias else 1,
            )  # fmt: skip
        else:
            depthwise = self.op == "DEPTHWISE_CONV_2D"
            options = schema.DepthwiseConv2DOptionsT() if depthwise else schema.Conv2DOptionsT()
            options.padding = schema.Padding.SAME
            options.strideH = options.strideW = 1
            options.dilationHFactor = options.dilationWFactor = 1
            if depthwise:
                options.depthMultiplier = 1 if self.wide else 2
            kind = "DepthwiseConv2DOptions" if depthwise else "Conv2DOptions"
            file.operator(self.op, operands, [y], kind, options)


def all_cases() -> Iterator[Case]:
    """Every operator with every type of weights and of activations that it has kernels for."""
    kinds: tuple[Scales, ...] = ("tensor", "channel", "equal")
    widths: tuple[Weights, ...] = ("int8", "int4")
    for weights, scales in itertools.product(widths, kinds):
        yield Case("EMBEDDING_LOOKUP", "float32", weights, scales)
        if weights == "int8":
            for asymmetric in (False, True):
                yield Case("BATCH_MATMUL", "float32", weights, scales, 3, asymmetric=asymmetric)
        activations: tuple[Activations, ...] = ("float32", "int8", "int16")
        for kind in activations:
            for op in ("FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D"):
                yield Case(op, kind, weights, scales)
                yield Case(op, kind, weights, scales, 3, asymmetric=op == "FULLY_CONNECTED")
                if op != "CONV_2D":
                    yield Case(op, kind, weights, scales, 2, bias=False)
            for batch in (1, 4):
                yield Case("FULLY_CONNECTED", kind, weights, scales, batch, wide=True)
            yield Case("FULLY_CONNECTED", kind, weights, scales, rows=(5,))
            yield Case("FULLY_CONNECTED", kind, weights, scales, 2, rows=(3, 4), bias=False)
            yield Case("DEPTHWISE_CONV_2D", kind, weights, scales, 3, wide=True)
            yield Case("CONV_2D", kind, weights, scales, 2, groups=2)
            if kind == "float32" or weights == "int8":
                yield Case("TRANSPOSE_CONV", kind, weights, scales)
                yield Case("TRANSPOSE_CONV", kind, weights, scales, 3, bias=False)


def pack_int4(values: Array) -> bytes:
    """Two values a byte, the first in the lower half."""
    low = values.reshape(-1).astype(np.int8) & 0xF
    low = np.append(low, np.zeros(low.size % 2, np.int8))
    packed: bytes = ((low[1::2] << 4) | low[0::2]).astype(np.uint8).tobytes()
    return packed


def _compute(op: str, x: Array, weights: Array, groups: int) -> Array:
    if op == "FULLY_CONNECTED":
        return np.asarray(x @ weights.T)
    if op == "BATCH_MATMUL":
        return np.asarray(x @ weights)
    image = torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
    first = (3, 0, 1, 2) if op != "CONV_2D" else (0, 3, 1, 2)
    filters = torch.from_numpy(np.ascontiguousarray(weights.transpose(first)))
    if op == "TRANSPOSE_CONV":
        result = F.conv_transpose2d(image, filters, stride=2)
    else:
        groups = x.shape[3] if op == "DEPTHWISE_CONV_2D" else groups
        result = F.conv2d(image, filters, padding=1, groups=groups)
    return np.asarray(result.numpy().transpose(0, 2, 3, 1))


def _dense_sparsity(shape: tuple[int, ...]) -> Any:
    """Sparsity that leaves no value out."""
    found = schema.SparsityParametersT()
    found.traversalOrder = list(range(len(shape)))
    found.blockMap = []
    found.dimMetadata = []
    for size in shape:
        dimension = schema.DimensionMetadataT()
        dimension.format, dimension.denseSize = schema.DimensionType.DENSE, size
        found.dimMetadata.append(dimension)
    return found
