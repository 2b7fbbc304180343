"""Read an ONNX file: its nodes, its weights and what goes in and out, and nothing else.

A file comes from anybody. It is read to a limit; weights in files beside it have to lie in its own
folder; no code that it might name is run, since only the operators of ONNX itself are known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from toolchain import extras
from toolchain.errors import ModelError, first_line
from toolchain.formats.input_file import read_limited

_MOST_BYTES = 2 << 30
"""Of a file, and of all files of weights beside it together."""
_OLDEST_OPSET = 7
_OWN = ("", "ai.onnx")
FLOATS = {1: torch.float32, 10: torch.float16, 11: torch.float64, 16: torch.bfloat16}
"""ONNX's numbers of types; all are float32 here."""
TYPES = {
    **dict.fromkeys(FLOATS, torch.float32),
    2: torch.uint8,
    3: torch.int8,
    5: torch.int16,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
}


@dataclass(frozen=True, eq=False)
class Node:
    """One operator."""

    op: str
    name: str
    """In the file; not the name of a layer, and not harmless."""
    inputs: tuple[str, ...]
    """Empty ones were left away."""
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """Numbers, texts, lists, tensors, and of ``If`` a :class:`Graph` for each branch."""


@dataclass(frozen=True, eq=False)
class Graph:
    """What a file computes."""

    opset: int
    nodes: tuple[Node, ...]
    """In the order in which they can be computed."""
    constants: Mapping[str, Tensor]
    inputs: Mapping[str, tuple[int | str, ...]]
    """Shape of each input; a text stands for a size that may vary."""
    outputs: tuple[str, ...]
    floats: tuple[str, ...] = ()
    """Types of weights and inputs other than float32, which they are here."""


def read(path: Path) -> Graph:
    """Read a file and the weights beside it.

    Raises:
        ModelError: it cannot be read, is damaged, too large, or reaches out of its folder; or it
            holds what no ONNX operator is, or an input that is not float.
        MissingToolError: the package ``onnx`` is not installed.
    """
    model = _loaded(path)
    opset = next(item.version for item in model.opset_import if item.domain in _OWN)
    return _Reader(path, opset).graph(model.graph)


def in_float32(path: Path) -> bytes:
    """A file that :func:`read` has read, as one that has float32 where it has other floats.

    Args:
        path: of the file; weights beside it are in what is given.

    Raises:
        Exception: of protobuf, where it is larger than 2 GiB.
    """
    model = _loaded(path)
    _to_float32(model.graph)
    content: bytes = model.SerializeToString()
    return content


def _to_float32(graph: Any) -> None:
    from onnx import TensorProto, numpy_helper

    for tensor in _tensors(graph):
        if tensor.data_type in FLOATS and tensor.data_type != TensorProto.FLOAT:
            array = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    for part in _graphs(graph):
        del part.value_info[:]  # what is between is inferred
        for item in (*part.input, *part.output):
            if item.type.tensor_type.elem_type in FLOATS:
                item.type.tensor_type.elem_type = TensorProto.FLOAT
        for node in part.node:
            for attribute in node.attribute:
                if node.op_type == "Cast" and attribute.name == "to" and attribute.i in FLOATS:
                    attribute.i = TensorProto.FLOAT


def _loaded(path: Path) -> Any:
    extras.require("deploy convert of an ONNX file", "onnx")
    import onnx

    try:
        model = onnx.load_model_from_string(read_limited(path, _MOST_BYTES))
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
    except Exception as error:
        raise ModelError(
            f"{path}: is not an ONNX file, or is truncated or damaged ({first_line(error)})",
            hint="write one with torch.onnx.export(model, inputs, path)",
        ) from error
    if not model.HasField("graph") or not model.graph.node:
        raise ModelError(
            f"{path}: is not an ONNX file, or is truncated or damaged (it holds no operators)",
            hint="write one with torch.onnx.export(model, inputs, path)",
        )
    _check_kinds(path, model)
    _Weights(path).bring(model)
    try:
        onnx.checker.check_model(model)
    except Exception as error:
        raise ModelError(
            f"{path}: is not as the standard of ONNX wants it: {first_line(error)[:300]}",
            hint="onnx.checker.check_model(path) says the same; export the model again",
        ) from error
    return model


def _check_kinds(path: Path, model: Any) -> None:
    """Raise where the file holds more than operators of ONNX itself."""
    foreign = next((node for node in model.graph.node if node.domain not in _OWN), None)
    if foreign is not None:
        raise ModelError(
            f"{path}: holds the operator {foreign.domain[:60]}:{foreign.op_type[:60]}, which is "
            "not one of ONNX itself",
            hint="export the model again without optimizers of a runtime, with plain operators",
        )
    if model.functions:
        raise ModelError(
            f"{path}: holds functions of its own",
            hint="write them out with onnx.inliner.inline_local_functions(model)",
        )
    versions = [item.version for item in model.opset_import if item.domain in _OWN]
    if not versions or versions[0] < _OLDEST_OPSET:
        said = f"opset {versions[0]}" if versions else "no opset"
        raise ModelError(
            f"{path}: is of {said}; opsets from {_OLDEST_OPSET} on are read",
            hint="onnx.version_converter.convert_version(model, 17) makes a newer one",
        )


