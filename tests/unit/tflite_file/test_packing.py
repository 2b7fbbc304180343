"""Files that are taken apart and put together again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from support.tflite_writer import GraphWriter
from toolchain.agreement import interpreter
from toolchain.tflite_file.graph import parse_model
from toolchain.tflite_file.packing import Buffer, drop_unused, pack, unpack


@pytest.fixture
def raw(tmp_path: Path) -> bytes:
    writer = GraphWriter()
    source = writer.tensor((1, 4, 5, 2))
    filters = np.arange(54, dtype=np.float32).reshape(3, 3, 3, 2)
    conv = writer.conv_2d(source, filters, np.arange(3, dtype=np.float32), (1, 4, 5, 3))
    path = writer.write(tmp_path / "model.tflite", [source], [conv], metadata={"own": b"odd"})
    return path.read_bytes()


def test_a_file_that_is_not_changed_holds_what_it_held(raw: bytes) -> None:
    before, after = parse_model(raw).graph, parse_model(pack(unpack(raw))).graph
    assert after.operators == before.operators
    assert (after.inputs, after.outputs) == (before.inputs, before.outputs)
    for one, other in zip(before.tensors, after.tensors, strict=True):
        assert (one.name, one.shape, one.dtype) == (other.name, other.shape, other.dtype)
        assert (one.data is None) == (other.data is None)
        if one.data is not None and other.data is not None:
            assert np.array_equal(one.data, other.data)
    (entry,) = unpack(pack(unpack(raw))).metadata
    assert unpack(raw).buffers[entry.buffer].data == b"odd"


def test_of_a_vector_and_a_place_in_the_file_the_vector_is_kept(raw: bytes) -> None:
    model = schema.ModelT.InitFromPackedBuf(raw, 0)
    model.buffers[1].offset = model.buffers[1].size = 8
    assert unpack(pack(model)).buffers[1].data == unpack(raw).buffers[1].data


def test_constants_begin_at_multiples_of_sixteen_bytes(raw: bytes) -> None:
    model = unpack(raw)
    model.buffers[2] = Buffer(b"\x01" * 12)
    packed = bytearray(pack(model))
    start = np.frombuffer(packed, np.uint8).ctypes.data
    data = [one.data for one in parse_model(packed).graph.tensors if one.data is not None]
    assert len(data) == 2
    assert [(one.ctypes.data - start) % 16 for one in data] == [0, 0]


def test_what_nobody_reads_any_more_leaves_the_file(tmp_path: Path) -> None:
    writer = GraphWriter()
    writer.constant(np.arange(1000, dtype=np.float32))
    source, bias = writer.tensor((1, 4, 5, 2)), np.arange(3, dtype=np.float32)
    conv = writer.conv_2d(source, np.ones((3, 3, 3, 2), np.float32), bias, (1, 4, 5, 3))
    out = writer.operator("RELU", [conv], (1, 4, 5, 3))
    path = writer.write(
        tmp_path / "model.tflite", [source], [out], signature=True, metadata={"own": b"odd"}
    )
    model = unpack(path.read_bytes())
    model.subgraphs[0].operators[0].outputs = [out]
    del model.subgraphs[0].operators[1]
    drop_unused(model)
    packed = pack(model)
    assert len(packed) < path.stat().st_size - 4000
    graph = parse_model(packed).graph
    assert [tensor.shape for tensor in graph.tensors] == [
        (1, 4, 5, 2),
        (3, 3, 3, 2),
        (3,),
        (1, 4, 5, 3),
    ]
    image = np.ones((1, 4, 5, 2), np.float32)
    (found,) = interpreter.feed(interpreter.load(packed).get_signature_runner(), [image])
    assert found[0, 1, 1] == pytest.approx(18 + bias)
    (entry,) = unpack(packed).metadata
    assert unpack(packed).buffers[entry.buffer].data == b"odd"
