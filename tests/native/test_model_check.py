"""What the runner refuses of a model before TensorFlow Lite sees it; mutations of models."""

from __future__ import annotations

import struct
import subprocess
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
from toolchain.build.bundle import Bundle

VALUES = np.arange(1, 7, dtype=np.float32)
"""Of the sparse matrix ``[3, 4]``: two in each row."""


def sparse_matrix() -> Any:
    """``y = x + densify(w)`` of a matrix by rows: each has the columns of its values."""

    def tensor(shape: list[int], buffer: int, sparsity: Any = None) -> Any:
        made = schema.TensorT()
        made.shape, made.buffer, made.type = shape, buffer, schema.TensorType.FLOAT32
        made.name, made.sparsity = b"t", sparsity
        return made

    def vector(values: list[int]) -> Any:
        made = schema.Int32VectorT()
        made.values = values
        return made

    rows, columns = schema.DimensionMetadataT(), schema.DimensionMetadataT()
    rows.format, rows.denseSize = schema.DimensionType.DENSE, 3
    columns.format = schema.DimensionType.SPARSE_CSR
    columns.arraySegmentsType = columns.arrayIndicesType = schema.SparseIndexVector.Int32Vector
    columns.arraySegments, columns.arrayIndices = vector([0, 2, 4, 6]), vector([0, 1, 1, 3, 0, 2])
    sparsity = schema.SparsityParametersT()
    sparsity.traversalOrder, sparsity.dimMetadata = [0, 1], [rows, columns]

    graph, model = schema.SubGraphT(), schema.ModelT()
    graph.tensors = [
        tensor([3, 4], 0), tensor([3, 4], 1, sparsity), tensor([3, 4], 0), tensor([3, 4], 0)
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
    data = schema.BufferT()
    data.data = list(VALUES.tobytes())
    model.version, model.operatorCodes, model.subgraphs = 3, codes, [graph]
    model.buffers = [schema.BufferT(), data]
    return model


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
