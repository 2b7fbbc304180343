"""A ``.tflite`` file as objects that can be changed, and back."""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from toolchain.errors import ModelError

_ALIGNMENT = 16
"""Of constants in the file, see ``force_align`` in TensorFlow Lite's ``schema.fbs``."""


class Buffer(schema.BufferT):  # type: ignore[misc]
    """Constants of a file that begin where its format wants it; the generated code does not.

    Args:
        content: what is in it; ``None`` for the buffer of tensors that are no constants.
    """

    def __init__(self, content: bytes | None) -> None:
        super().__init__()
        self.data = content

    def Pack(self, builder: Any) -> Any:  # noqa: N802 (the generated code's name)
        """Write it."""
        data = None
        if self.data is not None:
            builder.StartVector(1, len(self.data), _ALIGNMENT)
            builder.head = builder.Head() - len(self.data)
            builder.Bytes[builder.Head() : builder.Head() + len(self.data)] = self.data
            builder.vectorNumElems = len(self.data)
            data = builder.EndVector()
        schema.BufferStart(builder)
        if data is not None:
            schema.BufferAddData(builder, data)
        return schema.BufferEnd(builder)


def unpack(raw: bytes, name: str = "model") -> Any:
    """A file as the generated code's objects (``ModelT``); its constants are :class:`Buffer`.

    Args:
        raw: a file that :func:`toolchain.tflite_file.graph.parse_model` has read.
        name: of the file, for messages.

    Raises:
        ModelError: it stores options of operators behind the flatbuffer.
    """
    model = schema.ModelT.InitFromPackedBuf(raw, 0)
    if any(op.largeCustomOptionsOffset > 1 for graph in model.subgraphs for op in graph.operators):
        raise ModelError(f"{name}: an operator's options are stored behind the flatbuffer")
    model.buffers = [Buffer(_content(buffer, raw)) for buffer in model.buffers]
    return model


def drop_unused(model: Any) -> None:
    """Take out, in place, the tensors of the main graph that nobody reads or makes any more.

    Constants go with the last tensor that had them.

    Args:
        model: as :func:`unpack` gives it. Its signatures are of the main graph.
    """
    main = model.subgraphs[0]
    used = {int(index) for index in (*main.inputs, *main.outputs)}
    for op in main.operators:
        for part in (op.inputs, op.outputs, op.intermediates):
            used.update(int(index) for index in (() if part is None else part) if index >= 0)
    kept = sorted(used)
    place = {-1: -1, **{index: number for number, index in enumerate(kept)}}

    def moved(indices: Any) -> Any:
        return None if indices is None else [place[int(index)] for index in indices]

    for op in main.operators:
        op.inputs, op.outputs = moved(op.inputs), moved(op.outputs)
        op.intermediates = moved(op.intermediates)
    main.inputs, main.outputs = moved(main.inputs), moved(main.outputs)
    main.tensors = [main.tensors[index] for index in kept]
    for signature in model.signatureDefs or ():
        for port in (*(signature.inputs or ()), *(signature.outputs or ())):
            port.tensorIndex = place[port.tensorIndex]
    named = {tensor.buffer for graph in model.subgraphs for tensor in graph.tensors}
    named.update(entry.buffer for entry in model.metadata or ())
    if model.metadataBuffer is not None:
        named.update(int(index) for index in model.metadataBuffer)
    for number, buffer in enumerate(model.buffers):
        if number not in named:
            buffer.data = None


def pack(model: Any) -> bytes:
    """The file of such objects."""
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _content(buffer: Any, raw: bytes) -> bytes | None:
    if buffer.data is not None:
        return np.asarray(buffer.data, np.uint8).tobytes()
    if buffer.offset > 1:  # behind the flatbuffer
        return raw[buffer.offset : buffer.offset + buffer.size]
    return None
