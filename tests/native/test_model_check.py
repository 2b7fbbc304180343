"""What the runner refuses of a model before TensorFlow Lite sees it; mutations of models."""

from __future__ import annotations

import struct
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from fuzz.mutations import load_seeds, mutation
from fuzz.targets import through_runner
from support.bundles import write_masked_model
from support.quantized_ops import FileWriter
from support.tflite_writer import GraphWriter
from toolchain.build.bundle import Bundle

VALUES = np.arange(1, 7, dtype=np.float32)
"""Of the sparse matrix ``[3, 4]``: two in each row."""


def _tensor(shape: list[int], buffer: int = 0, sparsity: Any = None) -> Any:
    made = schema.TensorT()
    made.shape, made.buffer, made.type = shape, buffer, schema.TensorType.FLOAT32
    made.name, made.sparsity = b"t", sparsity
    return made


def _dense(size: int) -> Any:
    made = schema.DimensionMetadataT()
    made.format, made.denseSize = schema.DimensionType.DENSE, size
    return made


def _compressed(segments: list[int], indices: list[int]) -> Any:
    made = schema.DimensionMetadataT()
    made.format = schema.DimensionType.SPARSE_CSR
    made.arraySegmentsType = made.arrayIndicesType = schema.SparseIndexVector.Int32Vector
    made.arraySegments, made.arrayIndices = schema.Int32VectorT(), schema.Int32VectorT()
    made.arraySegments.values, made.arrayIndices.values = segments, indices
    return made


def _sparsity(levels: list[Any], order: list[int], blocks: list[int] | None = None) -> Any:
    made = schema.SparsityParametersT()
    made.traversalOrder, made.blockMap, made.dimMetadata = order, blocks, levels
    return made


def _buffer(values: list[float]) -> Any:
    made = schema.BufferT()
    made.data = list(np.array(values, np.float32).tobytes())
    return made


def sparse_matrix() -> Any:
    """``y = x + densify(w)`` of a matrix by rows: each has the columns of its values."""
    sparsity = _sparsity([_dense(3), _compressed([0, 2, 4, 6], [0, 1, 1, 3, 0, 2])], [0, 1])
    graph, model = schema.SubGraphT(), schema.ModelT()
    graph.tensors = [
        _tensor([3, 4]), _tensor([3, 4], 1, sparsity), _tensor([3, 4]), _tensor([3, 4])
    ]  # fmt: skip
    densify, add = schema.OperatorT(), schema.OperatorT()
    densify.opcodeIndex, densify.inputs, densify.outputs = 0, [1], [2]
    add.opcodeIndex, add.inputs, add.outputs = 1, [0, 2], [3]
    add.builtinOptionsType, add.builtinOptions = (
        schema.BuiltinOptions.AddOptions, schema.AddOptionsT(),
    )  # fmt: skip
    graph.operators, graph.inputs, graph.outputs = [densify, add], [0], [3]
    codes = [schema.OperatorCodeT(), schema.OperatorCodeT()]
    for code, kind in zip(codes, ("DENSIFY", "ADD"), strict=True):
        code.builtinCode = getattr(schema.BuiltinOperator, kind)
        code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), 1
    model.version, model.operatorCodes, model.subgraphs = 3, codes, [graph]
    model.buffers = [schema.BufferT(), _buffer(VALUES.tolist())]
    return model


ROWS = [_dense(4), _compressed([0, 1, 2, 3, 4], [0, 1, 2, 3])]
"""A value in each of four rows: in column 0, 1, 2 and 3."""


def fully_connected(weights: Any, values: list[float], version: int = 8) -> Any:
    """``y = w @ x`` of a vector.

    Args:
        weights: the tensor ``w``.
        values: all that the file has of it.
        version: of the operator; 8 is that of sparse weights.
    """
    rows, columns = weights.shape
    graph, model = schema.SubGraphT(), schema.ModelT()
    graph.tensors = [_tensor([1, columns]), weights, _tensor([1, rows])]
    layer, code = schema.OperatorT(), schema.OperatorCodeT()
    layer.opcodeIndex, layer.inputs, layer.outputs = 0, [0, 1, -1], [2]
    layer.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
    layer.builtinOptions = schema.FullyConnectedOptionsT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    code.version = version
    graph.operators, graph.inputs, graph.outputs = [layer], [0], [2]
    model.version, model.operatorCodes, model.subgraphs = 3, [code], [graph]
    model.buffers = [schema.BufferT(), _buffer(values)]
    return model


