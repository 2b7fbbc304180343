"""What is told of a whole file, and the mask of one of its layers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from support.bundles import write_masked_model, write_two_input_model
from support.tflite_writer import GraphWriter, Quantization
from toolchain.errors import ModelError
from toolchain.tflite_file.graph import read_model
from toolchain.tflite_file.inspection import inspect_model, layer_mask
from toolchain.tflite_file.layers import find_layers


@pytest.fixture
def masked(tmp_path: Path) -> Path:
    return write_masked_model(tmp_path / "masked.tflite", sparsity=0.25)


def test_a_file_is_told_with_its_sums(masked: Path) -> None:
    found = inspect_model(masked)
    layers = find_layers(read_model(masked))
    assert (found.path, found.bytes, found.subgraphs) == (masked, masked.stat().st_size, 1)
    assert [(one.dtype, one.shape) for one in found.inputs] == [("float32", (1, 16, 16, 3))]
    assert [(one.dtype, one.shape) for one in found.outputs] == [("float32", (1, 16, 16, 8))]
    assert list(found.operators.items()) == [("CONV_2D", 2), ("SELECT_V2", 2)]
    assert [one.name for one in found.layers] == [one.name for one in layers]
    assert (found.masked_layers, found.skipped_layers) == (2, 2)
    assert found.macs == sum(one.macs for one in layers)
    assert found.macs_saved == sum(one.macs_saved for one in layers) > 0
    assert found.ideal_speedup == pytest.approx(found.macs / (found.macs - found.macs_saved))
    assert (found.tiling, found.unsupported) == (None, [])


def test_the_most_frequent_operator_comes_first(tmp_path: Path) -> None:
    graph = GraphWriter()
    source = last = graph.tensor((1, 4))
    for kind in ("LOGISTIC", "TANH", "TANH"):
        last = graph.operator(kind, [last], (1, 4))
    path = graph.write(tmp_path / "m.tflite", [source], [last])
    assert list(inspect_model(path).operators.items()) == [("TANH", 2), ("LOGISTIC", 1)]


@pytest.mark.parametrize(("sparsity", "speedup"), [(0.0, 1.0), (1.1, None)])
def test_a_model_of_which_nothing_remains_has_no_ideal(
    tmp_path: Path, sparsity: float, speedup: float | None
) -> None:
    path = write_masked_model(tmp_path / "m.tflite", sparsity=sparsity)
    assert inspect_model(path).ideal_speedup == speedup


def test_each_input_is_told(tmp_path: Path) -> None:
    found = inspect_model(write_two_input_model(tmp_path / "m.tflite"))
    assert [(one.shape, one.scale, one.zero_point) for one in found.inputs] == [
        ((1, 4), None, None),
        ((1, 4), None, None),
    ]


def test_a_quantised_input_has_a_scale_and_a_zero_point(tmp_path: Path) -> None:
    graph = GraphWriter()
    plain = graph.tensor((1, 4), "int8", Quantization((0.5,), -3))
    each = graph.tensor((1, 2), "int8", Quantization((0.5, 0.25), axis=1))
    output = graph.tensor((1, 4))
    found = inspect_model(graph.write(tmp_path / "m.tflite", [plain, each], [output]))
    assert [(one.scale, one.zero_point) for one in found.inputs] == [(0.5, -3), (None, None)]


def test_the_mask_of_a_layer_is_found_by_its_name_and_its_number(masked: Path) -> None:
    layers = find_layers(read_model(masked))
    for layer in layers:
        assert layer.mask is not None
        for name in (layer.name, str(layer.index)):
            assert np.array_equal(layer_mask(masked, name), layer.mask.kept)
    first, second = (layer_mask(masked, layer.name) for layer in layers)
    assert not np.array_equal(first, second)


def test_a_layer_that_is_not_there_is_told_with_those_that_are(masked: Path) -> None:
    names = [layer.name for layer in find_layers(read_model(masked))]
    with pytest.raises(ModelError, match=r"masked\.tflite: layer 'x' is not in the file") as caught:
        layer_mask(masked, "x")
    assert caught.value.hint == f"masked layers are: {', '.join(names)}"


def test_a_layer_without_a_mask_is_told(tmp_path: Path) -> None:
    path = write_masked_model(tmp_path / "dense.tflite", sparsity=0)
    (name, _) = (layer.name for layer in find_layers(read_model(path)))
    with pytest.raises(ModelError, match=f"layer '{name}' has no mask") as caught:
        layer_mask(path, name)
    assert caught.value.hint == "no layer has a mask"
