"""Write small .tflite files operator by operator.

The converter takes seconds a model; a property test wants hundreds of models, also ones that no
converter writes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

_TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "int32": schema.TensorType.INT32,
    "bool": schema.TensorType.BOOL,
}

Array = npt.NDArray[Any]

ACTIVATIONS: dict[str | None, int] = {
    None: schema.ActivationFunctionType.NONE,
    "relu": schema.ActivationFunctionType.RELU,
    "relu6": schema.ActivationFunctionType.RELU6,
}


class GraphWriter:
    """A graph under construction; tensors are named by their index."""

    def __init__(self) -> None:
        self._tensors: list[Any] = []
        self._buffers: list[Any] = [schema.BufferT()]
        self._operators: list[Any] = []
        self._codes: list[int] = []

    def tensor(self, shape: tuple[int, ...], dtype: str = "float32") -> int:
        """A tensor that the graph computes or is given."""
        return self._add_tensor(shape, dtype, 0)

    def constant(self, values: Array) -> int:
        """A tensor with values; ``bool``, ``int32`` or ``float32``."""
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(values.tobytes(), dtype=np.uint8)
        self._buffers.append(buffer)
        return self._add_tensor(values.shape, values.dtype.name, len(self._buffers) - 1)

    def conv_2d(
        self,
        source: int,
        filters: Array,
        bias: Array,
        output_shape: tuple[int, ...],
        *,
        stride: int = 1,
        dilation: int = 1,
        padding: str = "SAME",
        activation: str | None = None,
        depthwise: bool = False,
    ) -> int:
        """``CONV_2D`` with filters ``[O, kh, kw, I]``, or depthwise with ``[1, kh, kw, O]``."""
        options = schema.DepthwiseConv2DOptionsT() if depthwise else schema.Conv2DOptionsT()
        options.padding = getattr(schema.Padding, padding)
        options.strideH = options.strideW = stride
        options.dilationHFactor = options.dilationWFactor = dilation
        options.fusedActivationFunction = ACTIVATIONS[activation]
        if depthwise:
            options.depthMultiplier = output_shape[3] // self._tensors[source].shape[3]
        inputs = [source, self.constant(filters), self.constant(bias)]
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

    def add(self, left: int, right: int, shape: tuple[int, ...]) -> int:
        """``ADD``."""
        return self.operator("ADD", [left, right], shape, "AddOptions", schema.AddOptionsT())

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
        """Any other operator with one float32 output; gives the output."""
        code = getattr(schema.BuiltinOperator, name)
        if code not in self._codes:
            self._codes.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex = self._codes.index(code)
        operator.inputs = inputs
        operator.outputs = [self.tensor(output_shape)]
        if options_type is not None:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, options_type)
            operator.builtinOptions = options
        self._operators.append(operator)
        output: int = operator.outputs[0]
        return output

    def write(
        self, path: Path, inputs: list[int], outputs: list[int], *, signature: bool = False
    ) -> Path:
        """Write the file and give its path.

        Args:
            path: of the file.
            inputs: of the graph.
            outputs: of the graph.
            signature: name them ``args_0`` ... and ``output_0`` ..., as ``deploy convert`` does.
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
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        path.write_bytes(bytes(builder.Output()))
        return path

    def _add_tensor(self, shape: tuple[int, ...], dtype: str, buffer: int) -> int:
        tensor = schema.TensorT()
        tensor.shape = list(shape)
        tensor.type = _TYPES[dtype]
        tensor.buffer = buffer
        tensor.name = f"t{len(self._tensors)}"
        self._tensors.append(tensor)
        return len(self._tensors) - 1


def _named(kind: str, tensors: list[int]) -> list[Any]:
    entries = []
    for number, tensor in enumerate(tensors):
        entry = schema.TensorMapT()
        entry.name, entry.tensorIndex = f"{kind}_{number}", tensor
        entries.append(entry)
    return entries
