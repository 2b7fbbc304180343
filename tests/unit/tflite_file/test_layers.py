from __future__ import annotations

import dataclasses
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from support.masked_case import Case, cases
from support.quantized_ops import FileWriter
from support.tflite_writer import Array, GraphWriter, Quantization
from toolchain.tflite_file.graph import read_model
from toolchain.tflite_file.layers import (
    FillRange,
    Layer,
    Mask,
    _real,
    fill_range,
    find_layers,
    layer_name,
    quantization_of,
    totals,
)

SHAPE = (1, 4, 5, 3)
MASK: Array = np.arange(20).reshape(1, 4, 5, 1) % 3 != 0
FILL: Array = np.array([1.5, -2, 0], np.float32).reshape(1, 1, 1, 3)
KEPT = 13


@dataclasses.dataclass
class _Graph:
    """A convolution, and the writer to put more behind it."""

    writer: GraphWriter
    source: int
    conv: int

    @classmethod
    def begin(cls, activation: str | None = None) -> _Graph:
        writer = GraphWriter()
        source = writer.tensor((1, 4, 5, 2))
        filters = np.ones((3, 3, 3, 2), np.float32)
        bias = np.zeros(3, np.float32)
        conv = writer.conv_2d(source, filters, bias, SHAPE, activation=activation)
        return cls(writer, source, conv)

    def masked(self, tensor: int, mask: Array = MASK, fill: Array = FILL) -> int:
        return self.writer.select(
            self.writer.constant(mask), tensor, self.writer.constant(fill), SHAPE
        )

    def layers(self, path: Path, *outputs: int) -> list[Layer]:
        return find_layers(
            read_model(self.writer.write(path / "model.tflite", [self.source], list(outputs)))
        )

    def mask(self, path: Path, *outputs: int) -> Mask | None:
        return self.layers(path, *outputs)[0].mask


