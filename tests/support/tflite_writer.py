"""Write small .tflite files operator by operator.

The converter takes seconds a model; a property test wants hundreds of models, also ones that no
converter writes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

_TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "float16": schema.TensorType.FLOAT16,
    "int32": schema.TensorType.INT32,
    "int64": schema.TensorType.INT64,
    "int8": schema.TensorType.INT8,
    "uint8": schema.TensorType.UINT8,
    "bool": schema.TensorType.BOOL,
}

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Quantization:
    """A tensor holds ``scale * (integer - zero_point)``."""

    scales: tuple[float, ...]
    """One, or one for each index of ``axis``."""
    zero_point: int = 0
    axis: int = 0


ACTIVATIONS: dict[str | None, int] = {
    None: schema.ActivationFunctionType.NONE,
    "relu": schema.ActivationFunctionType.RELU,
    "relu6": schema.ActivationFunctionType.RELU6,
    "relu_n1_to_1": schema.ActivationFunctionType.RELU_N1_TO_1,
    "tanh": schema.ActivationFunctionType.TANH,
    "sign_bit": schema.ActivationFunctionType.SIGN_BIT,
}


def quantize(values: Array, quantization: Quantization, dtype: str) -> Array:
    """The nearest integers of a quantised type."""
    scales = np.array(quantization.scales)
    if scales.size > 1:
        shape = [1] * values.ndim
        shape[quantization.axis] = scales.size
        scales = scales.reshape(shape)
    limits = np.iinfo(dtype)
    rounded = np.rint(values / scales) + quantization.zero_point
    result: Array = rounded.clip(limits.min, limits.max).astype(dtype)
    return result


class GraphWriter:
    """A graph under construction; tensors are named by their index, behind ``prefix``."""

    prefix = "t"

    def __init__(self) -> None:
        self._tensors: list[Any] = []
        self._buffers: list[Any] = [schema.BufferT()]
        self._operators: list[Any] = []
        self._codes: list[int] = []

    def tensor(
        self,
        shape: tuple[int, ...],
        dtype: str = "float32",
        quantization: Quantization | None = None,
    ) -> int:
        """A tensor that the graph computes or is given."""
        return self._add_tensor(shape, dtype, 0, quantization)

    def shape(self, tensor: int) -> tuple[int, ...]:
        """Of a tensor."""
        return tuple(self._tensors[tensor].shape)

    def quantization(self, tensor: int) -> Quantization | None:
        """Of a tensor."""
        held = self._tensors[tensor].quantization
        if held is None:
            return None
        return Quantization(tuple(held.scale), held.zeroPoint[0], held.quantizedDimension)

    def constant(self, values: Array, quantization: Quantization | None = None) -> int:
        """A tensor with values, of any type in ``_TYPES``."""
        self._buffers.append(_buffer(values.tobytes()))
        return self._add_tensor(
            values.shape, values.dtype.name, len(self._buffers) - 1, quantization
        )

    def sparse(self, values: Array, quantization: Quantization | None = None) -> int:
        """``DENSIFY`` of a constant that holds only what is not zero, along the last axis."""
        rows = values.reshape(-1, values.shape[-1])
        kept = rows != 0
        self._buffers.append(_buffer(rows[kept].tobytes()))
        stored = self._add_tensor(
            values.shape, values.dtype.name, len(self._buffers) - 1, quantization
        )
        parameters = schema.SparsityParametersT()
        parameters.traversalOrder = list(range(values.ndim))
        parameters.dimMetadata = []
        for axis, size in enumerate(values.shape):
            entry = schema.DimensionMetadataT()
            entry.denseSize = size
            if axis == values.ndim - 1:
                entry.format = schema.DimensionType.SPARSE_CSR
                entry.arraySegmentsType = schema.SparseIndexVector.Int32Vector
                entry.arraySegments = schema.Int32VectorT()
                entry.arraySegments.values = [0, *np.cumsum(kept.sum(axis=1)).tolist()]
                entry.arrayIndicesType = schema.SparseIndexVector.Int32Vector
                entry.arrayIndices = schema.Int32VectorT()
                entry.arrayIndices.values = np.nonzero(kept)[1].tolist()
            parameters.dimMetadata.append(entry)
        self._tensors[stored].sparsity = parameters
        output = self.tensor(values.shape, values.dtype.name, quantization)
        self.operator_into(
            "DENSIFY", [stored], [output], "DensifyOptions", schema.DensifyOptionsT()
        )
        return output

    def conv_2d(
        self,
        source: int,
        filters: Array | int,
        bias: Array | int,
        output_shape: tuple[int, ...],
        *,
        stride: int = 1,
        dilation: int = 1,
        padding: str = "SAME",
        activation: str | None = None,
        depthwise: bool = False,
    ) -> int:
        """``CONV_2D`` with filters ``[O, kh, kw, I]``, or depthwise with ``[1, kh, kw, O]``.

        Filters and bias are values or tensors.
        """
        options = schema.DepthwiseConv2DOptionsT() if depthwise else schema.Conv2DOptionsT()
        options.padding = getattr(schema.Padding, padding)
        options.strideH = options.strideW = stride
        options.dilationHFactor = options.dilationWFactor = dilation
        options.fusedActivationFunction = ACTIVATIONS[activation]
        if depthwise:
            options.depthMultiplier = output_shape[3] // self._tensors[source].shape[3]
        operands = [v if isinstance(v, int) else self.constant(v) for v in (filters, bias)]
        inputs = [source, *operands]
        name = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
        kind = "DepthwiseConv2DOptions" if depthwise else "Conv2DOptions"
        return self.operator(name, inputs, output_shape, kind, options)

    def select(self, condition: int, chosen: int, other: int, shape: tuple[int, ...]) -> int:
        """``SELECT_V2(condition, chosen, other)``."""
        return self.operator(
            "SELECT_V2",
            [condition, chosen, other],
            shape,
            "SelectV2Options",
            schema.SelectV2OptionsT(),
        )

    def multiply(self, left: int, right: int, shape: tuple[int, ...]) -> int:
        """``MUL``."""
        return self.operator("MUL", [left, right], shape, "MulOptions", schema.MulOptionsT())

    def add(
        self, left: int, right: int, shape: tuple[int, ...], *, activation: str | None = None
    ) -> int:
        """``ADD``."""
        options = schema.AddOptionsT()
        options.fusedActivationFunction = ACTIVATIONS[activation]
        return self.operator("ADD", [left, right], shape, "AddOptions", options)

    def concatenate(self, sources: list[int], shape: tuple[int, ...]) -> int:
        """``CONCATENATION`` of channels."""
        options = schema.ConcatenationOptionsT()
        options.axis = 3
        return self.operator("CONCATENATION", sources, shape, "ConcatenationOptions", options)

    def max_pool(
        self,
        source: int,
        size: int | tuple[int, int],
        shape: tuple[int, ...],
        *,
        stride: tuple[int, int] = (1, 1),
        padding: str = "VALID",
        activation: str | None = None,
    ) -> int:
        """``MAX_POOL_2D`` over squares, or windows of a height and a width."""
        options = schema.Pool2DOptionsT()
        options.padding = getattr(schema.Padding, padding)
        options.strideH, options.strideW = stride
        height, width = (size, size) if isinstance(size, int) else size
        options.filterHeight, options.filterWidth = height, width
        options.fusedActivationFunction = ACTIVATIONS[activation]
        return self.operator("MAX_POOL_2D", [source], shape, "Pool2DOptions", options)

    def pad_v2(self, source: int, paddings: int, value: int, shape: tuple[int, ...]) -> int:
        """``PADV2`` with paddings ``[rank, 2]`` and a value."""
        inputs = [source, paddings, value]
        return self.operator("PADV2", inputs, shape, "PadV2Options", schema.PadV2OptionsT())

    def mean_of_pixels(self, source: int, shape: tuple[int, ...]) -> int:
        """``MEAN`` over height and width, which stay as axes of size 1."""
        options = schema.ReducerOptionsT()
        options.keepDims = True
        axes = self.constant(np.array([1, 2], np.int32))
        return self.operator("MEAN", [source, axes], shape, "ReducerOptions", options)

    def dequantize(self, source: int) -> int:
        """``DEQUANTIZE`` into float32."""
        shape = tuple(self._tensors[source].shape)
        options = schema.DequantizeOptionsT()
        return self.operator("DEQUANTIZE", [source], shape, "DequantizeOptions", options)

    def give_type(self, tensor: int, dtype: str, quantization: Quantization) -> None:
        """Say what an operator's output holds where that is not float32."""
        self._tensors[tensor].type = _TYPES[dtype]
        self._tensors[tensor].quantization = _parameters(quantization)

    def forget_zero_points(self, tensor: int) -> None:
        """Leave an empty list in their place."""
        self._tensors[tensor].quantization.zeroPoint = []

    def comparison(self, name: str, inputs: list[int], shape: tuple[int, ...]) -> int:
        """An operator without options and with one bool output."""
        output = self.operator(name, inputs, shape)
        self._tensors[output].type = schema.TensorType.BOOL
        return output

    def operator(
        self,
        name: str,
        inputs: list[int],
        output_shape: tuple[int, ...],
        options_type: str | None = None,
        options: object | None = None,
    ) -> int:
        """Any operator with one output, of float32; gives the output."""
        output = self.tensor(output_shape)
        self.operator_into(name, inputs, [output], options_type, options)
        return output

    def operator_into(
        self,
        name: str,
        inputs: list[int],
        outputs: list[int],
        options_type: str | None = None,
        options: object | None = None,
    ) -> None:
        """Any operator, of tensors that there are."""
        code = getattr(schema.BuiltinOperator, name)
        if code not in self._codes:
            self._codes.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex = self._codes.index(code)
        operator.inputs = inputs
        operator.outputs = outputs
        if options_type is not None:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, options_type)
            operator.builtinOptions = options
        self._operators.append(operator)

    def write(
        self,
        path: Path,
        inputs: list[int],
        outputs: list[int],
        *,
        signature: bool = False,
        metadata: dict[str, bytes] | None = None,
    ) -> Path:
        """Write the file and give its path.

        Args:
            path: of the file.
            inputs: of the graph.
            outputs: of the graph.
            signature: name them ``args_0`` ... and ``output_0`` ..., as ``deploy convert`` does.
            metadata: entries of the model.
        """
        graph = schema.SubGraphT()
        graph.tensors = self._tensors
        graph.operators = self._operators
        graph.inputs, graph.outputs = inputs, outputs
        model = schema.ModelT()
        model.version = 3
        model.subgraphs = [graph]
        model.buffers = self._buffers
        model.operatorCodes = []
        for code in self._codes:
            entry = schema.OperatorCodeT()
            entry.builtinCode = code
            entry.deprecatedBuiltinCode = min(code, 127)
            entry.version = 1
            model.operatorCodes.append(entry)
        if signature:
            definition = schema.SignatureDefT()
            definition.signatureKey, definition.subgraphIndex = "serving_default", 0
            definition.inputs = _named("args", inputs)
            definition.outputs = _named("output", outputs)
            model.signatureDefs = [definition]
        if metadata:
            model.metadata = []
            for name, value in metadata.items():
                item = schema.MetadataT()
                item.name, item.buffer = name, len(self._buffers)
                self._buffers.append(_buffer(value))
                model.metadata.append(item)
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        path.write_bytes(bytes(builder.Output()))
        return path

    def _add_tensor(
        self,
        shape: tuple[int, ...],
        dtype: str,
        buffer: int,
        quantization: Quantization | None,
    ) -> int:
        tensor = schema.TensorT()
        tensor.shape = list(shape)
        tensor.type = _TYPES[dtype]
        tensor.buffer = buffer
        tensor.name = f"{self.prefix}{len(self._tensors)}"
        if quantization is not None:
            tensor.quantization = _parameters(quantization)
        self._tensors.append(tensor)
        return len(self._tensors) - 1


def _buffer(data: bytes) -> Any:
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(data, dtype=np.uint8)
    return buffer


def _parameters(quantization: Quantization) -> Any:
    parameters = schema.QuantizationParametersT()
    parameters.scale = list(quantization.scales)
    parameters.zeroPoint = [quantization.zero_point] * len(quantization.scales)
    parameters.quantizedDimension = quantization.axis
    return parameters


def _named(kind: str, tensors: list[int]) -> list[Any]:
    entries = []
    for number, tensor in enumerate(tensors):
        entry = schema.TensorMapT()
        entry.name, entry.tensorIndex = f"{kind}_{number}", tensor
        entries.append(entry)
    return entries