class _Weights:
    """Files of weights beside a model."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._folder = path.parent
        self._read: dict[str, bytes] = {}

    def bring(self, model: Any) -> None:
        """Put the content of all external tensors into the model."""
        for tensor in _tensors(model.graph):
            if tensor.data_location == tensor.EXTERNAL:
                said = {entry.key: entry.value for entry in tensor.external_data}
                tensor.raw_data = self._part(said)
                tensor.data_location = tensor.DEFAULT
                del tensor.external_data[:]

    def _part(self, said: Mapping[str, str]) -> bytes:
        location = said.get("location", "")
        content = self._content(location)
        try:
            start = int(said.get("offset", "0"))
            length = int(said.get("length", str(len(content) - start)))
        except ValueError:
            start = length = -1
        if start < 0 or length < 0 or start + length > len(content):
            raise ModelError(
                f"{self._path}: names a part of {location[:80]!r} that is not in it",
                hint="that file is truncated, or belongs to another model",
            )
        return content[start : start + length]

    def _content(self, location: str) -> bytes:
        if location in self._read:
            return self._read[location]
        place = Path(location)
        found = self._folder / place
        inside = found.resolve().is_relative_to(self._folder.resolve())
        if not location or place.is_absolute() or ".." in place.parts or not inside:
            raise ModelError(
                f"{self._path}: names weights outside of its own folder: {location[:80]!r}",
                hint="put the file of weights beside the model, and its bare name into the model",
            )
        left = _MOST_BYTES - sum(map(len, self._read.values()))
        try:
            content = read_limited(found, left)
        except OSError as error:
            raise ModelError(
                f"{found}: cannot be read: {error.strerror or error} (weights of {self._path})",
                hint="it belongs beside the model",
            ) from error
        self._read[location] = content
        return content


def _tensors(graph: Any) -> list[Any]:
    found = []
    for part in _graphs(graph):
        found += part.initializer
        for node in part.node:
            for attribute in node.attribute:
                found += [*attribute.tensors, *([attribute.t] if attribute.HasField("t") else [])]
    return found


def _graphs(graph: Any) -> list[Any]:
    """A graph and those in it."""
    found = [graph]
    for node in graph.node:
        for attribute in node.attribute:
            found += _graphs(attribute.g) if attribute.HasField("g") else []
    return found


class _Reader:
    def __init__(self, path: Path, opset: int) -> None:
        self._path, self._opset = path, opset
        self._floats: set[str] = set()

    def graph(self, proto: Any) -> Graph:
        if proto.sparse_initializer:
            raise ModelError(
                f"{self._path}: holds sparse weights", hint="store them as plain tensors"
            )
        constants = {item.name: self._tensor(item) for item in proto.initializer}
        inputs = {
            item.name: self._input(item) for item in proto.input if item.name not in constants
        }
        return Graph(
            self._opset,
            tuple(map(self._node, proto.node)),
            constants,
            inputs,
            tuple(item.name for item in proto.output),
            tuple(sorted(self._floats)),
        )

    def _node(self, proto: Any) -> Node:
        attributes = {item.name: self._attribute(item) for item in proto.attribute}
        return Node(proto.op_type, proto.name, tuple(proto.input), tuple(proto.output), attributes)

    def _attribute(self, proto: Any) -> Any:
        import onnx

        if proto.type == onnx.AttributeProto.GRAPH:
            return self.graph(proto.g)
        if proto.type == onnx.AttributeProto.TENSOR:
            return self._tensor(proto.t)
        value = onnx.helper.get_attribute_value(proto)
        if isinstance(value, bytes):
            return value.decode(errors="replace")
        return list(value) if hasattr(value, "__iter__") and not isinstance(value, str) else value

    def _tensor(self, proto: Any) -> Tensor:
        from onnx import numpy_helper

        name = proto.name[:80]
        kind = TYPES.get(proto.data_type)
        if kind is None:
            raise ModelError(
                f"{self._path}: the constant {name!r} is of a type that is not computed here: "
                f"{_type_name(proto.data_type)}",
                hint="export the model with float32 weights; --quantize makes smaller ones",
            )
        try:
            array = numpy_helper.to_array(proto)
        except Exception as error:
            raise ModelError(
                f"{self._path}: the constant {name!r} is damaged: {first_line(error)}"
            ) from error
        self._note(proto.data_type)
        if kind == torch.float32:
            array = array.astype(np.float32)
        return torch.from_numpy(np.array(array, copy=True))

    def _input(self, proto: Any) -> tuple[int | str, ...]:
        if not proto.type.HasField("tensor_type"):
            raise ModelError(f"{self._path}: the input {proto.name[:80]!r} is not a tensor")
        given = proto.type.tensor_type
        if given.elem_type not in FLOATS:
            raise ModelError(
                f"{self._path}: has an input of type {_type_name(given.elem_type)}; inputs have to "
                "be float32",
                hint="export a model that takes float32, and casts it itself",
            )
        self._note(given.elem_type)
        return tuple(
            dim.dim_value if dim.HasField("dim_value") else (dim.dim_param or "?")
            for dim in given.shape.dim
        )

    def _note(self, kind: int) -> None:
        if kind in FLOATS and FLOATS[kind] != torch.float32:
            self._floats.add(str(FLOATS[kind]).removeprefix("torch."))


def _type_name(number: int) -> str:
    import onnx

    try:
        name: str = onnx.TensorProto.DataType.Name(number)
    except ValueError:
        return f"type {number}"
    return name.lower()
