"""Labelled boxes, and the average precision of those that are found."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from support.squares import KINDS, SIDE, SQUARE, write_squares
from toolchain.errors import DataError
from toolchain.evaluation.boxes import average_precision, load_boxes

Truth = list[list[tuple[int, tuple[float, float, float, float], bool]]]
TRUTH: Truth = [
    [(0, (10.0, 10.0, 20.0, 20.0), False), (1, (50.0, 50.0, 10.0, 30.0), False)],
    [(0, (5.0, 5.0, 40.0, 40.0), False)],
    [],
    [(1, (30.0, 0.0, 20.0, 20.0), False)],
]


def found(*, moved: float = 0.0, without: int | None = None, kind: int = 0) -> list[np.ndarray]:
    """The boxes as they are, moved to the right by pixels, without those of an image."""
    return [
        np.array(
            [
                [x + moved, y, x + moved + w, y + h, 0.9, (number + kind) % 2]
                for number, (x, y, w, h), _ in boxes
            ]
            if index != without
            else []
        ).reshape(-1, 6)
        for index, boxes in enumerate(TRUTH)
    ]


def test_boxes_are_read_with_their_pictures(tmp_path: Path) -> None:
    data = load_boxes(write_squares(tmp_path, 3))
    assert len(data) == 3
    assert data.categories == KINDS
    assert data.read(0).shape == (SIDE, SIDE, 3)
    for number, boxes in enumerate(data.boxes):
        for kind, (left, top, width, height), crowd in boxes:
            assert (width, height, crowd) == (SQUARE, SQUARE, False)
            pixel = data.read(number)[int(top), int(left)].tolist()
            assert pixel == ([255, 0, 0] if kind else [255, 255, 255])


def test_pictures_may_lie_in_a_folder_of_their_own(tmp_path: Path) -> None:
    path = write_squares(tmp_path / "a", 2)
    (tmp_path / "a/images").rename(tmp_path / "pictures")
    with pytest.raises(DataError, match="no such image") as caught:
        load_boxes(path)
    assert "--images" in str(caught.value.hint)
    assert len(load_boxes(path, tmp_path / "pictures")) == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda found: found.pop("annotations"), "holds no boxes"),
        (lambda found: found["annotations"].clear(), "holds no boxes"),
        (lambda found: found["annotations"][0].update(image_id=99), "does not have"),
        (lambda found: found["annotations"][0].update(category_id=99), "does not have"),
        (lambda found: found["annotations"][0].update(bbox=[1, 2]), "holds no boxes"),
        (lambda found: found["images"][0].update(file_name="../x.png"), "outside of its folder"),
        (lambda found: found["images"][0].update(file_name="/etc/passwd"), "outside of its folder"),
        (lambda found: found["images"][1].update(id=10), "of one number"),
    ],
)
def test_a_file_with_a_fault_is_refused(tmp_path: Path, change: object, said: str) -> None:
    path = write_squares(tmp_path, 2)
    content = json.loads(path.read_text())
    change(content)  # type: ignore[operator]
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=said):
        load_boxes(path)


def test_what_is_found_exactly_has_a_precision_of_one() -> None:
    pytest.importorskip("pycocotools")
    measured = average_precision(TRUTH, found(), 2)
    assert (measured.ap, measured.ap50) == pytest.approx((1, 1))
    assert measured.drawn.shape[1] == 2
    assert measured.drawn.max() == pytest.approx(1)


def test_boxes_that_are_a_little_aside_count_at_small_overlaps() -> None:
    pytest.importorskip("pycocotools")
    measured = average_precision([TRUTH[0][:1]], [found(moved=4)[0][:1]], 1)
    # 16 of 24 pixels: an overlap of 0.67, enough for 0.5, 0.55, 0.6 and 0.65 of ten.
    assert (measured.ap, measured.ap50) == pytest.approx((0.4, 1))


def test_boxes_of_the_wrong_class_and_none_at_all_have_a_precision_of_nothing() -> None:
    pytest.importorskip("pycocotools")
    assert average_precision(TRUTH, found(kind=1), 2).ap == 0
    assert average_precision(TRUTH, [np.zeros((0, 6))] * 4, 2).ap == 0


def test_what_is_missed_lowers_it_and_draws_tell_how_surely() -> None:
    pytest.importorskip("pycocotools")
    measured = average_precision(TRUTH, found(without=1), 2, seed=1)
    assert 0.5 < measured.ap50 < 1
    assert measured.drawn[:, 1].min() < measured.ap50 < measured.drawn[:, 1].max()
    again = average_precision(TRUTH, found(without=1), 2, seed=1)
    assert np.array_equal(measured.drawn, again.drawn)
