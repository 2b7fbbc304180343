"""Read a ``.tflite`` file into plain values: operators, tensors, constants.

The file may come from anyone. Every length, offset and index in it is checked before it is used, so
that a truncated or damaged file gives a :class:`ModelError` and nothing else. The format is that of
TensorFlow Lite's ``schema.fbs``.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from toolchain.errors import ModelError
from toolchain.formats.input_file import read_limited

LARGEST = (2 << 30) - 1
"""Bytes of a file at most: FlatBuffers' offsets go no further."""
_IDENTIFIER = b"TFL3"
_LONGEST_ENTRY = 1 << 16
"""Bytes of an entry of the metadata that are looked at."""
_DAMAGE = (
    struct.error,
    IndexError,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    OverflowError,
    AssertionError,
)
"""What the flatbuffers library raises on offsets that lead nowhere."""

_NUMPY = {
    "FLOAT64": np.float64,
    "FLOAT32": np.float32,
    "FLOAT16": np.float16,
    "INT64": np.int64,
    "INT32": np.int32,
    "INT16": np.int16,
    "INT8": np.int8,
    "UINT64": np.uint64,
    "UINT32": np.uint32,
    "UINT16": np.uint16,
    "UINT8": np.uint8,
    "BOOL": np.bool_,
}
_CONV = ("Padding", "StrideH", "StrideW", "FusedActivationFunction")
_DILATED = (*_CONV, "DilationHFactor", "DilationWFactor")
_OPTIONS = {
    "Conv2DOptions": _DILATED,
    "DepthwiseConv2DOptions": (*_DILATED, "DepthMultiplier"),
    "TransposeConvOptions": _CONV,
    "FullyConnectedOptions": ("FusedActivationFunction",),
    "AddOptions": ("FusedActivationFunction",),
    "MulOptions": ("FusedActivationFunction",),
    "Pool2DOptions": (*_CONV, "FilterHeight", "FilterWidth"),
}


@dataclass(frozen=True, eq=False)
class Quantization:
    """``real = scale * (stored - zero_point)``: one pair, or one for each index of an axis."""

    scale: npt.NDArray[np.float32]
    zero_point: npt.NDArray[np.int64]
    axis: int


