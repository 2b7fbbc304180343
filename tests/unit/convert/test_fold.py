"""What follows a mask is folded into the masked convolution."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from support.tflite_writer import ACTIVATIONS, Array, GraphWriter
from toolchain.agreement import interpreter
from toolchain.convert.fold import fold
from toolchain.tflite_file.graph import parse_model
from toolchain.tflite_file.layers import find_layers

RNG = np.random.default_rng(5)
SHAPE = (1, 4, 5, 3)
MASK: Array = np.arange(20).reshape(1, 4, 5, 1) % 3 != 0
IMAGE: Array = RNG.normal(size=(1, 4, 5, 3)).astype(np.float32)


def numbers(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(np.float32)


@dataclasses.dataclass
class Net:
    """A masked convolution, and the writer to put more behind it."""

    writer: GraphWriter
    source: int
    masked: int

    @classmethod
    def begin(
        cls,
        *,
        depthwise: bool = False,
        activation: str | None = None,
        swapped: bool = False,
        fill: Array | None = None,
    ) -> Net:
        writer = GraphWriter()
        source = writer.tensor(SHAPE)
        filters = numbers(1, 3, 3, 3) if depthwise else numbers(3, 3, 3, 3)
        conv = writer.conv_2d(
            source, filters, numbers(3), SHAPE, depthwise=depthwise, activation=activation
        )
        other = writer.constant(np.array(0, np.float32) if fill is None else fill)
        mask = writer.constant(~MASK if swapped else MASK)
        values = (other, conv) if swapped else (conv, other)
        return cls(writer, source, writer.select(mask, *values, SHAPE))

    def norm(self, tensor: int, activation: str | None = None) -> int:
        """BatchNorm as TensorFlow's converter leaves it."""
        scaled = self.writer.multiply(tensor, self.writer.constant(numbers(3)), SHAPE)
        shift = self.writer.constant(numbers(3))
        return self.writer.add(scaled, shift, SHAPE, activation=activation)

    def file(self, tmp_path: Path, *outputs: int) -> bytes:
        path = tmp_path / "model.tflite"
        return self.writer.write(path, [self.source], list(outputs), signature=True).read_bytes()


def run(raw: bytes) -> list[Array]:
    return interpreter.feed(interpreter.load(raw, "builtin").get_signature_runner(), [IMAGE])


def operators(raw: bytes) -> list[str]:
    return [op.op for op in parse_model(raw).graph.operators]


FORMS: dict[str, Callable[[Net], int]] = {
    "batchnorm": lambda net: net.norm(net.masked),
    "batchnorm and relu": lambda net: net.norm(net.masked, "relu"),
    "relu6 of its own": lambda net: net.writer.operator("RELU6", [net.norm(net.masked)], SHAPE),
    "relu alone": lambda net: net.writer.operator("RELU", [net.masked], SHAPE),
    "a number": lambda net: net.writer.add(
        net.masked, net.writer.constant(np.array([1.5], np.float32)), SHAPE
    ),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("swapped", [False, True])
def test_what_follows_a_mask_goes_into_the_convolution_and_the_fill(
    form: str, depthwise: bool, swapped: bool, tmp_path: Path
) -> None:
    net = Net.begin(depthwise=depthwise, swapped=swapped)
    raw = net.file(tmp_path, FORMS[form](net))
    folded = fold(raw)
    assert operators(folded) == ["DEPTHWISE_CONV_2D" if depthwise else "CONV_2D", "SELECT_V2"]
    assert run(folded)[0] == pytest.approx(run(raw)[0], abs=1e-5)
    (layer,) = find_layers(parse_model(folded))
    assert layer.mask is not None
    assert layer.mask.skipped, layer.mask.reason
    assert np.array_equal(layer.mask.kept, MASK[0, :, :, 0])


def test_a_fill_that_is_not_zero_goes_the_same_way(tmp_path: Path) -> None:
    net = Net.begin(fill=numbers(1, 1, 1, 3))
    raw = net.file(tmp_path, net.norm(net.masked, "relu6"))
    folded = fold(raw)
    assert operators(folded) == ["CONV_2D", "SELECT_V2"]
    assert run(folded)[0] == pytest.approx(run(raw)[0], abs=1e-5)


def test_what_cannot_be_folded_stays_behind_the_mask(tmp_path: Path) -> None:
    net = Net.begin()
    normed = net.norm(net.masked)
    out = net.writer.add(normed, net.source, SHAPE, activation="relu")
    raw = net.file(tmp_path, out)
    folded = fold(raw)
    assert operators(folded) == ["CONV_2D", "SELECT_V2", "ADD"]
    assert run(folded)[0] == pytest.approx(run(raw)[0], abs=1e-5)


def test_nothing_is_folded_behind_an_activation(tmp_path: Path) -> None:
    net = Net.begin(activation="relu")
    raw = net.file(tmp_path, net.norm(net.masked))
    assert operators(fold(raw)) == ["CONV_2D", "SELECT_V2", "MUL", "ADD"]


def test_a_masked_output_that_two_read_is_left_alone(tmp_path: Path) -> None:
    net = Net.begin()
    normed = net.norm(net.masked)
    raw = net.file(tmp_path, net.writer.add(normed, net.masked, SHAPE))
    folded = fold(raw)
    assert operators(folded) == operators(raw)
    assert run(folded)[0] == pytest.approx(run(raw)[0], abs=1e-5)


def test_a_masked_output_of_the_model_is_left_alone(tmp_path: Path) -> None:
    net = Net.begin()
    raw = net.file(tmp_path, net.norm(net.masked), net.masked)
    assert operators(fold(raw)) == operators(raw)


def test_what_differs_between_pixels_is_not_folded(tmp_path: Path) -> None:
    net = Net.begin()
    plane = net.writer.constant(numbers(1, 4, 5, 1))
    raw = net.file(tmp_path, net.writer.multiply(net.masked, plane, SHAPE))
    assert operators(fold(raw)) == ["CONV_2D", "SELECT_V2", "MUL"]


def test_an_activation_that_no_convolution_has_is_not_folded(tmp_path: Path) -> None:
    assert "tanh" in ACTIVATIONS
    net = Net.begin()
    raw = net.file(tmp_path, net.norm(net.masked, "tanh"))
    assert operators(fold(raw)) == ["CONV_2D", "SELECT_V2", "ADD"]


def test_a_file_without_masks_is_given_back_as_it_is(tmp_path: Path) -> None:
    writer = GraphWriter()
    source = writer.tensor(SHAPE)
    conv = writer.conv_2d(source, numbers(3, 3, 3, 3), numbers(3), SHAPE)
    raw = writer.write(tmp_path / "model.tflite", [source], [conv]).read_bytes()
    assert fold(raw) == raw


def test_layers_get_the_names_that_are_asked_for_and_no_two_tensors_one(tmp_path: Path) -> None:
    net = Net.begin()
    first = net.norm(net.masked)
    conv = net.writer.conv_2d(first, numbers(3, 3, 3, 3), numbers(3), SHAPE)
    mask, fill = net.writer.constant(MASK), net.writer.constant(np.array(0, np.float32))
    raw = net.file(tmp_path, net.norm(net.writer.select(mask, conv, fill, SHAPE)))
    model = parse_model(fold(raw, lambda _: "tileskip[layer]"))
    names = [tensor.name for tensor in model.graph.tensors]
    assert len(set(names)) == len(names)
    assert [layer.name for layer in find_layers(model)] == ["layer", "layer#2"]
