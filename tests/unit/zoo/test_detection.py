"""Raw outputs to boxes, against a slow reference; suppression; pictures in and boxes back."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from support.places import REPOSITORY
from toolchain.errors import ModelError
from toolchain.zoo.detection import (
    ANCHORS,
    STRIDES,
    Array,
    Detections,
    decode,
    intersection_over_union,
    letterbox,
    non_maximum_suppression,
)


def raw_outputs(height: int, width: int, classes: int, images: int = 1) -> list[Array]:
    """As torch gives them."""
    random = np.random.default_rng(height + width + classes)
    return [
        (3 * random.standard_normal((images, 3 * (5 + classes), height // s, width // s))).astype(
            np.float32
        )
        for s in STRIDES
    ]


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def reference(
    outputs: list[Array], anchors: object = ANCHORS
) -> list[tuple[list[float], float, int]]:
    """One box after the other, in Python's own numbers, for the first image."""
    sizes = np.asarray(anchors).tolist()
    found = []
    for raw, stride, scale in zip(outputs, STRIDES, sizes, strict=True):
        _, channels, height, width = raw.shape
        each = channels // 3
        for anchor, (anchor_width, anchor_height) in enumerate(scale):
            for row in range(height):
                for column in range(width):
                    cell = [
                        sigmoid(float(raw[0, anchor * each + i, row, column])) for i in range(each)
                    ]
                    x = (2 * cell[0] - 0.5 + column) * stride
                    y = (2 * cell[1] - 0.5 + row) * stride
                    w = (2 * cell[2]) ** 2 * anchor_width
                    h = (2 * cell[3]) ** 2 * anchor_height
                    best = max(range(5, each), key=lambda i: cell[i])
                    box = [x - w / 2, y - h / 2, x + w / 2, y + h / 2]
                    found.append((box, cell[4] * cell[best], best - 5))
    return found