def rectifier() -> Any:
    """``y = relu(x)`` of a vector of four; buffer 1 has values of one that nothing has."""
    file = GraphWriter()
    file.constant(np.ones((1, 4), np.float32))
    x = file.tensor((1, 4))
    y = file.operator("RELU", [x], (1, 4))
    with tempfile.TemporaryDirectory() as folder:
        raw = file.write(Path(folder) / "m.tflite", [x], [y]).read_bytes()
    return schema.ModelT.InitFromPackedBuf(raw, 0)


def write(model: Any, path: Path) -> Path:
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(builder.Output())
    return path


def run(bundle: Bundle, path: Path, *options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [bundle.runner, "--model", path, "--runs", "0", *map(str, options)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_sparse_matrix_is_unpacked(host_bundle: Bundle, tmp_path: Path) -> None:
    path = write(sparse_matrix(), tmp_path / "m.tflite")
    np.zeros((3, 4), np.float32).tofile(tmp_path / "x.bin")
    done = run(host_bundle, path, "--input", tmp_path / "x.bin", "--output-dir", tmp_path)
    assert done.returncode == 0, done.stderr
    expected = [[1, 2, 0, 0], [0, 3, 0, 4], [5, 0, 6, 0]]
    assert np.fromfile(tmp_path / "output0.bin", np.float32).reshape(3, 4).tolist() == expected


def _levels(model: Any) -> Any:
    return model.subgraphs[0].tensors[1].sparsity


def _index(model: Any) -> None:
    _levels(model).dimMetadata[1].arrayIndices.values[3] = 4_000_000


def _negative(model: Any) -> None:
    _levels(model).dimMetadata[1].arrayIndices.values[0] = -1


def _segments(model: Any) -> None:
    _levels(model).dimMetadata[1].arraySegments.values[:] = [0, 6, 2, 6]


def _fewer_segments(model: Any) -> None:
    _levels(model).dimMetadata[1].arraySegments.values[:] = [0, 6]


def _rows(model: Any) -> None:
    _levels(model).dimMetadata[0].denseSize = 1 << 30


def _order(model: Any) -> None:
    _levels(model).traversalOrder = [0, 7]


def _twice(model: Any) -> None:
    _levels(model).traversalOrder = [1, 1]


def _block(model: Any) -> None:
    _levels(model).blockMap = [5]


def _one_level(model: Any) -> None:
    _levels(model).dimMetadata.pop()


def _values(model: Any) -> None:
    model.buffers[1].data = model.buffers[1].data[:8]


@pytest.mark.parametrize(
    "damage",
    [
        _index, _negative, _segments, _fewer_segments, _rows, _order, _twice, _block, _one_level,
        _values,
    ],
)  # fmt: skip
def test_a_sparse_matrix_whose_numbers_lead_elsewhere_is_refused(
    host_bundle: Bundle, tmp_path: Path, damage: Callable[[Any], None]
) -> None:
    model = sparse_matrix()
    damage(model)
    done = run(host_bundle, write(model, tmp_path / "m.tflite"))
    assert done.returncode == 3, done.stderr
    assert "a sparse tensor has f" in done.stderr


def test_values_are_those_that_tensorflow_lite_reads(host_bundle: Bundle, tmp_path: Path) -> None:
    """Of a buffer that has a vector and names a place in the file, too, it takes the vector."""
    model = sparse_matrix()
    data = model.buffers[1]
    data.data, data.offset, data.size = data.data[:8], 16, 400
    done = run(host_bundle, write(model, tmp_path / "m.tflite"))
    assert done.returncode == 3, done.stderr
    assert "a sparse tensor has fewer values than indices" in done.stderr


def test_values_in_the_buffer_of_computed_tensors_are_nobodys(
    host_bundle: Bundle, tmp_path: Path
) -> None:
    model = sparse_matrix()
    model.buffers[0] = _buffer([0.0] * 12)
    model.subgraphs[0].operators[1].inputs = [3, 2]
    done = run(host_bundle, write(model, tmp_path / "m.tflite"))
    assert done.returncode == 3, done.stderr
    assert "operator 1 reads tensor 3 before anything fills it" in done.stderr


@pytest.mark.parametrize("version", [1, 8, 9])
@pytest.mark.parametrize("options", [[], ["--no-delegate"]], ids=["delegate", "kernels"])
def test_sparse_weights_are_read_as_such_whatever_the_operators_version_is(
    host_bundle: Bundle, tmp_path: Path, version: int, options: list[str]
) -> None:
    weights = _tensor([4, 8], 1, _sparsity(ROWS, [0, 1]))
    path = write(fully_connected(weights, [1, 2, 3, 4], version), tmp_path / "m.tflite")
    np.arange(1, 9, dtype=np.float32).tofile(tmp_path / "x.bin")
    done = run(host_bundle, path, "--input", tmp_path / "x.bin", "--output-dir", tmp_path, *options)
    assert done.returncode == 0, done.stderr
    assert np.fromfile(tmp_path / "output0.bin", np.float32).tolist() == [1, 4, 9, 16]


def test_sparse_weights_of_blocks_in_a_row_are_read(host_bundle: Bundle, tmp_path: Path) -> None:
    levels = [_dense(2), _compressed([0, 1, 2], [1, 0]), _dense(4)]
    weights = _tensor([2, 8], 1, _sparsity(levels, [0, 1, 2], [1]))
    path = write(fully_connected(weights, [1, 2, 3, 4, 5, 6, 7, 8]), tmp_path / "m.tflite")
    np.arange(1, 9, dtype=np.float32).tofile(tmp_path / "x.bin")
    done = run(host_bundle, path, "--input", tmp_path / "x.bin", "--output-dir", tmp_path)
    assert done.returncode == 0, done.stderr
    assert np.fromfile(tmp_path / "output0.bin", np.float32).tolist() == [70, 70]


def _by_columns() -> Any:
    sparsity = _sparsity([_dense(4), _compressed([0, 0, 0, 0, 1], [0])], [1, 0])
    return fully_connected(_tensor([4, 4], 1, sparsity), [5])


def _blocks_of_rows() -> Any:
    levels = [_dense(16), _compressed(list(range(17)), list(range(16))), _dense(4)]
    weights = _tensor([64, 16], 1, _sparsity(levels, [0, 1, 2], [0]))
    return fully_connected(weights, [1.0] * 64)


@pytest.mark.parametrize("make", [_by_columns, _blocks_of_rows])
@pytest.mark.parametrize("options", [[], ["--no-delegate"]], ids=["delegate", "kernels"])
def test_sparse_values_that_the_kernel_would_misread_are_refused(
    host_bundle: Bundle, tmp_path: Path, make: Callable[[], Any], options: list[str]
) -> None:
    done = run(host_bundle, write(make(), tmp_path / "m.tflite"), *options)
    assert done.returncode == 3, done.stderr
    assert "operator 0 reads a sparse tensor of a kind that it does not take" in done.stderr


def _constant_input(model: Any) -> None:
    model.subgraphs[0].tensors[1].buffer = 1


def _constant_output(model: Any) -> None:
    model.subgraphs[0].tensors[2].buffer = 1


def _output_of_nothing(model: Any) -> None:
    model.subgraphs[0].tensors[0].buffer = 0
    model.subgraphs[0].outputs = [2, 0]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_constant_input, "an input is tensor 1, which is a constant"),
        (_constant_output, "an output of operator 0 is tensor 2, which is a constant"),
        (_output_of_nothing, "an output is tensor 0, which nothing fills"),
    ],
)
@pytest.mark.parametrize("options", [[], ["--no-delegate"]], ids=["delegate", "kernels"])
def test_what_cannot_be_written_or_read_is_refused(
    host_bundle: Bundle,
    tmp_path: Path,
    damage: Callable[[Any], None],
    message: str,
    options: list[str],
) -> None:
    model = rectifier()
    damage(model)
    done = run(host_bundle, write(model, tmp_path / "m.tflite"), "--runs", "1", *options)
    assert done.returncode == 3, done.stderr
    assert message in done.stderr