@settings(max_examples=60, deadline=None)
@given(case=cases())
def test_the_mask_and_fill_of_every_form_are_read(
    case: Case, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = case.write(tmp_path_factory.mktemp("case") / "model.tflite")
    (layer,) = find_layers(read_model(path))
    batch, height, width, channels = case.output_shape
    per_pixel = case.kernel[0] * case.kernel[1] * (1 if case.depthwise else case.channels_in)
    assert layer.output_shape == case.output_shape
    assert layer.kernel == case.kernel
    assert layer.macs == batch * height * width * channels * per_pixel
    kept = int(case.mask.sum())
    if case.form is None or (case.form == "multiply" and case.mask.all()):
        assert layer.mask is None
        return
    assert layer.mask is not None
    assert layer.mask.skipped, layer.mask.reason
    assert np.array_equal(layer.mask.kept, case.mask)
    assert np.array_equal(np.broadcast_to(layer.mask.fill, channels), case.fill)
    assert layer.kept == kept
    assert layer.macs_saved == batch * (height * width - kept) * channels * per_pixel


def test_a_dense_model_saves_nothing(tmp_path: Path) -> None:
    graph = _Graph.begin()
    layers = graph.layers(tmp_path, graph.conv)
    assert layers[0].mask is None
    total = totals(layers)
    assert (total.masked, total.macs_saved, total.ideal_speedup) == (0, 0, 1.0)


def test_the_sums_of_a_masked_model(tmp_path: Path) -> None:
    graph = _Graph.begin("relu")
    total = totals(graph.layers(tmp_path, graph.masked(graph.conv)))
    assert (total.layers, total.masked, total.skipped) == (1, 1, 1)
    assert total.macs == 20 * 3 * 18
    assert total.macs_saved == (20 - KEPT) * 3 * 18
    assert total.ideal_speedup == pytest.approx(20 / KEPT)


def test_a_convolution_that_another_operator_reads_is_not_skipped(tmp_path: Path) -> None:
    graph = _Graph.begin()
    masked = graph.masked(graph.conv)
    mask = graph.mask(tmp_path, graph.writer.add(masked, graph.conv, SHAPE))
    assert mask is not None
    assert not mask.skipped
    assert mask.reason == "the convolution's output is read 2 times"


def test_a_convolution_that_is_an_output_is_not_skipped(tmp_path: Path) -> None:
    graph = _Graph.begin()
    mask = graph.mask(tmp_path, graph.masked(graph.conv), graph.conv)
    assert mask is not None
    assert mask.reason == "the convolution's own output is an output of the model"


@pytest.mark.parametrize("fused", [None, "relu", "relu6", "relu_n1_to_1"])
def test_an_activation_that_xnnpack_fuses_is_skipped_with(
    tmp_path: Path, fused: str | None
) -> None:
    graph = _Graph.begin(fused)
    mask = graph.mask(tmp_path, graph.masked(graph.conv))
    assert mask is not None
    assert (mask.skipped, mask.reason, mask.fill_step) == (True, None, 0.0)


@pytest.mark.parametrize("fused", ["tanh", "sign_bit"])
def test_an_activation_that_xnnpack_cannot_fuse_is_told_and_not_skipped(
    tmp_path: Path, fused: str
) -> None:
    graph = _Graph.begin(fused)
    mask = graph.mask(tmp_path, graph.masked(graph.conv))
    assert mask is not None
    assert (mask.skipped, mask.reason) == (False, f"XNNPACK has no fused {fused.upper()}")


@pytest.mark.parametrize("between", ["LOGISTIC", "HARD_SWISH", "ELU"])
def test_an_activation_in_between_is_not_skipped(tmp_path: Path, between: str) -> None:
    graph = _Graph.begin()
    activated = graph.writer.operator(between, [graph.conv], SHAPE)
    mask = graph.mask(tmp_path, graph.masked(activated))
    assert mask is not None
    assert mask.reason == f"{between} between the convolution and its mask"
    assert mask.form == f"CONV_2D -> {between} -> SELECT_V2"


def test_a_mask_behind_a_residual_add_is_told_and_not_skipped(tmp_path: Path) -> None:
    graph = _Graph.begin()
    other = graph.writer.tensor(SHAPE)
    total = graph.writer.add(graph.conv, other, SHAPE)
    mask = graph.mask(tmp_path, graph.masked(total))
    assert mask is not None
    assert mask.reason == "ADD of two tensors between the convolution and its mask"


def test_a_mask_that_is_computed_is_none(tmp_path: Path) -> None:
    graph = _Graph.begin()
    zero = graph.writer.constant(np.zeros((), np.float32))
    condition = graph.writer.comparison("GREATER", [graph.conv, zero], SHAPE)
    fill = graph.writer.constant(FILL)
    output = graph.writer.select(condition, graph.conv, fill, SHAPE)
    assert graph.mask(tmp_path, output) is None


def test_a_mask_that_differs_between_channels_is_told_and_not_skipped(tmp_path: Path) -> None:
    graph = _Graph.begin()
    mask = graph.mask(tmp_path, graph.masked(graph.conv, np.arange(60).reshape(SHAPE) % 2 == 0))
    assert mask is not None
    assert mask.reason == "the mask differs between channels or images"


def test_a_mask_that_is_written_for_every_channel_is_told_and_not_skipped(tmp_path: Path) -> None:
    graph = _Graph.begin()
    mask = graph.mask(tmp_path, graph.masked(graph.conv, MASK.repeat(3, 3)))
    assert mask is not None
    assert int(mask.kept.sum()) == KEPT
    assert mask.reason == "the mask's shape is [1, 4, 5, 3], not one plane"


def test_channels_that_are_left_out_are_no_mask(tmp_path: Path) -> None:
    graph = _Graph.begin()
    factor = graph.writer.constant(np.array([1, 0, 1], np.float32).reshape(1, 1, 1, 3))
    assert graph.mask(tmp_path, graph.writer.multiply(graph.conv, factor, SHAPE)) is None


@pytest.mark.parametrize("mask", [MASK[0], MASK])
def test_a_mask_may_have_fewer_axes_than_the_output(tmp_path: Path, mask: Array) -> None:
    graph = _Graph.begin()
    found = graph.mask(tmp_path, graph.masked(graph.conv, mask))
    assert found is not None
    assert found.skipped
    assert np.array_equal(found.kept, MASK[0, :, :, 0])


def test_a_fill_that_differs_between_pixels_is_not_skipped(tmp_path: Path) -> None:
    graph = _Graph.begin()
    fill = np.arange(60, dtype=np.float32).reshape(SHAPE)
    mask = graph.mask(tmp_path, graph.masked(graph.conv, fill=fill))
    assert mask is not None
    assert mask.reason == "the fill's shape is [1, 4, 5, 3], not one value a channel"


def test_a_mask_of_one_row_counts_for_every_row(tmp_path: Path) -> None:
    graph = _Graph.begin()
    mask = graph.mask(tmp_path, graph.masked(graph.conv, MASK[:, :1]))
    assert mask is not None
    assert mask.skipped
    assert np.array_equal(mask.kept, np.repeat(MASK[0, :1, :, 0], 4, axis=0))


def test_one_number_for_all_pixels_masks_all_of_them(tmp_path: Path) -> None:
    graph = _Graph.begin()
    factor = graph.writer.constant(np.zeros((1, 1, 1, 1), np.float32))
    mask = graph.mask(tmp_path, graph.writer.multiply(graph.conv, factor, SHAPE))
    assert mask is not None
    assert (mask.skipped, int(mask.kept.sum())) == (True, 0)


def test_a_factor_with_zeros_and_other_values_is_told_and_not_skipped(tmp_path: Path) -> None:
    graph = _Graph.begin()
    factor = graph.writer.constant(MASK * np.float32(0.5))
    mask = graph.mask(tmp_path, graph.writer.multiply(graph.conv, factor, SHAPE))
    assert mask is not None
    assert mask.reason == "the mask's factor holds other numbers than 0 and 1"


def test_a_factor_without_zeros_is_no_mask(tmp_path: Path) -> None:
    graph = _Graph.begin()
    factor = graph.writer.constant(MASK + np.float32(0.5))
    assert graph.mask(tmp_path, graph.writer.multiply(graph.conv, factor, SHAPE)) is None


def test_a_transposed_convolution_of_mediapipe_counts(tmp_path: Path) -> None:
    file = FileWriter()
    source = file.tensor((1, 4, 5, 3), "float32")
    weights = file.tensor((6, 2, 2, 3), "float32", data=bytes(4 * 72))
    bias = file.tensor((6,), "float32", data=bytes(24))
    output = file.tensor((1, 8, 10, 6), "float32")
    file.operator("Convolution2DTransposeBias", [source, weights, bias], [output],
                  custom=struct.pack("<3i", 1, 2, 2))  # fmt: skip
    path = file.write(tmp_path / "m.tflite", [source], [output])
    (layer,) = find_layers(read_model(path))
    assert (layer.kernel, layer.stride, layer.mask) == ((2, 2), (2, 2), None)
    assert layer.macs == 4 * 5 * 72


def test_a_fully_connected_layer_counts(tmp_path: Path) -> None:
    writer = GraphWriter()
    x = writer.tensor((2, 7))
    weights = writer.constant(np.ones((5, 7), np.float32))
    y = writer.operator("FULLY_CONNECTED", [x, weights, -1], (2, 5))
    (layer,) = find_layers(read_model(writer.write(tmp_path / "model.tflite", [x], [y])))
    assert (layer.op, layer.macs, layer.kernel, layer.pixels) == ("FULLY_CONNECTED", 70, None, 1)


@pytest.mark.parametrize(
    ("tensor", "name"),
    [
        ("a.Wrapper/b.Flat_wrapped/__main__.tileskip[layer1.0.conv1]_layer_3;1", "layer1.0.conv1"),
        ("top.Net/torch.nn.modules.conv.Conv2d_conv1;2", "Conv2d_conv1"),
        ("MobilenetV2/Conv/Relu6;MobilenetV2/Conv/BatchNorm", "MobilenetV2/Conv/Relu6"),
        ("StatefulPartitionedCall:0", "StatefulPartitionedCall:0"),
        ("", ""),
    ],
)
def test_layers_have_short_names(tensor: str, name: str) -> None:
    assert layer_name(tensor) == name


def test_two_layers_never_have_one_name(tmp_path: Path) -> None:
    graph = _Graph.begin()
    for tensor in graph.writer._tensors:
        tensor.name = "same"
    graph.writer.conv_2d(
        graph.source, np.ones((3, 1, 1, 2), np.float32), np.zeros(3, np.float32), SHAPE
    )
    graph.writer._tensors[-1].name = "same"
    assert [layer.name for layer in graph.layers(tmp_path, graph.conv)] == ["same", "same#2"]


@pytest.mark.parametrize(
    ("fill", "told"),
    [
        ([1.5, -2, 0], FillRange(values=3, minimum=-2.0, maximum=1.5)),
        ([4], FillRange(values=1, minimum=4.0, maximum=4.0)),
        ([np.nan, 1], FillRange(values=2, minimum=0.0, maximum=1.0)),  # JSON has no such number
        ([], None),
    ],
)
def test_a_fill_is_told_by_its_range(fill: list[float], told: FillRange | None) -> None:
    assert fill_range(np.array(fill, np.float32)) == told


def test_the_steps_of_an_output_are_its_own_or_those_of_what_is_unpacked_to_it(
    tmp_path: Path,
) -> None:
    writer = GraphWriter()
    quantised = writer.tensor((1, 4), "int8", Quantization((0.5,), 3))
    unpacked = writer.operator("DEQUANTIZE", [quantised], (1, 4))
    other = writer.operator("LOGISTIC", [unpacked], (1, 4))
    both = writer.add(unpacked, other, (1, 4))
    path = writer.write(tmp_path / "m.tflite", [quantised], [both])
    graph = read_model(path).graph
    for index in (quantised, unpacked):
        steps = quantization_of(graph, index)
        assert steps is not None
        assert (steps.scale.tolist(), steps.zero_point.tolist()) == ([0.5], [3])
    assert quantization_of(graph, other) is None
    assert quantization_of(graph, both) is None


def test_quantised_values_are_told_as_the_numbers_they_stand_for(tmp_path: Path) -> None:
    writer = GraphWriter()
    source = writer.tensor((1, 3))
    stored = np.array([[5, 3, -1]], np.int8)
    known = writer.constant(stored, Quantization((0.5,), 3))
    plain = writer.constant(stored)
    outputs = [writer.add(source, one, (1, 3)) for one in (known, plain)]
    graph = read_model(writer.write(tmp_path / "m.tflite", [source], outputs)).graph
    assert _real(graph.tensors[known]).tolist() == [1.0, 0.0, -2.0]
    assert _real(graph.tensors[plain]).tolist() == [5, 3, -1]
