"""What of a file can be masked, its copies, and the sentence where nothing can."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from support.bundles import write_masked_model
from support.tflite_writer import GraphWriter
from toolchain.errors import ModelError
from toolchain.profile.gain import Maskable, Settings, write_copies
from toolchain.tflite_file.graph import parse_model
from toolchain.tflite_file.layers import find_layers


@pytest.fixture
def dense(tmp_path: Path) -> Path:
    """Two 3x3 convolutions on 16x16 pixels."""
    return write_masked_model(tmp_path / "dense.tflite", sparsity=0)


def mixed(path: Path) -> Path:
    """A 3x3 convolution, a 1x1 one, one whose output is a pixel."""
    graph = GraphWriter()
    source = graph.tensor((1, 4, 4, 2))
    shape = (1, 4, 4, 2)
    first = graph.conv_2d(source, np.ones((2, 3, 3, 2), np.float32), np.ones(2, np.float32), shape)
    second = graph.conv_2d(first, np.ones((2, 1, 1, 2), np.float32), np.ones(2, np.float32), shape)
    last = graph.conv_2d(
        second, np.ones((1, 4, 4, 2), np.float32), np.ones(1, np.float32), (1, 1, 1, 1),
        padding="VALID",
    )  # fmt: skip
    return graph.write(path, [source], [last])


def changed(path: Path, change: Callable[[schema.ModelT], None]) -> Path:
    """A file after a change of what its tables say."""
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    change(model)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


def add_a_graph(model: schema.ModelT) -> None:
    """A second graph, as of a branch."""
    model.subgraphs = [*model.subgraphs, model.subgraphs[0]]


def let_sizes_vary(model: schema.ModelT) -> None:
    """Say of every tensor that its height is not known before it runs."""
    for tensor in model.subgraphs[0].tensors:
        if len(tensor.shape) == 4:
            tensor.shapeSignature = [1, -1, *tensor.shape[2:]]


def let_the_batch_vary(model: schema.ModelT) -> None:
    """Say of every tensor that it may hold more images."""
    for tensor in model.subgraphs[0].tensors:
        if len(tensor.shape) == 4:
            tensor.shapeSignature = [-1, *tensor.shape[1:]]


def test_copies_are_named_after_the_file_and_masked_as_was_asked(
    dense: Path, tmp_path: Path
) -> None:
    source = Maskable(dense)
    settings = [Settings(0.25), Settings(0.3)]
    copies = write_copies(source, settings, tmp_path)
    assert [path.name for path, _ in copies] == ["dense_s25.tflite", "dense_s30.tflite"]
    for (path, record), one in zip(copies, settings, strict=True):
        layers = find_layers(parse_model(path.read_bytes()))
        masked = sum(layer.pixels - layer.kept for layer in layers)
        assert masked == record.masked_pixels == 2 * round(one.sparsity * 256)
        assert record.pixels == 512
        assert all(layer.mask and layer.mask.skipped for layer in layers)


def test_layers_are_chosen_by_name_or_kind_and_the_others_say_so(tmp_path: Path) -> None:
    path = mixed(tmp_path / "m.tflite")
    whole = Maskable(path)
    names = [layer.name for layer in whole.chosen]
    assert len(names) == 2
    assert [one.why for one in whole.left_out] == ["the output is a single pixel"]
    for pattern, expected in (("1x1", names[1:]), (names[0], names[:1]), ("?x?", names)):
        source = Maskable(path, [pattern])
        assert [layer.name for layer in source.chosen] == expected
    left = Maskable(path, ["1x1"]).left_out
    assert [one.why for one in left] == [
        "--layers 1x1 leaves it out", "the output is a single pixel",
    ]  # fmt: skip
    assert 0 < Maskable(path, ["1x1"]).masked_share < whole.masked_share < 1


def test_a_pattern_that_no_layer_has_names_those_that_there_are(tmp_path: Path) -> None:
    path = mixed(tmp_path / "m.tflite")
    with pytest.raises(ModelError, match="no layer that can be masked matches 5x5") as raised:
        Maskable(path, ["5x5"])
    assert raised.value.hint is not None
    assert "kinds are: 3x3, 1x1" in raised.value.hint


def test_a_sparsity_that_masks_no_pixel_is_refused(tmp_path: Path) -> None:
    source = Maskable(write_masked_model(tmp_path / "small.tflite", sparsity=0, size=2))
    with pytest.raises(ModelError, match=r"a sparsity of 0\.1 masks no pixel of any layer"):
        source.copy(Settings(0.1))


def test_a_masked_model_is_told_to_be_one(tmp_path: Path) -> None:
    path = write_masked_model(tmp_path / "masked.tflite")
    with pytest.raises(ModelError, match=r"its layers have masks already$") as raised:
        Maskable(path)
    assert raised.value.hint is not None
    assert f"deploy inspect {path}" in raised.value.hint


def test_a_file_without_convolutions_says_so(tmp_path: Path) -> None:
    graph = GraphWriter()
    source = graph.tensor((1, 4))
    path = graph.write(tmp_path / "m.tflite", [source], [graph.add(source, source, (1, 4))])
    with pytest.raises(ModelError, match=r"nothing of it can be masked: it has no convolution$"):
        Maskable(path)
    changed(path, add_a_graph)
    with pytest.raises(
        ModelError,
        match=r"its main graph has no convolution, and masks are laid in no other graph$",
    ):
        Maskable(path)


def test_other_graphs_of_a_file_stay_as_they_are(dense: Path) -> None:
    changed(dense, add_a_graph)
    copy = parse_model(Maskable(dense).copy(Settings(0.25)).raw)
    assert copy.subgraphs == 2
    model = schema.ModelT.InitFromPackedBuf(Maskable(dense).copy(Settings(0.25)).raw, 0)
    assert [len(graph.operators) for graph in model.subgraphs] == [4, 2]


def test_a_height_that_is_not_fixed_gets_no_mask_and_a_batch_that_is_not_may(dense: Path) -> None:
    changed(dense, let_the_batch_vary)
    assert len(Maskable(dense).chosen) == 2
    changed(dense, let_sizes_vary)
    with pytest.raises(ModelError, match=r"the output's height or width is not fixed in the file$"):
        Maskable(dense)


def test_a_file_that_is_none_is_one_message(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    with pytest.raises(ModelError, match="cannot be read"):
        Maskable(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(ModelError, match="is not a TFLite model"):
        Maskable(path)
