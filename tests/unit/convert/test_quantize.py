from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import assume, given, settings

from support.masked_case import SMALL, Case, cases
from support.tflite_writer import GraphWriter
from toolchain.agreement.interpreter import Kernels
from toolchain.agreement.runtimes import Litert
from toolchain.convert.quantize import float_operators, quantize_int8, quantize_weights
from toolchain.errors import ModelError
from toolchain.tflite_file.graph import Graph, Quantization, Tensor, read_model
from toolchain.tflite_file.layers import find_layers
from toolchain.tflite_file.support import find_unsupported

Array = npt.NDArray[Any]
KERNELS: tuple[Kernels, ...] = ("xnnpack", "builtin")


def _int8(path: Path, *inputs: Array, boundary: str = "int8") -> Path:
    assert boundary in ("int8", "float32")
    quantize_int8(
        path,
        [[array] for array in inputs],
        boundary="int8" if boundary == "int8" else "float32",
        step=lambda: None,
    )
    return path


def _quantization(tensor: Tensor) -> Quantization:
    assert tensor.quantization is not None
    return tensor.quantization


def _one(found: Quantization) -> tuple[float, int]:
    assert found.scale.size == found.zero_point.size == 1
    return float(found.scale[0]), int(found.zero_point[0])


def _stored(array: Array, tensor: Tensor) -> Array:
    scale, zero_point = _one(_quantization(tensor))
    return np.clip(np.round(array / scale) + zero_point, -128, 127).astype(np.int8)


def _real(array: Array, tensor: Tensor) -> Array:
    scale, zero_point = _one(_quantization(tensor))
    result: Array = (array.astype(np.float64) - zero_point) * scale
    return result


def _ports(graph: Graph) -> tuple[Tensor, Tensor]:
    return graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]


