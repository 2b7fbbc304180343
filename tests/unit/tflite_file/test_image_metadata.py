"""What a file says of its images, written and read as TensorFlow Lite's metadata schema has it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given
from hypothesis import strategies as st

from support.brightness import TRAINED, write_classifier
from support.bundles import write_two_input_model
from toolchain.agreement.inputs import random_inputs
from toolchain.agreement.interpreter import run_here
from toolchain.errors import ModelError
from toolchain.tflite_file.graph import Model, parse_model, read_model
from toolchain.tflite_file.image_metadata import (
    ENTRY,
    Normalization,
    read_image_metadata,
    with_image_metadata,
)

IMAGENET = Normalization.of_unit((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
UPSTREAM = bytes.fromhex(
    "140000004d3030310c000c0008000000000004000c00000008000000e800000001000000100000000c000c00"
    "00000000080004000c0000000800000014000000010000000800000004000400040000000100000014000000"
    "100014001000000000000c00080004001000000010000000280000006c00000080000000c8ffffff08000000"
    "0c0000000100000000007fbf0100000000007f3f010000000c00000008000c000b0004000800000010000000"
    "0000000108000c000800040008000000080000000c0000000100000000000043010000000000ff4208000a00"
    "09000400080000000c0000000002060008000700060000000000000105000000696d61676500000006000000"
    "7468656972730000"
)
"""What MediaPipe 0.10.14's generated code packs for an input called "image", of the name "theirs",
normalised with mean 127.5 and std 128, of values from -0.99609375 to 0.99609375."""


def metadata_of(model: Model) -> Normalization | None:
    found = read_image_metadata(model)
    return found.inputs[0].normalization if found else None


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    return write_classifier(tmp_path / "plain.tflite", says=None)


def test_a_file_says_how_its_images_are_normalised(plain: Path) -> None:
    content = with_image_metadata(plain.read_bytes(), "net", "what it is", TRAINED)
    found = read_image_metadata(parse_model(content))
    assert found is not None
    assert (found.name, found.description) == ("net", "what it is")
    (image,) = found.inputs
    assert image.normalization is not None
    assert image.normalization.near(TRAINED)
    assert image.low == pytest.approx(TRAINED.low)
    assert image.high == pytest.approx(TRAINED.high)


def test_a_file_without_says_nothing(plain: Path) -> None:
    assert read_image_metadata(read_model(plain)) is None


def test_metadata_of_upstreams_own_code_is_read(plain: Path) -> None:
    found = read_image_metadata(with_entry(plain, UPSTREAM))
    assert found is not None
    assert found.name == "theirs"
    (image,) = found.inputs
    assert (image.name, image.normalization) == ("image", Normalization((127.5,), (128.0,)))
    assert (image.low, image.high) == ((-0.99609375,), (0.99609375,))


def test_upstreams_own_code_reads_what_is_written(plain: Path) -> None:
    theirs = pytest.importorskip("tflite_support.metadata_schema_py_generated")
    model = parse_model(with_image_metadata(plain.read_bytes(), "net", "", TRAINED))
    content = model.metadata[ENTRY]
    assert theirs.ModelMetadata.ModelMetadataBufferHasIdentifier(content, 0)
    found = theirs.ModelMetadataT.InitFromObj(theirs.ModelMetadata.GetRootAs(content, 0))
    (subgraph,) = found.subgraphMetadata
    (image,) = subgraph.inputTensorMetadata
    (unit,) = image.processUnits
    assert unit.options.mean == pytest.approx(TRAINED.mean)
    assert unit.options.std == pytest.approx(TRAINED.std)
    assert len(subgraph.outputTensorMetadata) == 1


def test_the_network_stays_what_it_was(plain: Path, tmp_path: Path) -> None:
    marked = tmp_path / "marked.tflite"
    marked.write_bytes(with_image_metadata(plain.read_bytes(), "net", "", TRAINED))
    before, after = read_model(plain), read_model(marked)
    batch = random_inputs(before, 3, seed=0)
    for kernels in ("xnnpack", "builtin"):
        for one, other in zip(
            run_here(before, batch, kernels), run_here(after, batch, kernels), strict=True
        ):
            assert np.array_equal(one, other)
    assert [tensor.name for tensor in before.graph.tensors] == [
        tensor.name for tensor in after.graph.tensors
    ]


@pytest.mark.parametrize("padding", range(0, 20, 3))
def test_constants_are_aligned_as_they_were(plain: Path, padding: int) -> None:
    raw = plain.read_bytes() + bytes(padding)
    before, after = places(raw), places(with_image_metadata(raw, "n" * padding, "", TRAINED))
    assert [place % 16 for place in after[: len(before)]] == [place % 16 for place in before]
    assert after[-1] % 16 == 0


def test_what_a_file_said_before_is_replaced(plain: Path) -> None:
    once = with_image_metadata(plain.read_bytes(), "first", "", TRAINED)
    twice = parse_model(with_image_metadata(once, "second", "", Normalization((0.0,), (1.0,))))
    found = read_image_metadata(twice)
    assert found is not None
    assert found.name == "second"
    assert metadata_of(twice) == Normalization((0.0,), (1.0,))
    root = schema.Model.GetRootAs(with_image_metadata(once, "x", "", TRAINED), 0)
    assert [root.Metadata(index).Name() for index in range(root.MetadataLength())].count(
        ENTRY.encode()
    ) == 1


def test_other_entries_stay(tmp_path: Path) -> None:
    said = {"mine": b"something", "theirs": b"another thing"}
    path = write_classifier(tmp_path / "m.tflite", metadata=said)
    found = dict(read_model(path).metadata)
    assert found.pop(ENTRY)
    assert found == said


def test_a_figure_for_each_channel_is_refused_of_grey_images(plain: Path) -> None:
    with pytest.raises(ModelError, match="1 channels, and the normalisation is of 3"):
        with_image_metadata(plain.read_bytes(), "net", "", IMAGENET)


def test_a_file_with_two_inputs_is_refused(tmp_path: Path) -> None:
    path = write_two_input_model(tmp_path / "two.tflite")
    with pytest.raises(ModelError, match="no input that is an image"):
        with_image_metadata(path.read_bytes(), "net", "", TRAINED)


@given(st.data())
def test_damaged_metadata_is_as_if_it_were_not_there(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray(UPSTREAM)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(8, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    plain = write_classifier(tmp_path_factory.mktemp("d") / "m.tflite", says=None)
    found = read_image_metadata(with_entry(plain, bytes(content[:cut])))
    for image in found.inputs if found else ():
        assert all(map(np.isfinite, (*image.low, *image.high)))
        if image.normalization is not None:
            assert min(image.normalization.std) > 0


@pytest.mark.parametrize(
    ("mean", "std"), [((), ()), ((1.0,), ()), ((0.0,), (0.0,)), ((np.nan,), (1.0,))]
)
def test_figures_that_normalise_nothing_are_refused(
    mean: tuple[float, ...], std: tuple[float, ...]
) -> None:
    with pytest.raises(ValueError, match="stand"):
        Normalization(mean, std)


def test_figures_with_few_decimals_are_the_same() -> None:
    assert IMAGENET.near(Normalization.of_unit((0.4850001, 0.456, 0.406), (0.229, 0.224, 0.225)))
    assert not IMAGENET.near(Normalization.of_unit((0.5,), (0.5,)))
    grey = Normalization.of_unit((0.5,), (0.25,))
    assert grey.near(Normalization.of_unit((0.5,) * 3, (0.25,) * 3))
    assert not IMAGENET.near(Normalization.of_unit((0.5,) * 2, (0.25,) * 2))


# --- by hand ---------------------------------------------------------------------------------


def with_entry(path: Path, content: bytes) -> Model:
    """A model as if its file had this entry."""
    model = read_model(path)
    return Model(
        path=model.path,
        size=model.size,
        description=model.description,
        subgraphs=model.subgraphs,
        graph=model.graph,
        codes=model.codes,
        metadata={ENTRY: content},
    )


def places(raw: bytes) -> list[int]:
    """Where the constants of a file begin."""
    root = schema.Model.GetRootAs(raw, 0)
    buffers = [root.Buffers(index) for index in range(root.BuffersLength())]
    return [buffer._tab.Vector(buffer._tab.Offset(4)) for buffer in buffers if buffer.DataLength()]
