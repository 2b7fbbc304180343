"""What a ``.tflite`` file says of the images that it takes: TFLite's own metadata.

The tables are those of ``metadata_schema.fbs`` (TensorFlow Lite Support, MediaPipe Tasks), which
Android's code generator and MediaPipe read, too: the entry ``TFLITE_METADATA`` of a model's
metadata holds a FlatBuffer with the identifier ``M001``. Of its tables those are read and written
that say how pixels become the values of an input: ``NormalizationOptions``, and ``Stats``, between
which two figures these values are.

Files come from anyone. What does not fit the schema is as if it were not there.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import number_types
from flatbuffers.table import Table

from toolchain.errors import ModelError
from toolchain.tflite_file.graph import Model, parse_model

ENTRY = "TFLITE_METADATA"
_IDENTIFIER = b"M001"
_PARSER = "1.0.0"
"""The oldest parser of MediaPipe's that knows all of what is written here."""
_MOST = 64
"""Figures of a vector, and inputs of a model, that are looked at."""
WHITE = 255
"""The largest value of a pixel."""
_NEAR = 5e-3
"""Of a value of an input; three decimals of means and standard deviations round less."""
_ALIGNMENT = 16
"""Bytes; the largest of all that the format asks for."""
_DAMAGE = (struct.error, IndexError, ValueError, TypeError, OverflowError, AssertionError)

# Slots of the tables' fields, in the schema's order; an union takes two, its type and its value.
_MODEL_NAME, _MODEL_DESCRIPTION, _MODEL_SUBGRAPHS, _MODEL_PARSER, _MODEL_SLOTS = 0, 1, 3, 7, 8
_SUBGRAPH_INPUTS, _SUBGRAPH_OUTPUTS, _SUBGRAPH_SLOTS = 2, 3, 10
_TENSOR_NAME, _TENSOR_CONTENT, _TENSOR_UNITS, _TENSOR_STATS, _TENSOR_SLOTS = 0, 3, 4, 5, 7
_CONTENT_TYPE, _CONTENT_VALUE, _CONTENT_SLOTS = 0, 1, 3
_IMAGE_COLOURS, _IMAGE_SLOTS = 0, 2
_UNIT_TYPE, _UNIT_VALUE, _UNIT_SLOTS = 0, 1, 2
_PAIR_FIRST, _PAIR_SECOND, _PAIR_SLOTS = 0, 1, 2
_NORMALIZATION_OPTIONS, _IMAGE_PROPERTIES = 1, 2
_RGB, _GRAYSCALE = 1, 2
_FILE_VERSION, _FILE_BUFFERS, _FILE_METADATA, _FILE_SLOTS = 0, 4, 6, 10
"""Of the table ``Model`` of TensorFlow Lite's ``schema.fbs``; all but the first are offsets."""