@settings(max_examples=60, deadline=None)
@given(case=cases(max_size=9))
def test_masked_pixels_hold_exactly_the_quantised_fill_and_kept_ones_the_convolution(
    case: Case, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assume(case.form not in (None, "multiply"))
    path = case.write(tmp_path_factory.mktemp("case") / "model.tflite", signature=True)
    x = case.input()
    graph = read_model(_int8(path, x)).graph
    (select,) = (op for op in graph.operators if op.op == "SELECT_V2")
    mask, *values = (graph.tensors[index] for index in (*select.inputs, *select.outputs))
    assert mask.dtype == "bool"
    assert {tensor.dtype for tensor in values} == {"int8"}
    assert len({_one(_quantization(tensor)) for tensor in values}) == 1
    (layer,) = find_layers(read_model(path))
    assert layer.mask is not None
    assert layer.mask.skipped, layer.mask.reason
    assert np.array_equal(layer.mask.kept, case.mask)

    source, output = _ports(graph)
    scale, _ = _one(_quantization(output))
    stored = next(tensor.data for tensor in values if tensor.data is not None)
    fill = np.broadcast_to(_real(stored.reshape(-1), values[0]), case.fill.shape)
    if not case.mask.all():
        assert np.abs(fill - case.fill).max() <= 0.5001 * layer.mask.fill_step
    taps = math.prod(case.kernel) * (1 if case.depthwise else case.channels_in)
    weights = graph.tensors[graph.operators[0].inputs[1]]
    steps = _one(_quantization(source))[0] ** 2 + float(_quantization(weights).scale.max()) ** 2
    # Six standard deviations of the roundings of inputs and weights, uniform in [-1, 1].
    noise = 6 * math.sqrt(taps * steps / 36)
    for kernels in KERNELS:
        ((found,),) = Litert(kernels).run(path, [[_stored(x, source)]])
        got = _real(found, output)
        expected = case.expected(x)
        if case.form != "select_then_relu":
            held = np.broadcast_to(fill, got.shape)
            assert np.array_equal(got[:, ~case.mask], held[:, ~case.mask])
        kept = np.abs(got - expected)[:, case.mask]
        assert kept.size == 0 or kept.max() <= 1.5 * scale + noise


@pytest.mark.parametrize("boundary", ["int8", "float32"])
def test_inputs_and_outputs_are_what_was_asked_for(tmp_path: Path, boundary: str) -> None:
    path = SMALL.write(tmp_path / "model.tflite", signature=True)
    graph = read_model(_int8(path, SMALL.input(), boundary=boundary)).graph
    assert {tensor.dtype for tensor in _ports(graph)} == {boundary}
    ends = ["QUANTIZE", "CONV_2D", "SELECT_V2", "DEQUANTIZE"]
    names = [op.op for op in graph.operators]
    assert names == (ends if boundary == "float32" else ends[1:-1])


def test_weights_are_quantised_per_channel_and_activations_per_tensor(tmp_path: Path) -> None:
    path = SMALL.write(tmp_path / "model.tflite", signature=True)
    graph = read_model(_int8(path, SMALL.input())).graph
    source, weights, bias = (graph.tensors[index] for index in graph.operators[0].inputs)
    assert [tensor.dtype for tensor in (source, weights, bias)] == ["int8", "int8", "int32"]
    assert [_quantization(item).scale.size for item in (source, weights, bias)] == [1, 4, 4]
    assert not _quantization(weights).zero_point.any()
    assert _quantization(weights).axis == 0
    product = _quantization(source).scale * _quantization(weights).scale
    assert np.allclose(_quantization(bias).scale, product)


def test_two_masked_layers_may_share_a_fill_and_a_mask(tmp_path: Path) -> None:
    graph = GraphWriter()
    shape = (1, 4, 4, 2)
    source = output = graph.tensor(shape)
    mask = graph.constant(np.eye(4, dtype=bool)[None, :, :, None])
    fill = graph.constant(np.array([0.5, -1.0], np.float32).reshape(1, 1, 1, 2))
    for gain in (1, 30):
        filters = gain * np.ones((2, 1, 1, 2), np.float32)
        output = graph.conv_2d(output, filters, np.zeros(2, np.float32), shape)
        output = graph.select(mask, output, fill, shape)
    path = graph.write(tmp_path / "model.tflite", [source], [output], signature=True)
    x = np.linspace(-1, 1, 32, dtype=np.float32).reshape(shape)
    first, second = find_layers(read_model(_int8(path, x)))
    assert first.mask is not None
    assert second.mask is not None
    assert first.mask.skipped
    assert second.mask.skipped
    assert second.mask.fill_step > 10 * first.mask.fill_step
    for mask_of in (first.mask, second.mask):
        assert np.abs(mask_of.fill - (0.5, -1.0)).max() <= 0.5001 * mask_of.fill_step


def _with(case: Case, path: Path, change: Callable[[Array, Array], None]) -> tuple[Path, Array]:
    """A dense layer whose weights ``[O, kh, kw, I]`` and bias are changed; and its outputs."""
    filters, bias, shape = case.filters.copy(), case.bias.copy(), case.output_shape
    change(filters, bias)
    graph = GraphWriter()
    x = graph.tensor((case.batch, case.height, case.width, case.channels_in))
    y = graph.conv_2d(x, filters, bias, shape, activation="relu")
    head = np.ones((2, 1, 1, case.channels_out), np.float32)
    z = graph.conv_2d(y, head, np.array([0.25, -0.5], np.float32), (*shape[:3], 2))
    graph.write(path, [x], [z], signature=True)
    ((wanted,),) = Litert("builtin").run(path, [[case.input()]])
    return path, wanted


def _zero_channel(filters: Array, bias: Array) -> None:
    filters[1], bias[1] = 0, 5


def _tiny_channel(filters: Array, bias: Array) -> None:
    filters[1] *= 1e-9
    bias[1] = 5


def _dead(_filters: Array, bias: Array) -> None:
    bias[:] = -1000


def _all_zero(filters: Array, bias: Array) -> None:
    filters[:], bias[:] = 0, 0


@pytest.mark.parametrize("change", [_zero_channel, _tiny_channel, _dead, _all_zero])
def test_layers_that_compute_next_to_nothing_stay_right(
    tmp_path: Path, change: Callable[[Array, Array], None]
) -> None:
    path, wanted = _with(SMALL, tmp_path / "model.tflite", change)
    _int8(path, SMALL.input(), boundary="float32")
    for kernels in KERNELS:
        ((got,),) = Litert(kernels).run(path, [[SMALL.input()]])
        assert np.abs(got - wanted).max() <= 0.03 * np.abs(wanted).max()


@pytest.mark.parametrize("above", [1e-3, 1e-5, 1e-7])
def test_a_layer_that_is_hardly_ever_above_zero_can_be_run(tmp_path: Path, above: float) -> None:
    x = SMALL.input()
    dense = dataclasses.replace(SMALL, form=None, activation=None)
    highest = float(dense.expected(x).max())

    def hardly(_filters: Array, bias: Array) -> None:
        bias -= highest - above

    path, wanted = _with(dense, tmp_path / "model.tflite", hardly)
    _int8(path, x, boundary="float32")
    for kernels in KERNELS:
        ((got,),) = Litert(kernels).run(path, [[x]])
        assert np.abs(got - wanted).max() <= 0.03 * np.abs(wanted).max()


def test_operators_without_an_int8_form_are_counted(tmp_path: Path) -> None:
    graph = GraphWriter()
    shape = (1, 4, 4, 2)
    source = graph.tensor(shape)
    output = graph.operator("RELU_N1_TO_1", [source], shape)
    output = graph.conv_2d(
        output, np.ones((2, 1, 1, 2), np.float32), np.zeros(2, np.float32), shape
    )
    path = graph.write(tmp_path / "model.tflite", [source], [output], signature=True)
    _int8(path, np.ones(shape, np.float32))
    assert float_operators(read_model(path)) == {"RELU_N1_TO_1": 1}


def test_operators_that_the_runtime_has_no_int8_kernel_of_stay_in_float(tmp_path: Path) -> None:
    graph = GraphWriter()
    shape = (1, 4, 4, 2)
    source = graph.tensor(shape)
    filters = np.random.default_rng(0).uniform(0.1, 1, (2, 1, 1, 2)).astype(np.float32)
    first = graph.conv_2d(source, filters, np.ones(2, np.float32), shape)
    root = graph.operator("SQRT", [first], shape)
    ratio = graph.operator("DIV", [first, root], shape, "DivOptions", schema.DivOptionsT())
    output = graph.conv_2d(ratio, filters, np.zeros(2, np.float32), shape)
    path = graph.write(tmp_path / "model.tflite", [source], [output], signature=True)
    x = np.random.default_rng(1).uniform(0, 1, shape).astype(np.float32)
    ((wanted,),) = Litert("builtin").run(path, [[x]])
    _int8(path, x, boundary="float32")
    model = read_model(path)
    assert float_operators(model) == {"SQRT": 1, "DIV": 1}
    assert not find_unsupported(model)
    ((got,),) = Litert("builtin").run(path, [[x]])
    assert np.abs(got - wanted).max() <= 0.03 * np.abs(wanted).max()


def _fully_connected(path: Path) -> Path:
    graph = GraphWriter()
    source = graph.tensor((1, 64))
    weights = np.random.default_rng(0).standard_normal((40, 64)).astype(np.float32)
    weights *= np.linspace(0.01, 3, 40, dtype=np.float32)[:, None]
    bias = graph.constant(np.zeros(40, np.float32))
    operands = [source, graph.constant(weights), bias]
    return graph.write(
        path, [source], [graph.operator("FULLY_CONNECTED", operands, (1, 40))], signature=True
    )


def _transposed(path: Path, *, bias: bool) -> Path:
    rng, graph = np.random.default_rng(0), GraphWriter()
    source = graph.tensor((1, 5, 6, 3))
    size = graph.constant(np.array([1, 11, 13, 40], np.int32))
    weights = graph.constant(rng.standard_normal((40, 3, 3, 3)).astype(np.float32))
    operands = [size, weights, source]
    if bias:
        operands.append(graph.constant(rng.standard_normal(40).astype(np.float32)))
    options = schema.TransposeConvOptionsT()
    options.padding, options.strideH, options.strideW = schema.Padding.VALID, 2, 2
    output = graph.operator(
        "TRANSPOSE_CONV", operands, (1, 11, 13, 40), "TransposeConvOptions", options
    )
    return graph.write(path, [source], [output], signature=True)


def test_dynamic_range_keeps_one_scale_for_a_fully_connected_layer(tmp_path: Path) -> None:
    path = _fully_connected(tmp_path / "fc.tflite")
    quantize_weights(path, "dynamic")
    graph = read_model(path).graph
    weights = graph.tensors[graph.operators[0].inputs[1]]
    assert weights.dtype == "int8"
    assert _quantization(weights).scale.size == 1
    assert {tensor.dtype for tensor in _ports(graph)} == {"float32"}


@pytest.mark.parametrize("bias", [True, False])
def test_dynamic_range_unpacks_the_weights_of_a_transposed_convolution(
    tmp_path: Path, bias: bool
) -> None:
    path = _transposed(tmp_path / "model.tflite", bias=bias)
    x = np.random.default_rng(1).uniform(-1, 1, (1, 5, 6, 3)).astype(np.float32)
    ((before,),) = Litert("builtin").run(path, [[x]])
    size = path.stat().st_size
    quantize_weights(path, "dynamic")
    graph = read_model(path).graph
    assert [op.op for op in graph.operators] == ["DEQUANTIZE", "TRANSPOSE_CONV"]
    weights = graph.tensors[graph.operators[0].inputs[0]]
    assert weights.dtype == "int8"
    assert _quantization(weights).scale.size == 40
    assert path.stat().st_size < 0.6 * size
    for kernels in KERNELS:
        ((found,),) = Litert(kernels).run(path, [[x]])
        assert np.abs(found - before).max() < 0.01 * np.abs(before).max()


def test_dynamic_range_keeps_a_scale_for_each_channel_of_a_convolution(tmp_path: Path) -> None:
    path = SMALL.write(tmp_path / "model.tflite", signature=True)
    quantize_weights(path, "dynamic")
    (layer,) = find_layers(read_model(path))
    graph = read_model(path).graph
    assert _quantization(graph.tensors[graph.operators[0].inputs[1]]).scale.size == 4
    assert layer.mask is not None
    assert layer.mask.reason == "weights are int8 and outputs float32 (dynamic range)"
    assert np.array_equal(layer.mask.fill.reshape(-1), SMALL.fill)


def test_fp16_halves_the_weights_and_leaves_fills_alone(tmp_path: Path) -> None:
    case = dataclasses.replace(SMALL, channels_in=40, channels_out=40, kernel=(3, 3))
    path = case.write(tmp_path / "model.tflite", signature=True)
    before = path.stat().st_size
    quantize_weights(path, "fp16")
    assert path.stat().st_size < 0.6 * before
    (layer,) = find_layers(read_model(path))
    assert layer.mask is not None
    assert layer.mask.skipped
    assert np.array_equal(layer.mask.fill.reshape(-1), case.fill)
    (stored,) = (tensor for tensor in read_model(path).graph.tensors if tensor.dtype == "float16")
    assert stored.data is not None
    assert np.array_equal(stored.data, case.filters.astype(np.float16))


def test_a_file_that_is_damaged_is_one_error(tmp_path: Path) -> None:
    path = SMALL.write(tmp_path / "model.tflite", signature=True)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ModelError, match="truncated or damaged"):
        quantize_weights(path, "fp16")


def test_what_the_quantizer_cannot_do_is_one_error(tmp_path: Path) -> None:
    graph = GraphWriter()
    source = graph.tensor((1, 4))
    output = graph.add(source, source, (1, 4))
    for tensor in graph._tensors:
        tensor.name = "same"  # it tells tensors apart by their names
    path = graph.write(tmp_path / "model.tflite", [source], [output], signature=True)
    with pytest.raises(ModelError, match=r"quantising to fp16 failed: .*same") as caught:
        quantize_weights(path, "fp16")
    assert caught.value.exit_code == 3