@dataclass(frozen=True, eq=False)
class Tensor:
    """One tensor of a graph."""

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    """As the schema names it, in lower case: ``float32``, ``int8``, ``bool``, ``int4`` ..."""
    data: npt.NDArray[Any] | None = field(repr=False)
    """The constant's values in ``shape``; raw bytes (``uint8``, flat) where numpy has no such type
    or the tensor is stored sparsely; ``None`` for a tensor that is computed."""
    quantization: Quantization | None = field(default=None, repr=False)
    sparse: bool = False
    """Whether the file holds only the values that are not 0, and where they are."""
    varies: tuple[int, ...] = ()
    """Axes whose size the file leaves open; ``shape`` has one that it may have."""

    @property
    def constant(self) -> bool:
        """Whether the file holds the tensor's values."""
        return self.data is not None

    def real(self, stored: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Values of this tensor as numbers, where it is quantised as a whole if at all.

        Args:
            stored: as the tensor has them; any number of them, in any shape.
        """
        if stored.dtype.kind == "f" or self.quantization is None:
            return stored.astype(np.float32)
        scale, zero = self.quantization.scale, self.quantization.zero_point
        real: npt.NDArray[np.float32] = (stored.astype(np.float32) - np.float32(zero[0])) * scale[0]
        return real

    @property
    def elements(self) -> int:
        """The product of the shape."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class OperatorCode:
    """A kind of operator that a file names."""

    name: str
    """``CONV_2D``, ``SELECT_V2`` ..., or a custom operator's own name."""
    version: int = 1
    custom: bool = False


@dataclass(frozen=True)
class Operator:
    """One operator of a graph."""

    index: int
    op: str
    """``CONV_2D``, ``SELECT_V2`` ..., or a custom operator's own name."""
    inputs: tuple[int, ...]
    """Tensor indices; -1 where an optional input is absent."""
    outputs: tuple[int, ...]
    options: dict[str, int]
    """Options that the layers need, by the schema's names (``StrideH``, ``Padding`` ...)."""
    code: OperatorCode = OperatorCode("")


@dataclass(frozen=True, eq=False)
class Graph:
    """The main graph of a model (the first subgraph)."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @cached_property
    def producers(self) -> dict[int, Operator]:
        """Tensor index -> the operator that computes it."""
        return {tensor: op for op in self.operators for tensor in op.outputs if tensor >= 0}

    @cached_property
    def consumers(self) -> dict[int, tuple[Operator, ...]]:
        """Tensor index -> the operators that read it, each once, in the graph's order."""
        found: dict[int, list[Operator]] = {}
        for op in self.operators:
            for tensor in dict.fromkeys(op.inputs):
                if tensor >= 0:
                    found.setdefault(tensor, []).append(op)
        return {tensor: tuple(ops) for tensor, ops in found.items()}

    def sole_consumer(self, tensor: int) -> Operator | None:
        """The one operator that reads a tensor.

        ``None`` where none or several read it, or where it is an output of the model.
        """
        readers = self.consumers.get(tensor, ())
        return readers[0] if len(readers) == 1 and tensor not in self.outputs else None


@dataclass(frozen=True, eq=False)
class Model:
    """A ``.tflite`` file."""

    path: str
    size: int
    """Bytes."""
    description: str
    subgraphs: int
    graph: Graph
    codes: tuple[OperatorCode, ...] = ()
    """All kinds of operators that its graphs use, the others than the main one, too."""
    metadata: Mapping[str, bytes] = field(default_factory=dict)
    """What whoever made it says of it, by name; long entries are left out."""


def read_model(path: str | os.PathLike[str]) -> Model:
    """Read a ``.tflite`` file.

    Raises:
        ModelError: the file cannot be read, is not a TFLite model, is truncated or damaged.
    """
    path = Path(path)
    try:
        raw = read_limited(path, LARGEST)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error
    return parse_model(raw, str(path))


def parse_model(raw: bytes | bytearray, name: str = "model") -> Model:
    """Read a TFLite model from memory; ``name`` stands for the file in messages.

    The arrays of the result are views: those of a ``bytearray`` can be written to.

    Raises:
        ModelError: as :func:`read_model`.
    """
    if len(raw) < 8 or raw[4:8] != _IDENTIFIER:
        raise ModelError(
            f"{name}: is not a TFLite model" if raw else f"{name}: is empty",
            hint="a .tflite file has 'TFL3' at byte 4; deploy convert makes one",
        )
    try:
        with np.errstate(all="ignore"):
            return _Reader(raw, name).model()
    except _DAMAGE as error:
        raise ModelError(
            f"{name}: is truncated or damaged: an offset leads out of the file ({error})",
            hint="copy it again, or convert the model again",
        ) from error


class _Reader:
    def __init__(self, raw: bytes | bytearray, name: str) -> None:
        self._raw, self._name = raw, name
        # Offsets may lead many vectors to one place, so that a small file asks for endless work.
        # An honest file's vectors do not overlap: all of them together are no longer than it is.
        self._budget = 2 * len(raw) + 4096

    def model(self) -> Model:
        root = schema.Model.GetRootAs(self._raw, 0)
        buffers = [root.Buffers(i) for i in self._range(root.BuffersLength())]
        codes = [_op_code(root.OperatorCodes(i)) for i in self._range(root.OperatorCodesLength())]
        count = len(self._range(root.SubgraphsLength()))
        if count == 0:
            raise self._fault("it holds no graph")
        return Model(
            path=self._name,
            size=len(self._raw),
            description=self._text(root.Description()),
            subgraphs=count,
            graph=self._graph(root.Subgraphs(0), buffers, codes),
            codes=tuple(codes),
            metadata=dict(self._metadata(root, buffers)),
        )

    def _metadata(self, root: Any, buffers: list[Any]) -> Iterator[tuple[str, bytes]]:
        for i in self._range(root.MetadataLength()):
            entry = root.Metadata(i)
            if not 0 <= entry.Buffer() < len(buffers):
                raise self._fault(f"an entry of its metadata refers to buffer {entry.Buffer()}")
            name, data = self._text(entry.Name()), self._data(buffers[entry.Buffer()])
            if data is not None and data.nbytes <= _LONGEST_ENTRY:
                self._spend(data.nbytes)
                yield name, data.tobytes()

    def _graph(self, table: Any, buffers: list[Any], codes: list[OperatorCode]) -> Graph:
        tensors = tuple(
            self._tensor(table.Tensors(i), i, buffers) for i in self._range(table.TensorsLength())
        )
        operators = tuple(
            self._operator(table.Operators(i), i, codes, len(tensors))
            for i in self._range(table.OperatorsLength())
        )
        return Graph(
            tensors=tensors,
            operators=operators,
            inputs=self._indices(table.InputsAsNumpy(), len(tensors), optional=False),
            outputs=self._indices(table.OutputsAsNumpy(), len(tensors), optional=False),
        )

    def _tensor(self, table: Any, index: int, buffers: list[Any]) -> Tensor:
        shape = self._integers(table.ShapeAsNumpy())
        if any(size < 0 for size in shape):
            raise self._fault(f"tensor {index} has shape {list(shape)}")
        signature = self._integers(table.ShapeSignatureAsNumpy())
        if not 0 <= table.Buffer() < max(len(buffers), 1):
            raise self._fault(f"tensor {index} refers to buffer {table.Buffer()}")
        kind = _TYPES.get(table.Type())
        if kind is None:
            raise self._fault(f"tensor {index} has the unknown type {table.Type()}")
        data = self._data(buffers[table.Buffer()]) if table.Buffer() else None  # 0 is no buffer
        numpy_type = _NUMPY.get(kind)
        if data is not None and numpy_type is not None and table.Sparsity() is None:
            wanted = math.prod(shape) * np.dtype(numpy_type).itemsize
            if data.size != wanted:
                raise self._fault(
                    f"tensor {index} of shape {list(shape)} needs {wanted} bytes, "
                    f"the file has {data.size}"
                )
            if numpy_type is np.bool_:
                data = data != 0  # a bool that is neither 0 nor 1 in memory would confuse numpy
            data = data.view(numpy_type).reshape(shape)
        return Tensor(
            index=index,
            name=self._text(table.Name()),
            shape=shape,
            dtype=kind.lower(),
            data=data,
            quantization=self._quantization(table.Quantization()),
            sparse=table.Sparsity() is not None,
            varies=tuple(axis for axis, size in enumerate(signature) if size < 0),
        )

    def _data(self, buffer: Any) -> npt.NDArray[np.uint8] | None:
        if buffer.DataLength() > 0:
            data: npt.NDArray[np.uint8] = buffer.DataAsNumpy()
            return data
        if buffer.Offset() > 1 and buffer.DataIsNone():  # behind the flatbuffer
            start, size = buffer.Offset(), buffer.Size()
            if start + size > len(self._raw):
                raise self._fault(f"a buffer ends at byte {start + size}")
            return np.frombuffer(self._raw, np.uint8, size, start)
        return None

    def _quantization(self, table: Any) -> Quantization | None:
        if table is None or table.ScaleLength() == 0:
            return None
        scale, zero_point = table.ScaleAsNumpy(), table.ZeroPointAsNumpy()
        self._spend(scale.nbytes)
        given = not isinstance(zero_point, int) and zero_point.size
        points = zero_point if given else np.zeros(scale.size, np.int64)
        self._spend(points.nbytes)
        return Quantization(scale, points, table.QuantizedDimension())

    def _operator(
        self, table: Any, index: int, codes: list[OperatorCode], tensors: int
    ) -> Operator:
        code = table.OpcodeIndex()
        if code >= len(codes):
            raise self._fault(f"operator {index} refers to operator code {code}")
        options: dict[str, int] = {}
        kind = _OPTION_TYPES.get(table.BuiltinOptionsType(), "")
        union = table.BuiltinOptions()
        if kind in _OPTIONS and union is not None:
            values = getattr(schema, kind)()
            values.Init(union.Bytes, union.Pos)
            options = {key: int(getattr(values, key)()) for key in _OPTIONS[kind]}
        return Operator(
            index=index,
            op=codes[code].name,
            code=codes[code],
            inputs=self._indices(table.InputsAsNumpy(), tensors, optional=True),
            outputs=self._indices(table.OutputsAsNumpy(), tensors, optional=False),
            options=options,
        )

    def _indices(self, vector: Any, limit: int, *, optional: bool) -> tuple[int, ...]:
        values = self._integers(vector)
        low = -1 if optional else 0
        for value in values:
            if not low <= value < limit:
                raise self._fault(f"an operator refers to tensor {value} of {limit}")
        return values

    def _integers(self, vector: Any) -> tuple[int, ...]:
        if isinstance(vector, int):  # how the generated code says that there is no vector
            return ()
        self._spend(vector.nbytes)
        return tuple(int(value) for value in vector)

    def _range(self, length: int) -> range:
        self._spend(4 * length)
        return range(length)

    def _text(self, value: bytes | None) -> str:
        self._spend(len(value or b""))
        return (value or b"").decode("utf-8", errors="replace")

    def _spend(self, size: int) -> None:
        self._budget -= size
        if self._budget < 0:
            raise self._fault("its tables are longer than the file")

    def _fault(self, what: str) -> ModelError:
        return ModelError(
            f"{self._name}: is truncated or damaged: {what}",
            hint="copy it again, or convert the model again",
        )


def _constants(enum: type) -> Iterator[tuple[int, str]]:
    for name, value in vars(enum).items():
        if isinstance(value, int):
            yield value, name


_OPS = dict(_constants(schema.BuiltinOperator))
_TYPES = dict(_constants(schema.TensorType))
_OPTION_TYPES = dict(_constants(schema.BuiltinOptions))
ACTIVATIONS: dict[int, str] = dict(_constants(schema.ActivationFunctionType))
"""Value of ``FusedActivationFunction`` -> ``NONE``, ``RELU``, ``RELU6`` ..."""
PADDINGS: dict[int, str] = dict(_constants(schema.Padding))
"""Value of ``Padding`` -> ``SAME`` or ``VALID``."""


def _op_code(code: Any) -> OperatorCode:
    # Old files keep the code in a byte of its own; the larger of the two is the true one.
    number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
    name = _OPS.get(number, f"OPERATOR_{number}")
    if name != "CUSTOM":
        return OperatorCode(name, code.Version())
    custom: bytes | None = code.CustomCode()
    text = (custom or b"CUSTOM").decode("utf-8", errors="replace")
    return OperatorCode(text, code.Version(), custom=True)