@dataclass(frozen=True)
class Normalization:
    """``value = (pixel - mean) / std`` with pixels from 0 to 255, as the schema has it.

    Raises:
        ValueError: the two are empty, of different lengths or not finite, or a ``std`` is not above
            0.
    """

    mean: tuple[float, ...]
    """One for all channels, or one a channel."""
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.mean or len(self.mean) != len(self.std):
            raise ValueError(f"{len(self.mean)} means and {len(self.std)} standard deviations")
        if not all(map(math.isfinite, (*self.mean, *self.std))) or min(self.std) <= 0:
            raise ValueError("means have to be finite, standard deviations above 0")

    @classmethod
    def of_unit(cls, mean: Sequence[float], std: Sequence[float]) -> Normalization:
        """From figures for pixels scaled to 0 to 1, as torchvision gives them."""
        return cls(tuple(WHITE * value for value in mean), tuple(WHITE * value for value in std))

    @property
    def unit(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Means and standard deviations of pixels scaled to 0 to 1."""
        return tuple(v / WHITE for v in self.mean), tuple(v / WHITE for v in self.std)

    @property
    def low(self) -> tuple[float, ...]:
        """What a black pixel becomes, a channel each."""
        return tuple(-mean / std for mean, std in zip(self.mean, self.std, strict=True))

    @property
    def high(self) -> tuple[float, ...]:
        """What a white pixel becomes, a channel each."""
        return tuple((WHITE - mean) / std for mean, std in zip(self.mean, self.std, strict=True))

    def fits(self, channels: int) -> bool:
        """Whether there is one figure for all channels, or one for each of so many."""
        return len(self.mean) in (1, channels)

    def near(self, other: Normalization) -> bool:
        """Whether both make the same of a pixel, but for what decimals round."""
        size = max(len(self.mean), len(other.mean))
        if not (self.fits(size) and other.fits(size)):
            return False
        return all(
            np.allclose(np.broadcast_to(one, size), np.broadcast_to(two, size), rtol=0, atol=_NEAR)
            for one, two in ((self.low, other.low), (self.high, other.high))
        )

    def __str__(self) -> str:
        mean, std = (",".join(f"{value:.4g}" for value in values) for values in self.unit)
        return f"mean {mean} and std {std}"


@dataclass(frozen=True)
class ImageInput:
    """What a file says of one input."""

    name: str
    normalization: Normalization | None
    low: tuple[float, ...]
    """The smallest value that the input takes, one for all channels or one each; may be empty."""
    high: tuple[float, ...]


@dataclass(frozen=True)
class ImageMetadata:
    """What a file says of its inputs."""

    name: str
    """Of the model."""
    description: str
    inputs: tuple[ImageInput, ...]


def read_image_metadata(model: Model) -> ImageMetadata | None:
    """The metadata of a file; ``None`` where it has none, or none that can be read."""
    raw = model.metadata.get(ENTRY, b"")
    if len(raw) < 8 or raw[4:8] != _IDENTIFIER:
        return None
    try:
        root = _Node.root(raw)
        subgraphs = root.nodes(_MODEL_SUBGRAPHS)
        inputs = subgraphs[0].nodes(_SUBGRAPH_INPUTS) if subgraphs else []
        return ImageMetadata(
            root.text(_MODEL_NAME), root.text(_MODEL_DESCRIPTION), tuple(map(_input, inputs))
        )
    except _DAMAGE:
        return None


def with_image_metadata(
    content: bytes, name: str, description: str, normalization: Normalization
) -> bytes:
    """A file that says how the images of its one input are normalised.

    Nothing that the file holds is moved against its neighbours: what is new stands before it, so
    that constants stay as they are aligned. An entry that says so already is replaced.

    Args:
        content: of a ``.tflite`` file with one input of images, ``[N, H, W, C]``.
        name: of the model.
        description: of the model.
        normalization: with one figure for all channels, or one a channel.

    Raises:
        ModelError: the file has no such input.
    """
    model = parse_model(content)
    inputs = [model.graph.tensors[index] for index in model.graph.inputs]
    if len(inputs) != 1 or len(inputs[0].shape) != 4:
        raise ModelError(f"{model.path}: has no input that is an image")
    channels = inputs[0].shape[3]
    if not normalization.fits(channels):
        raise ModelError(
            f"{model.path}: takes images of {channels} channels, and the normalisation is of "
            f"{len(normalization.mean)}"
        )
    entry = _written(name, description, normalization, channels, len(model.graph.outputs))
    return _with_entry(content, entry)


# --- reading ---------------------------------------------------------------------------------


class _Node:
    """One table of a FlatBuffer; what it has not is empty."""

    def __init__(self, raw: bytes, position: int) -> None:
        if not 0 <= position <= len(raw) - 4:
            raise IndexError("a table outside of the file")
        self._raw, self._table = raw, Table(raw, position)

    @classmethod
    def root(cls, raw: bytes) -> _Node:
        return cls(raw, int.from_bytes(raw[:4], "little"))

    def _at(self, slot: int) -> int:
        offset = int(self._table.Offset(4 + 2 * slot))
        return offset + int(self._table.Pos) if offset else 0

    def number(self, slot: int) -> int:
        at = self._at(slot)
        return int(self._table.Get(number_types.Uint8Flags, at)) if at else 0

    def node(self, slot: int) -> _Node | None:
        at = self._at(slot)
        return _Node(self._raw, int(self._table.Indirect(at))) if at else None

    def text(self, slot: int) -> str:
        at = self._at(slot)
        return bytes(self._table.String(at)).decode("utf-8", errors="replace") if at else ""

    def nodes(self, slot: int) -> list[_Node]:
        start, count = self._vector(slot)
        places = (start + 4 * index for index in range(count))
        return [_Node(self._raw, int(self._table.Indirect(place))) for place in places]

    def figures(self, slot: int) -> tuple[float, ...]:
        start, count = self._vector(slot)
        return struct.unpack_from(f"<{count}f", self._raw, start)

    def _vector(self, slot: int) -> tuple[int, int]:
        at = self._at(slot)
        if not at:
            return 0, 0
        start = at + int(self._table.Get(number_types.UOffsetTFlags, at))
        count = int.from_bytes(self._raw[start : start + 4], "little")
        if not 0 <= start <= len(self._raw) - 4 or count > _MOST:
            raise IndexError("a vector that is longer than the file")
        return start + 4, count


def _input(node: _Node) -> ImageInput:
    normalization = None
    for unit in node.nodes(_TENSOR_UNITS):
        options = unit.node(_UNIT_VALUE)
        if unit.number(_UNIT_TYPE) == _NORMALIZATION_OPTIONS and options is not None:
            mean, std = options.figures(_PAIR_FIRST), options.figures(_PAIR_SECOND)
            normalization = Normalization(mean, std)
    stats = node.node(_TENSOR_STATS)
    high, low = (stats.figures(_PAIR_FIRST), stats.figures(_PAIR_SECOND)) if stats else ((), ())
    if len(low) != len(high) or not all(map(math.isfinite, (*low, *high))):
        low = high = ()
    return ImageInput(node.text(_TENSOR_NAME), normalization, low, high)


# --- writing ---------------------------------------------------------------------------------


def _written(
    name: str, description: str, normalization: Normalization, channels: int, outputs: int
) -> bytes:
    builder = flatbuffers.Builder(1024)
    tensor_name, model_name = builder.CreateString("image"), builder.CreateString(name)
    said, parser = builder.CreateString(description), builder.CreateString(_PARSER)
    mean, std, high, low = (
        builder.CreateNumpyVector(np.asarray(values, "<f4"))
        for values in (
            normalization.mean,
            normalization.std,
            normalization.high,
            normalization.low,
        )
    )
    options = _table(builder, _PAIR_SLOTS, {_PAIR_FIRST: mean, _PAIR_SECOND: std})
    unit = _table(
        builder, _UNIT_SLOTS, {_UNIT_VALUE: options}, {_UNIT_TYPE: _NORMALIZATION_OPTIONS}
    )
    units = _offsets(builder, [unit])
    stats = _table(builder, _PAIR_SLOTS, {_PAIR_FIRST: high, _PAIR_SECOND: low})
    colours = {3: _RGB, 1: _GRAYSCALE}.get(channels, 0)
    image = _table(builder, _IMAGE_SLOTS, {}, {_IMAGE_COLOURS: colours})
    content = _table(
        builder, _CONTENT_SLOTS, {_CONTENT_VALUE: image}, {_CONTENT_TYPE: _IMAGE_PROPERTIES}
    )
    fields = {
        _TENSOR_NAME: tensor_name,
        _TENSOR_CONTENT: content,
        _TENSOR_UNITS: units,
        _TENSOR_STATS: stats,
    }
    inputs = _offsets(builder, [_table(builder, _TENSOR_SLOTS, fields)])
    # Readers want as many as the graph has.
    results = _offsets(builder, [_table(builder, _TENSOR_SLOTS, {}) for _ in range(outputs)])
    subgraph = _table(
        builder, _SUBGRAPH_SLOTS, {_SUBGRAPH_INPUTS: inputs, _SUBGRAPH_OUTPUTS: results}
    )
    root = _table(
        builder,
        _MODEL_SLOTS,
        {
            _MODEL_NAME: model_name,
            _MODEL_DESCRIPTION: said,
            _MODEL_SUBGRAPHS: _offsets(builder, [subgraph]),
            _MODEL_PARSER: parser,
        },
    )
    builder.Finish(root, file_identifier=_IDENTIFIER)
    return bytes(builder.Output())


def _table(
    builder: Any, slots: int, offsets: dict[int, int], numbers: dict[int, int] | None = None
) -> int:
    builder.StartObject(slots)
    for slot, offset in offsets.items():
        builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
    for slot, number in (numbers or {}).items():
        builder.PrependUint8Slot(slot, number, 0)
    return int(builder.EndObject())


def _offsets(builder: Any, tables: Sequence[int]) -> int:
    builder.StartVector(4, len(tables), 4)
    for offset in reversed(tables):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())


def _with_entry(content: bytes, entry: bytes) -> bytes:
    """A file with one more entry of metadata.

    Offsets of a FlatBuffer lead forward, so that new tables that refer to old ones stand before
    them. The old file stays whole behind them, its own root, which nothing refers to, included.
    """
    old = schema.Model.GetRootAs(content, 0)
    table = old._tab
    padded = content + bytes(-len(content) % _ALIGNMENT)
    builder = flatbuffers.Builder(len(padded) + 4096)
    builder.Prep(_ALIGNMENT, 0)
    builder.CreateByteVector(padded)  # the last bytes of what is written

    def here(position: int) -> int:
        """Where the builder finds a place of the old file: it counts from the end."""
        return len(padded) - position

    fields = {}
    for slot in range(_FILE_VERSION + 1, _FILE_SLOTS):
        if offset := table.Offset(4 + 2 * slot):
            fields[slot] = here(table.Indirect(table.Pos + offset))
    builder.StartVector(1, len(entry), _ALIGNMENT)
    builder.head -= len(entry)
    builder.Bytes[builder.head : builder.head + len(entry)] = entry
    data, name = builder.EndVector(), builder.CreateString(ENTRY)
    buffers = [old.Buffers(index) for index in range(old.BuffersLength())]
    if any(buffer.Offset() > 1 for buffer in buffers):
        raise ModelError("the file holds constants behind its FlatBuffer, where nothing may move")
    said = [old.Metadata(index) for index in range(old.MetadataLength())]
    schema.BufferStart(builder)
    schema.BufferAddData(builder, data)
    kept = [here(buffer._tab.Pos) for buffer in buffers]
    fields[_FILE_BUFFERS] = _offsets(builder, [*kept, schema.BufferEnd(builder)])
    schema.MetadataStart(builder)
    schema.MetadataAddName(builder, name)
    schema.MetadataAddBuffer(builder, len(buffers))
    others = [here(one._tab.Pos) for one in said if one.Name() != ENTRY.encode()]
    fields[_FILE_METADATA] = _offsets(builder, [*others, schema.MetadataEnd(builder)])
    builder.StartObject(_FILE_SLOTS)
    for slot, offset in fields.items():
        builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
    builder.PrependUint32Slot(_FILE_VERSION, old.Version(), 0)
    builder.Finish(builder.EndObject(), file_identifier=b"TFL3")
    return bytes(builder.Output())
