"""Files of detectors: which are known, how pictures go in, and objects come out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from support.colour_detector import SIZE, write_colour_detector, write_decoded_detector
from support.tflite_writer import GraphWriter, Quantization
from toolchain.errors import ModelError
from toolchain.tflite_file.graph import read_model
from toolchain.zoo.coco_classes import COCO
from toolchain.zoo.detection import decoded_rows, letterbox
from toolchain.zoo.detector import Detector, Thresholds


def detector(path: Path) -> Detector:
    return Detector(read_model(path))


def test_a_file_of_raw_outputs_is_known_by_its_shapes(tmp_path: Path) -> None:
    found = detector(write_colour_detector(tmp_path / "d.tflite"))
    assert (found.kind, found.classes, found.size) == ("raw", 2, (SIZE, SIZE))


def test_a_file_of_decoded_boxes_is_known_and_read_in_its_steps(tmp_path: Path) -> None:
    found = detector(write_decoded_detector(tmp_path / "d.tflite", rows=3, classes=4))
    assert (found.kind, found.classes) == ("decoded", 4)
    picture = np.full((SIZE, SIZE, 3), 51, np.uint8)
    array, place = found.prepare(picture)
    assert array.dtype == np.uint8
    assert array.shape == (1, SIZE, SIZE, 3)
    assert (array == 51).all()  # 0.2 in steps of 1 / 255
    rows = np.full((1, 3, 9), -20, np.int8)  # zeros
    rows[0, 1] = [30, 30, 0, 20, 70, -20, 60, -20, -20]  # 0.5, 0.5, 0.2, 0.4, 0.9; class 1: 0.8
    objects = found.objects([rows], place, Thresholds(score=0.5))
    np.testing.assert_allclose(objects.boxes, [[38.4, 28.8, 57.6, 67.2]], rtol=1e-5)
    np.testing.assert_allclose(objects.scores, [0.72], rtol=1e-5)
    assert objects.classes.tolist() == [1]


def test_channels_may_come_first(tmp_path: Path) -> None:
    writer = GraphWriter()
    picture = writer.tensor((1, 3, 64, 96))
    boxes = writer.tensor((1, 10, 7))
    found = detector(writer.write(tmp_path / "d.tflite", [picture], [boxes]))
    assert found.size == (64, 96)
    shown = np.zeros((64, 96, 3), np.uint8)
    shown[..., 2] = 255
    array, _ = found.prepare(shown)
    assert array.shape == (1, 3, 64, 96)
    assert array[0, 2].min() == 1
    assert array[0, :2].max() == 0


def test_a_quantised_input_is_rounded_to_its_steps_and_kept_in_its_range(tmp_path: Path) -> None:
    writer = GraphWriter()
    picture = writer.tensor((1, 32, 32, 3), "int8", Quantization((1 / 128,), -128))
    boxes = writer.tensor((1, 10, 7))
    found = detector(writer.write(tmp_path / "d.tflite", [picture], [boxes]))
    shown = np.zeros((32, 32, 3), np.uint8)
    shown[:16] = 255
    array, _ = found.prepare(shown)
    assert array.dtype == np.int8
    assert {int(array[0, 0, 0, 0]), int(array[0, 31, 0, 0])} == {0, -128}


@pytest.mark.parametrize(
    ("inputs", "outputs", "said"),
    [
        ([(1, 224, 224, 3)], [(1, 1000)], r"gives \[1, 1000\]"),
        ([(1, 28, 28, 1)], [(1, 10, 7)], r"takes float32\[1, 28, 28, 1\], not one picture"),
        ([(1, 32, 32, 3), (1, 32, 32, 3)], [(1, 10, 7)], "not one picture"),
        ([(2, 32, 32, 3)], [(2, 10, 7)], "not one picture"),
        ([(1, 32, 32, 3)], [(1, 10, 5)], r"gives \[1, 10, 5\]"),
        ([(1, 64, 64, 3)], [(1, 8, 8, 21), (1, 4, 4, 21)], r"gives \[1, 8, 8, 21\], \[1, 4, 4"),
        # What no memory holds is declared as easily.
        ([(1, 64, 64, 3)], [(1, 80_000, 80_000, 255)], r"gives \[1, 80000, 80000, 255\]"),
        ([(1, 64, 64, 3)], [(1, 1 << 30, 1 << 30, 255)], r"gives \[1, 1073741824, 1073741824"),
        ([(1, 64, 64, 3)], [()], r"gives \[\]"),
        ([(1, 80_000, 80_000, 3)], [(1, 10, 7)], "takes a picture of 80000x80000 pixels"),
        ([(1, 0, 64, 3)], [(1, 10, 7)], "takes a picture of 0x64 pixels"),
    ],
)
def test_a_file_that_is_no_detector_is_told_by_what_it_takes_and_gives(
    tmp_path: Path, inputs: list[tuple[int, ...]], outputs: list[tuple[int, ...]], said: str
) -> None:
    writer = GraphWriter()
    path = writer.write(
        tmp_path / "d.tflite",
        [writer.tensor(shape) for shape in inputs],
        [writer.tensor(shape) for shape in outputs],
    )
    with pytest.raises(ModelError, match=said) as told:
        detector(path)
    assert "docs/how-to/detect-objects.md" in (told.value.hint or "")


def test_integers_without_a_scale_are_refused(tmp_path: Path) -> None:
    writer = GraphWriter()
    picture = writer.tensor((1, 32, 32, 3), "uint8")
    path = writer.write(tmp_path / "d.tflite", [picture], [writer.tensor((1, 10, 7))])
    with pytest.raises(ModelError, match="'t0' is uint8 without a scale"):
        detector(path)


def test_values_that_are_not_finite_are_no_objects(tmp_path: Path) -> None:
    writer = GraphWriter()
    picture, boxes = writer.tensor((1, 32, 32, 3)), writer.tensor((1, 4, 7))
    found = detector(writer.write(tmp_path / "d.tflite", [picture], [boxes]))
    rows = np.array([[[16, 16, 8, 8, 1, 1, 0]] * 4], np.float32)
    rows[0, 1, 0], rows[0, 2, 2], rows[0, 3, 4] = np.nan, np.inf, np.nan
    _, place = letterbox(np.zeros((32, 32, 3), np.uint8), (32, 32))
    objects = found.objects([rows], place, Thresholds())
    assert objects.boxes.tolist() == [[12, 12, 20, 20]]


def test_decoded_boxes_are_pixels_or_shares_by_their_size() -> None:
    shares = np.array([[[0.5, 0.25, 0.5, 0.5, 1, 0.5, 0.25]]], np.float32)
    pixels = shares * np.array([200, 100, 200, 100, 1, 1, 1], np.float32)
    for rows in (shares, pixels):
        (found,) = decoded_rows(rows, (100, 200))
        assert found.boxes.tolist() == [[50, 0, 150, 50]]
        assert (found.scores.tolist(), found.classes.tolist()) == ([0.5], [0])
    (nothing,) = decoded_rows(shares, (100, 200), threshold=0.6)
    assert len(nothing) == 0
    (none,) = decoded_rows(np.zeros((1, 0, 7), np.float32), (100, 200))
    assert len(none) == 0


def test_the_classes_of_coco_are_80_different_ones() -> None:
    assert len(set(COCO)) == len(COCO) == 80


def test_a_scale_with_an_empty_list_of_zero_points_has_zero(tmp_path: Path) -> None:
    writer = GraphWriter()
    picture = writer.tensor((1, 32, 32, 3), "int8", Quantization((1 / 127,)))
    writer.forget_zero_points(picture)
    found = detector(writer.write(tmp_path / "d.tflite", [picture], [writer.tensor((1, 10, 7))]))
    array, _ = found.prepare(np.full((32, 32, 3), 255, np.uint8))
    assert np.unique(array).tolist() == [127]
