"""Copies with masks: a masked convolution is ``where(mask, conv, fill)``, all else stays."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from support.tflite_writer import Array, GraphWriter, Quantization, quantize
from toolchain.errors import ModelError
from toolchain.tflite_file.graph import Model, parse_model
from toolchain.tflite_file.layers import find_layers
from toolchain.tflite_file.masked_copy import candidates, fill_of, lay_masks
from toolchain.tflite_file.untrained import UNTRAINED, is_untrained

KEPT: Array = np.arange(30).reshape(5, 6) % 3 != 0
HOW = {"policy": "random", "sparsity": 0.3, "seed": 1}
DTYPES = ["float32", "float16", "int8", "uint8"]


def network(path: Path, *, dtype: str = "float32", activation: str | None = None) -> Path:
    """Two convolutions, the second depthwise; the first one's output is read twice.

    Args:
        path: folder of the file.
        dtype: of inputs, outputs and weights; ``float16`` is of the weights alone.
        activation: that the first convolution fuses.
    """
    writer, rng = GraphWriter(), np.random.default_rng(2)
    into, out = quantizations(dtype)
    quantized = into is not None
    source = writer.tensor((1, 5, 6, 4), dtype if quantized else "float32", into)
    filters = rng.normal(size=(7, 3, 3, 4)).astype(np.float32)
    deep = rng.normal(size=(1, 3, 3, 7)).astype(np.float32)
    bias = rng.normal(size=7).astype(np.float32)
    shape = (1, 5, 6, 7)

    def operands(values: Array, given: Quantization | None, axis: int) -> tuple[int, int]:
        if dtype == "float16":
            halves = [one.astype(np.float16) for one in (values, bias)]
            weights, offsets = (writer.dequantize(writer.constant(one)) for one in halves)
            return weights, offsets
        if given is None:
            return writer.constant(values), writer.constant(bias)
        held = Quantization((0.02,), 128 if dtype == "uint8" else 0, axis)
        scale = held.scales[0] * given.scales[0]
        steps = np.rint(bias / scale).astype(np.int32)
        weights = writer.constant(quantize(values, held, dtype), held)
        return weights, writer.constant(steps, Quantization((scale,)))

    first = writer.conv_2d(source, *operands(filters, into, 0), shape, activation=activation)
    if out is not None:
        writer.give_type(first, dtype, out)
    second = writer.conv_2d(first, *operands(deep, out, 3), shape, depthwise=True)
    if out is not None:
        writer.give_type(second, dtype, out)
    total = writer.add(first, second, shape)
    if out is not None:
        writer.give_type(total, dtype, out)
    return writer.write(path / "net.tflite", [source], [second, total])


def quantizations(dtype: str) -> tuple[Quantization, Quantization] | tuple[None, None]:
    """Of inputs and of outputs."""
    if dtype.startswith("float"):
        return None, None
    shift = 128 if dtype == "uint8" else 0
    return Quantization((0.05,), 3 + shift), Quantization((0.1,), shift - 7)


def outputs(raw: bytes, x: Array) -> dict[str, Array]:
    """Every tensor that is computed, on the stock interpreter's own kernels, by its name."""
    interpreter = Interpreter(
        model_content=raw, experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )  # fmt: skip
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    graph = parse_model(raw).graph
    return {
        graph.tensors[op.outputs[0]].name: interpreter.get_tensor(op.outputs[0])
        for op in graph.operators
    }