def test_an_output_that_is_a_constant_is_its_values(host_bundle: Bundle, tmp_path: Path) -> None:
    model = rectifier()
    model.subgraphs[0].outputs = [2, 0]
    path = write(model, tmp_path / "m.tflite")
    np.zeros(4, np.float32).tofile(tmp_path / "x.bin")
    done = run(host_bundle, path, "--input", tmp_path / "x.bin", "--output-dir", tmp_path)
    assert done.returncode == 0, done.stderr
    assert np.fromfile(tmp_path / "output1.bin", np.float32).tolist() == [1, 1, 1, 1]


def test_a_file_that_the_verifier_does_not_read_is_refused(
    host_bundle: Bundle, tmp_path: Path
) -> None:
    path = write(rectifier(), tmp_path / "m.tflite")
    with path.open("r+b") as file:
        file.write((0xFFFFFFF0).to_bytes(4, "little"))  # where the model's table is said to be
        file.truncate(1 << 31)
    done = run(host_bundle, path)
    assert done.returncode == 3, done.stderr
    assert "m.tflite: has 2 GiB or more, which is not supported" in done.stderr


@pytest.mark.parametrize("field", ["strideH", "strideW", "dilationHFactor", "dilationWFactor"])
@pytest.mark.parametrize("value", [0, -1, -(2**31), 2**31 - 1])
def test_a_step_that_no_network_has_is_refused(
    host_bundle: Bundle, tmp_path: Path, field: str, value: int
) -> None:
    path = write_masked_model(tmp_path / "m.tflite", size=4, channels=2)
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    setattr(model.subgraphs[0].operators[0].builtinOptions, field, value)
    done = run(host_bundle, write(model, path))
    assert done.returncode == 3, done.stderr
    assert "operator 0 has a stride, dilation or window that is out of range" in done.stderr