def agree(found: Detections, expected: list[tuple[list[float], float, int]]) -> None:
    boxes, scores, classes = (list(part) for part in zip(*expected, strict=True))
    np.testing.assert_allclose(found.boxes, boxes, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(found.scores, scores, rtol=1e-4, atol=1e-6)
    assert found.classes.tolist() == classes


@pytest.mark.parametrize("size", [(64, 96), (96, 32)])
@pytest.mark.parametrize("classes", [1, 4])
def test_boxes_are_those_of_the_formula(size: tuple[int, int], classes: int) -> None:
    outputs = raw_outputs(*size, classes)
    (found,) = decode(outputs, size, threshold=0)
    agree(found, reference(outputs))


def test_a_file_s_outputs_give_what_torch_s_give_in_any_order() -> None:
    size, outputs = (64, 64), raw_outputs(64, 64, 2)
    (wanted,) = decode(outputs, size)
    (found,) = decode([outputs[i].transpose(0, 2, 3, 1) for i in (2, 0, 1)], size)
    assert len(found) > 10
    np.testing.assert_array_equal(found.boxes, wanted.boxes)
    np.testing.assert_array_equal(found.scores, wanted.scores)
    np.testing.assert_array_equal(found.classes, wanted.classes)


def test_channels_and_cells_of_one_number_are_told_apart() -> None:
    """A class and 18 cells: channels and sides of the coarsest scale are all 18."""
    size, outputs = (576, 576), raw_outputs(576, 576, 1)
    assert outputs[2].shape == (1, 18, 18, 18)
    (wanted,) = decode(outputs, size)
    (found,) = decode([x.transpose(0, 2, 3, 1) for x in outputs], size)
    np.testing.assert_array_equal(found.boxes, wanted.boxes)


def test_each_image_has_its_own_boxes_above_the_threshold() -> None:
    outputs = raw_outputs(64, 64, 3, images=2)
    both = decode(outputs, (64, 64), threshold=0.3)
    for index, found in enumerate(both):
        (alone,) = decode([x[index : index + 1] for x in outputs], (64, 64), threshold=0)
        np.testing.assert_array_equal(found.scores, alone.scores[alone.scores >= 0.3])
        assert 0 < len(found) < len(alone)


def test_anchors_of_other_weights_are_taken() -> None:
    outputs = raw_outputs(64, 64, 1)
    anchors = np.asarray(ANCHORS)[:, ::-1] * 1.5
    (found,) = decode(outputs, (64, 64), anchors=anchors, threshold=0)
    agree(found, reference(outputs, anchors))


def test_large_raw_values_overflow_nothing() -> None:
    outputs = [np.full((1, 18, 32 // s, 32 // s), v, np.float32) for s, v in
               zip(STRIDES, (-1e4, 1e4, 0), strict=True)]  # fmt: skip
    with np.errstate(all="raise"):
        (found,) = decode(outputs, (32, 32), threshold=0.5)
    assert found.scores.tolist() == [1.0] * 12
    assert np.isfinite(found.boxes).all()


@pytest.mark.parametrize(
    "shapes",
    [
        [],
        [(1, 18, 8, 8), (1, 18, 4, 4)],
        [(1, 18, 8, 8), (1, 18, 4, 4), (1, 18, 4, 4)],
        [(1, 18, 8, 8), (1, 4, 4, 18), (1, 18, 2, 2)],
        [(1, 18, 8, 8), (1, 21, 4, 4), (1, 18, 2, 2)],
        [(1, 18, 8, 8), (2, 18, 4, 4), (1, 18, 2, 2)],
        [(1, 15, 8, 8), (1, 15, 4, 4), (1, 15, 2, 2)],
        [(1, 19, 8, 8), (1, 19, 4, 4), (1, 19, 2, 2)],
        [(18, 8, 8), (18, 4, 4), (18, 2, 2)],
    ],
)
def test_outputs_of_other_shapes_are_refused(shapes: list[tuple[int, ...]]) -> None:
    with pytest.raises(ModelError, match="are not those of a detector on 64x64") as caught:
        decode([np.zeros(shape, np.float32) for shape in shapes], (64, 64))
    assert "8x8, 4x4, 2x2" in str(caught.value.hint)


def detections(boxes: list[list[float]], scores: list[float], classes: list[int]) -> Detections:
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32),
        np.array(classes, np.int64),
    )  # fmt: skip


def test_of_overlapping_boxes_of_one_class_the_best_stays() -> None:
    box, near, far = [0.0, 0, 10, 10], [1.0, 0, 11, 10], [50.0, 50, 60, 60]
    found = detections([near, box, far, box], [0.8, 0.9, 0.3, 0.5], [0, 0, 0, 1])
    kept = non_maximum_suppression(found)
    assert kept.boxes.tolist() == [box, box, far]
    assert kept.classes.tolist() == [0, 1, 0]
    assert kept.scores.tolist() == pytest.approx([0.9, 0.5, 0.3])
    assert len(non_maximum_suppression(found, limit=1)) == 1
    assert len(non_maximum_suppression(found, overlap=0.9)) == 4


def test_nothing_found_stays_nothing() -> None:
    assert len(non_maximum_suppression(detections([], [], []))) == 0


_BOXES = st.lists(
    st.tuples(*[st.integers(0, 12)] * 4, st.integers(0, 20), st.integers(0, 2)), max_size=25
)


@settings(max_examples=60, deadline=None)
@given(_BOXES, st.sampled_from([0.0, 0.3, 0.5, 1.0]))
def test_what_is_kept_does_not_overlap_and_what_goes_overlaps_something_better(
    rows: list[tuple[int, ...]], overlap: float
) -> None:
    found = detections(
        [[x, y, x + w, y + h] for x, y, w, h, *_ in rows],
        [row[4] / 20 for row in rows], [row[5] for row in rows],
    )  # fmt: skip
    kept = non_maximum_suppression(found, overlap=overlap)
    assert np.all(np.diff(kept.scores) <= 0)
    for box, score, kind in zip(found.boxes, found.scores, found.classes, strict=True):
        same = kept[(kept.classes == kind) & (kept.scores >= score)]
        shared = intersection_over_union(box, same.boxes)
        stays = bool((same.boxes == box).all(1).any())
        assert stays or bool((shared > overlap).any())
    for index in range(len(kept)):
        after = kept[np.arange(len(kept)) > index]
        after = after[after.classes == kept.classes[index]]
        assert (intersection_over_union(kept.boxes[index], after.boxes) <= overlap).all()


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ([0, 0, 2, 2], [0, 0, 2, 2], 1),
        ([0, 0, 2, 2], [1, 1, 3, 3], 1 / 7),
        ([0, 0, 2, 2], [2, 0, 4, 2], 0),
        ([0, 0, 0, 0], [0, 0, 0, 0], 0),
    ],
)
def test_intersection_over_union(one: list[int], other: list[int], expected: float) -> None:
    found = intersection_over_union(np.array(one, np.float32), np.array([other], np.float32))
    assert found.tolist() == pytest.approx([expected])


@pytest.mark.parametrize("shape", [(30, 50), (50, 30), (64, 64), (1, 200), (7, 3)])
def test_a_picture_lies_in_the_middle_and_boxes_come_back(shape: tuple[int, int]) -> None:
    picture = np.full((*shape, 3), 200, np.uint8)
    image, place = letterbox(picture, (64, 96))
    assert image.shape == (1, 64, 96, 3)
    assert image.dtype == np.float32
    inside: NDArray[np.bool_] = np.isclose(image[0, :, :, 0], 200 / 255)
    assert np.isclose(image[0][~inside], 114 / 255).all()
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    corners = np.array([[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]], np.float32)
    back = place.boxes(corners)
    pixel = 1 / place.scale
    np.testing.assert_allclose(back, [[0, 0, shape[1], shape[0]]], atol=pixel)
    margins = rows[0], 63 - rows[-1], columns[0], 95 - columns[-1]
    assert abs(margins[0] - margins[1]) <= 1
    assert abs(margins[2] - margins[3]) <= 1


def test_boxes_are_cut_at_the_picture_s_edge() -> None:
    _, place = letterbox(np.zeros((32, 64, 3), np.uint8), (64, 64))
    assert place.boxes(np.array([[-9, 0, 99, 99]], np.float32)).tolist() == [[0, 0, 64, 32]]


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_what_is_no_picture_is_refused(picture: NDArray[np.uint8]) -> None:
    with pytest.raises(ModelError, match="cannot be letterboxed"):
        letterbox(picture, (64, 64))


def test_torch_is_not_needed() -> None:
    code = "import toolchain.zoo.detection, sys; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True)