def random_input(model: Model) -> Array:
    (index,) = model.graph.inputs
    tensor, rng = model.graph.tensors[index], np.random.default_rng(3)
    if tensor.dtype == "float32":
        return rng.normal(size=tensor.shape).astype(np.float32)
    return rng.integers(-128, 128, tensor.shape).astype(tensor.dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", [None, "relu", "relu6", "relu_n1_to_1"])
@pytest.mark.parametrize("layer", [0, 1])
def test_a_masked_convolution_is_the_convolution_where_pixels_are_kept_else_the_fill(
    tmp_path: Path, dtype: str, activation: str | None, layer: int
) -> None:
    raw = network(tmp_path, dtype=dtype, activation=activation).read_bytes()
    model = parse_model(raw)
    chosen = find_layers(model)[layer]
    copy = lay_masks(raw, {chosen.index: KEPT}, HOW)
    x = random_input(model)
    own, masked = outputs(raw, x), outputs(copy, x)
    fill = fill_of(model.graph, chosen)
    op = model.graph.operators[chosen.index]
    name = model.graph.tensors[op.outputs[0]].name
    expected = np.where(KEPT[None, :, :, None], own[name], fill.reshape(1, 1, 1, -1))
    found = masked[name] if op.outputs[0] in model.graph.outputs else masked[f"{name};masked"]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", [None, "relu6"])
def test_the_fill_is_what_the_convolution_gives_for_nothing(
    tmp_path: Path, dtype: str, activation: str | None
) -> None:
    raw = network(tmp_path, dtype=dtype, activation=activation).read_bytes()
    model = parse_model(raw)
    into, _ = quantizations(dtype)
    x = np.zeros((1, 5, 6, 4), np.float32)
    if into is not None:
        x = np.full((1, 5, 6, 4), into.zero_point, dtype)
    layer = find_layers(model)[0]
    op = model.graph.operators[layer.index]
    found = outputs(raw, x)[model.graph.tensors[op.outputs[0]].name]
    np.testing.assert_array_equal(found[0, 2, 3], fill_of(model.graph, layer))


def test_the_runtime_skips_what_is_masked_and_layers_keep_their_names(tmp_path: Path) -> None:
    raw = network(tmp_path).read_bytes()
    before = find_layers(parse_model(raw))
    copy = lay_masks(raw, {layer.index: KEPT for layer in before}, HOW)
    after = find_layers(parse_model(copy))
    assert [layer.name for layer in after] == [layer.name for layer in before]
    for layer in after:
        assert layer.mask is not None
        assert layer.mask.skipped, layer.mask.reason
        np.testing.assert_array_equal(layer.mask.kept, KEPT)


def test_inputs_outputs_and_what_is_not_masked_stay_as_they_are(tmp_path: Path) -> None:
    raw = network(tmp_path).read_bytes()
    model = parse_model(raw)
    copy = parse_model(lay_masks(raw, {find_layers(model)[0].index: KEPT}, HOW))
    old, new = model.graph, copy.graph
    assert (new.inputs, new.outputs) == (old.inputs, old.outputs)
    assert [op.op for op in new.operators if op.op != "SELECT_V2"] == [
        op.op for op in old.operators
    ]
    for tensor in old.tensors:
        twin = new.tensors[tensor.index]
        assert (twin.shape, twin.dtype) == (tensor.shape, tensor.dtype)
        assert (twin.data is None) == (tensor.data is None)
        if tensor.data is not None:
            np.testing.assert_array_equal(twin.data, tensor.data)


def test_constants_are_aligned_as_the_format_wants_it(tmp_path: Path) -> None:
    raw = network(tmp_path).read_bytes()
    copy = lay_masks(raw, {find_layers(parse_model(raw))[0].index: KEPT}, HOW)
    graph = parse_model(copy).graph
    start = np.frombuffer(copy, np.uint8).__array_interface__["data"][0]
    places = [
        tensor.data.__array_interface__["data"][0] - start
        for tensor in graph.tensors
        if tensor.data is not None
    ]
    assert places
    assert all(place % 16 == 0 for place in places)


def test_the_copy_says_that_its_masks_were_not_trained(tmp_path: Path) -> None:
    raw = network(tmp_path).read_bytes()
    assert not is_untrained(parse_model(raw))
    copy = lay_masks(raw, {find_layers(parse_model(raw))[0].index: KEPT}, HOW)
    assert is_untrained(parse_model(copy))
    assert json.loads(parse_model(copy).metadata[UNTRAINED]) == HOW


def test_what_cannot_be_masked_has_its_reason(tmp_path: Path) -> None:
    writer = GraphWriter()
    source = writer.tensor((1, 4, 4, 2))
    small = writer.conv_2d(
        source, np.ones((3, 4, 4, 2), np.float32), np.zeros(3, np.float32), (1, 1, 1, 3),
        padding="VALID",
    )  # fmt: skip
    other = writer.conv_2d(
        source, np.ones((3, 1, 1, 2), np.float32), np.zeros(3, np.float32), (1, 4, 4, 3),
        activation="tanh",
    )  # fmt: skip
    path = writer.write(tmp_path / "m.tflite", [source], [small, other])
    raw = path.read_bytes()
    assert [one.fault for one in candidates(parse_model(raw))] == [
        "the output is a single pixel", "XNNPACK has no fused TANH",
    ]  # fmt: skip
    with pytest.raises(ModelError, match="operator 1 cannot be masked: XNNPACK has no fused TANH"):
        lay_masks(raw, {1: np.zeros((4, 4), bool)}, HOW)


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    raw = network(tmp_path).read_bytes()
    with pytest.raises(ModelError, match=r"its output is \(5, 6\) and the mask \(4, 6\)"):
        lay_masks(raw, {0: np.ones((4, 6), bool)}, HOW)
    with pytest.raises(ModelError, match="operator 2 cannot be masked: it is no convolution"):
        lay_masks(raw, {2: KEPT}, HOW)


def test_a_masked_file_is_not_masked_again(tmp_path: Path) -> None:
    raw = network(tmp_path).read_bytes()
    copy = lay_masks(raw, {0: KEPT}, HOW)
    assert [one.fault for one in candidates(parse_model(copy))] == ["there is a mask already", None]


def test_weights_that_are_stored_sparsely_are_told(tmp_path: Path) -> None:
    writer = GraphWriter()
    source = writer.tensor((1, 4, 4, 4))
    filters = np.eye(4, dtype=np.float32).reshape(4, 1, 1, 4)
    bias = np.zeros(4, np.float32)
    output = writer.conv_2d(source, writer.sparse(filters), bias, (1, 4, 4, 4))
    raw = writer.write(tmp_path / "m.tflite", [source], [output]).read_bytes()
    (found,) = candidates(parse_model(raw))
    assert found.fault == "the weights are stored sparsely"


def test_weights_of_another_type_than_the_outputs_are_told(tmp_path: Path) -> None:
    writer = GraphWriter()
    source = writer.tensor((1, 4, 4, 4))
    held = Quantization((0.1,))
    filters = writer.constant(np.ones((4, 1, 1, 4), np.int8), held)
    output = writer.conv_2d(source, filters, np.zeros(4, np.float32), (1, 4, 4, 4))
    raw = writer.write(tmp_path / "m.tflite", [source], [output]).read_bytes()
    (found,) = candidates(parse_model(raw))
    assert found.fault == "weights are int8 and outputs float32 (dynamic range)"


@pytest.mark.parametrize("sources", [[], [-1]])
def test_a_dequantize_that_unpacks_nothing_makes_no_constant(
    tmp_path: Path, sources: list[int]
) -> None:
    writer = GraphWriter()
    source = writer.tensor((1, 4, 4, 4))
    last = np.ones(4, np.float32)  # the last tensor, which -1 does not mean
    filters, bias = (
        writer.operator("DEQUANTIZE", sources, shape) for shape in ((4, 1, 1, 4), (4,))
    )
    kept = writer.constant(np.ones((4, 1, 1, 4), np.float32))
    outputs = [
        writer.conv_2d(source, filters, last, (1, 4, 4, 4)),
        writer.conv_2d(source, kept, bias, (1, 4, 4, 4)),
    ]
    writer.constant(np.ones((4, 1, 1, 4), np.float32))
    raw = writer.write(tmp_path / "m.tflite", [source], outputs).read_bytes()
    faults = [one.fault for one in candidates(parse_model(raw))]
    assert faults == ["the weights are no constant", "the bias is no constant"]


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_a_bias_that_is_not_one_number_for_each_channel_is_told(tmp_path: Path, dtype: str) -> None:
    writer = GraphWriter()
    held = Quantization((0.1,)) if dtype == "int8" else None
    source = writer.tensor((1, 4, 4, 4), dtype, held)
    filters = writer.constant(np.ones((4, 1, 1, 4), dtype), held)
    bias = writer.constant(np.ones(3, np.int32 if held else np.float32))
    output = writer.conv_2d(source, filters, bias, (1, 4, 4, 4))
    if held is not None:
        writer.give_type(output, dtype, held)
    raw = writer.write(tmp_path / "m.tflite", [source], [output]).read_bytes()
    (found,) = candidates(parse_model(raw))
    assert found.fault == "the bias is not one number for each channel"


def test_an_output_that_no_memory_holds_a_mask_of_is_told(tmp_path: Path) -> None:
    writer = GraphWriter()
    source = writer.tensor((1, 80_000, 80_000, 4))
    filters, bias = np.ones((4, 1, 1, 4), np.float32), np.ones(4, np.float32)
    output = writer.conv_2d(source, filters, bias, (1, 80_000, 80_000, 4))
    raw = writer.write(tmp_path / "m.tflite", [source], [output]).read_bytes()
    (found,) = candidates(parse_model(raw))
    assert found.fault == "the output has 6400000000 pixels"
