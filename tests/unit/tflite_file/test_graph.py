from __future__ import annotations

import contextlib
import functools
import tempfile
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given, settings
from hypothesis import strategies as st

from support.masked_case import SMALL
from support.tflite_writer import GraphWriter
from toolchain.errors import ModelError
from toolchain.tflite_file.graph import parse_model, read_model
from toolchain.tflite_file.layers import find_layers, totals

CASE = SMALL


@functools.cache
def _raw() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return CASE.write(Path(folder) / "model.tflite").read_bytes()


def test_a_model_is_read_with_its_operators_and_constants(tmp_path: Path) -> None:
    model = read_model(CASE.write(tmp_path / "model.tflite"))
    graph = model.graph
    conv, select = graph.operators
    assert (conv.op, select.op) == ("CONV_2D", "SELECT_V2")
    assert conv.options["StrideH"] == 1
    assert graph.tensors[graph.inputs[0]].shape == (1, 6, 5, 3)
    filters = graph.tensors[conv.inputs[1]]
    assert filters.data is not None
    assert np.array_equal(filters.data, CASE.filters)
    assert graph.tensors[select.inputs[0]].dtype == "bool"
    assert graph.producers[select.inputs[1]] is conv
    assert graph.sole_consumer(conv.outputs[0]) is select
    assert graph.sole_consumer(select.outputs[0]) is None
    assert model.size == (tmp_path / "model.tflite").stat().st_size


def test_a_tensor_that_is_an_output_has_no_sole_consumer(tmp_path: Path) -> None:
    writer = GraphWriter()
    x = writer.tensor((1, 2))
    y = writer.operator("RELU", [x], (1, 2))
    z = writer.operator("ABS", [y], (1, 2))
    graph = read_model(writer.write(tmp_path / "model.tflite", [x], [y, z])).graph
    assert graph.sole_consumer(y) is None
    assert graph.consumers[y] == (graph.operators[1],)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "is empty"),
        (b"TFL3", "is not a TFLite model"),
        (b"PK\x03\x04 a zip archive", "is not a TFLite model"),
        (b"\x00" * 64, "is not a TFLite model"),
        (b"\x08\x00\x00\x00TFL3", "is truncated or damaged"),
    ],
)
def test_what_is_no_model_is_said(raw: bytes, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        parse_model(raw)
    assert "convert" in (caught.value.hint or "")


def test_an_operator_of_a_code_that_is_not_in_the_file_is_said(tmp_path: Path) -> None:
    writer = GraphWriter()
    x = writer.tensor((1, 2))
    y = writer.operator("NEG", [x], (1, 2))
    writer._operators[0].opcodeIndex = 9
    path = writer.write(tmp_path / "m.tflite", [x], [y])
    with pytest.raises(ModelError, match="operator 0 refers to operator code 9"):
        read_model(path)


def test_constants_are_those_that_tensorflow_lite_reads() -> None:
    """Buffer 0 is none, and of a vector and a place in the file the vector counts."""
    model = schema.ModelT.InitFromPackedBuf(_raw(), 0)
    constant = next(tensor for tensor in model.subgraphs[0].tensors if tensor.buffer)
    model.buffers[constant.buffer].offset = model.buffers[constant.buffer].size = 8
    model.buffers[0].data = list(b"nobody's")
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    found, whole = parse_model(bytes(builder.Output())).graph, parse_model(_raw()).graph
    for tensor, same in zip(found.tensors, whole.tensors, strict=True):
        assert (tensor.data is None) == (same.data is None)
        if tensor.data is not None and same.data is not None:
            assert np.array_equal(tensor.data, same.data)


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nothing.tflite: cannot be read: No such file"):
        read_model(tmp_path / "nothing.tflite")


@settings(max_examples=300, deadline=None)
@given(length=st.integers(0, len(_raw()) - 1))
def test_a_file_truncated_anywhere_is_a_model_error(length: int) -> None:
    with pytest.raises(ModelError):
        parse_model(_raw()[:length])


@settings(max_examples=500, deadline=None)
@given(
    flips=st.lists(
        st.tuples(st.integers(0, len(_raw()) - 1), st.integers(1, 255)), min_size=1, max_size=8
    )
)
def test_a_damaged_file_is_a_model_error_or_reads(flips: list[tuple[int, int]]) -> None:
    raw = bytearray(_raw())
    for position, change in flips:
        raw[position] ^= change
    try:
        model = parse_model(bytes(raw))
    except ModelError:
        return
    totals(find_layers(model))


@settings(max_examples=100, deadline=None)
@given(tail=st.binary(max_size=400))
def test_random_bytes_behind_the_identifier_are_a_model_error_or_read(tail: bytes) -> None:
    with contextlib.suppress(ModelError):
        find_layers(parse_model(b"\x10\x00\x00\x00TFL3" + tail))


def test_offsets_that_lead_many_tables_to_one_vector_are_refused() -> None:
    """A file of 80 kB whose 10,000 operators would each have the same 10,000 inputs."""
    builder = flatbuffers.Builder(1024)
    inputs = builder.CreateNumpyVector(np.full(10_000, -1, np.int32))
    schema.OperatorStart(builder)
    schema.OperatorAddInputs(builder, inputs)
    operator = schema.OperatorEnd(builder)
    schema.SubGraphStartOperatorsVector(builder, 10_000)
    for _ in range(10_000):
        builder.PrependUOffsetTRelative(operator)
    operators = builder.EndVector()
    schema.SubGraphStart(builder)
    schema.SubGraphAddOperators(builder, operators)
    graph = schema.SubGraphEnd(builder)
    schema.ModelStartSubgraphsVector(builder, 1)
    builder.PrependUOffsetTRelative(graph)
    graphs = builder.EndVector()
    schema.OperatorCodeStart(builder)
    code = schema.OperatorCodeEnd(builder)
    schema.ModelStartOperatorCodesVector(builder, 1)
    builder.PrependUOffsetTRelative(code)
    codes = builder.EndVector()
    schema.ModelStart(builder)
    schema.ModelAddSubgraphs(builder, graphs)
    schema.ModelAddOperatorCodes(builder, codes)
    builder.Finish(schema.ModelEnd(builder), b"TFL3")
    with pytest.raises(ModelError, match="its tables are longer than the file"):
        parse_model(bytes(builder.Output()))
