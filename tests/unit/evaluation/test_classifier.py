"""What goes into a file's input, and what comes out of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from support.brightness import CLASSES, SIDE, TRAINED, bright_images, write_classifier
from support.bundles import write_two_input_model
from support.tflite_writer import GraphWriter, Quantization
from toolchain.agreement.inputs import Batch
from toolchain.agreement.interpreter import run_here
from toolchain.errors import ModelError
from toolchain.evaluation.classifier import Classifier, read_classifier
from toolchain.evaluation.image_file import chosen_normalization, normalised
from toolchain.tflite_file.image_metadata import Normalization
from toolchain.train.normalization import FASHION
from toolchain.zoo import fashion_mnist

UNIT = Normalization.of_unit((0.0,), (1.0,))


def scores(classifier: Classifier, images: np.ndarray, way: Normalization | None) -> np.ndarray:
    batch = Batch((classifier.prepared(images, way),), joined=False)
    return classifier.scores(run_here(classifier.model, batch))


def test_pixels_are_normalised_as_in_training() -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    wanted = fashion_mnist.normalise(pixels).permute(0, 2, 3, 1).numpy()
    assert np.allclose(normalised(pixels[..., None], FASHION), wanted, atol=1e-6)


def test_a_file_is_right_on_images_prepared_as_it_says(tmp_path: Path) -> None:
    classifier = read_classifier(write_classifier(tmp_path / "m.tflite"))
    images, labels = bright_images(40)
    assert classifier.said is not None
    assert classifier.shape == (SIDE, SIDE, 1)
    assert classifier.classes == CLASSES
    found = scores(classifier, images, classifier.said)
    assert np.array_equal(found.argmax(1), labels)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_an_integer_input_gets_what_its_scale_says(tmp_path: Path, dtype: str) -> None:
    low, high = TRAINED.low[0], TRAINED.high[0]
    scale = (high - low) / 255
    zero = round(np.iinfo(dtype).min - low / scale)
    path = write_classifier(
        tmp_path / "m.tflite", dtype=dtype, quantization=Quantization((scale,), zero)
    )
    classifier = read_classifier(path)
    images, labels = bright_images(40)
    assert np.array_equal(scores(classifier, images, TRAINED).argmax(1), labels)
    # Its range is that of pixels, so that they may go in as they are.
    assert np.array_equal(scores(classifier, images, None).argmax(1), labels)
    values = normalised(images, TRAINED)
    assert np.array_equal(scores(classifier, values, None).argmax(1), labels)


def test_quantised_scores_are_told_in_their_real_size(tmp_path: Path) -> None:
    writer = GraphWriter()
    image = writer.tensor((1, 1, 1, 4))
    stored = writer.operator("QUANTIZE", [image], (1, 1, 1, 4))
    writer.give_type(stored, "int8", Quantization((0.5,), 10))
    writer.write(tmp_path / "m.tflite", [image], [stored])
    classifier = read_classifier(tmp_path / "m.tflite")
    values = np.array([[[[-3.0, 0.0, 0.5, 20.0]]]], np.float32)
    assert scores(classifier, values, None).tolist() == [[-3.0, 0.0, 0.5, 20.0]]


def test_what_is_no_classifier_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not one image"):
        read_classifier(write_two_input_model(tmp_path / "two.tflite"))
    writer = GraphWriter()
    image = writer.tensor((1, 4, 4, 1))
    writer.write(tmp_path / "same.tflite", [image], [writer.add(image, image, (1, 4, 4, 1))])
    with pytest.raises(ModelError, match="not one score a class"):
        read_classifier(tmp_path / "same.tflite")
    writer = GraphWriter()
    image = writer.tensor((8, 1, 1, 4))
    writer.write(tmp_path / "eight.tflite", [image], [writer.add(image, image, (8, 1, 1, 4))])
    with pytest.raises(ModelError, match="not one image"):
        read_classifier(tmp_path / "eight.tflite")


def test_who_says_how_pixels_are_normalised(tmp_path: Path) -> None:
    speaks = read_classifier(write_classifier(tmp_path / "a.tflite"))
    silent = read_classifier(write_classifier(tmp_path / "b.tflite", says=None))
    assert chosen_normalization(speaks, (), UNIT, FASHION) == (UNIT, "given")
    found, by = chosen_normalization(speaks, (), None, FASHION)
    assert by == "the file"
    assert found is not None
    assert found.near(TRAINED)
    assert chosen_normalization(silent, (), None, FASHION) == (FASHION, "the checkpoint")
    with pytest.raises(ModelError, match="does not say how its images") as caught:
        chosen_normalization(silent, ("--data", "my data"), None, None)
    assert f"deploy evaluate {silent.path} --data 'my data' --mean" in str(caught.value.hint)


def test_bytes_need_no_figures(tmp_path: Path) -> None:
    path = write_classifier(
        tmp_path / "m.tflite", dtype="uint8", says=None, quantization=Quantization((0.01,), 0)
    )
    assert chosen_normalization(read_classifier(path), (), None, None)[0] is None


def test_figures_for_other_channels_are_refused(tmp_path: Path) -> None:
    classifier = read_classifier(write_classifier(tmp_path / "m.tflite"))
    three = Normalization.of_unit((0.5,) * 3, (0.5,) * 3)
    with pytest.raises(ModelError, match="1 channels, and the normalisation \\(given\\) is of 3"):
        chosen_normalization(classifier, (), three, None)