@pytest.mark.parametrize("stride", [0, -1, 65536, 2**30, 2**31 - 1])
@pytest.mark.parametrize("name", ["MaxUnpooling2D", "Convolution2DTransposeBias"])
def test_a_step_of_an_operator_of_mediapipes_is_no_larger(
    host_bundle: Bundle, tmp_path: Path, name: str, stride: int
) -> None:
    """What it puts out has no more places than can be computed."""
    file = FileWriter()
    x = file.tensor((1, 4, 4, 1), "float32")
    if name == "MaxUnpooling2D":
        inputs, data = [x, x], struct.pack("<6i", 1, stride, stride, stride, stride, 0)
    else:
        weights = file.tensor((1, 2, 2, 1), "float32", data=bytes(16))
        bias = file.tensor((1,), "float32", data=bytes(4))
        inputs, data = [x, weights, bias], struct.pack("<3i", 1, stride, stride)
    y = file.tensor((1, 4, 4, 1), "float32")
    file.operator(name, inputs, [y], custom=data)
    path = file.write(tmp_path / "m.tflite", [x], [y])
    done = run(host_bundle, path, "--no-delegate")
    assert done.returncode == 3, done.stderr
    assert "stride > 0 && stride <= kLargestStride was not true" in done.stderr


def test_mutations_are_run_or_refused(host_bundle: Bundle, tmp_path: Path) -> None:
    """A few; ``make fuzz`` tries twenty thousand with AddressSanitizer."""
    write_masked_model(tmp_path / "masked.tflite", size=8, channels=4)
    write(sparse_matrix(), tmp_path / "sparse.tflite")
    seeds, path = load_seeds([tmp_path]), tmp_path / "mutation"
    found = {}
    for number in range(200):
        path.write_bytes(mutation(seeds, number)[1])
        if said := through_runner(path, host_bundle.runner):
            found[number] = said
    assert found == {}
