"""Labelled boxes as COCO's files have them, and the average precision of those that are found.

The reading of the file is ours; matching and precision are pycocotools', COCO's own. Intervals are
drawn: images are drawn anew, whole, from what pycocotools has matched in each.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from toolchain.agreement.differences import Array
from toolchain.errors import DataError
from toolchain.formats.input_file import LARGEST, check_readable, read_limited
from toolchain.formats.json_text import parse_json
from toolchain.train.image_folder import check_header, picture_pixels

DRAWS = 200
"""Of images, for an interval."""
_BIG = 1e10
"""Pixels: the area of all boxes, large and small, as pycocotools has it."""
_MOST = 100
"""Boxes of an image that count, as in COCO's own figures."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Picture(_Part):
    id: int
    file_name: str


class _Box(_Part):
    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    iscrowd: int = Field(default=0, ge=0, le=1)


class _Category(_Part):
    id: int
    name: str


class _Coco(_Part):
    images: list[_Picture]
    annotations: list[_Box]
    categories: list[_Category]


@dataclass(frozen=True)
class BoxData:
    """Pictures, and the boxes in each."""

    name: str
    """As the user gave it."""
    files: tuple[Path, ...]
    categories: tuple[str, ...]
    """Names, in the order of their numbers in the file, which is that of a network's classes."""
    boxes: tuple[tuple[tuple[int, tuple[float, float, float, float], bool], ...], ...]
    """Of each picture: class, left, top, width and height in pixels, and whether it is a crowd."""

    def __len__(self) -> int:
        return len(self.files)

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        """A picture, ``[height, width, 3]``.

        Raises:
            DataError: it cannot be read.
        """
        return picture_pixels(self.files[index])


def load_boxes(path: Path, images: Path | None = None) -> BoxData:
    """Read a file of boxes as COCO has them: ``images``, ``annotations`` and ``categories``.

    Args:
        path: the ``.json`` file.
        images: the folder of its pictures; ``images`` beside the file, or its own, by default.

    Raises:
        DataError: it cannot be read, has a fault, or a picture is not there.
    """
    check_readable(path, DataError)
    hint = "boxes are as COCO's instances files have them: images, annotations, categories"
    try:
        text = read_limited(path, LARGEST)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    found = parse_json(_Coco, text, DataError, f"{path}: holds no boxes", hint=hint)
    place = images or next((one for one in (path.parent / "images",) if one.is_dir()), path.parent)
    kinds = sorted(found.categories, key=lambda one: one.id)
    numbers = {kind.id: index for index, kind in enumerate(kinds)}
    of = {picture.id: list[Any]() for picture in found.images}
    if len(of) != len(found.images) or len(numbers) != len(kinds):
        raise DataError(f"{path}: has two images or two categories of one number")
    for box in found.annotations:
        if box.image_id not in of or box.category_id not in numbers:
            raise DataError(
                f"{path}: a box is of image {box.image_id} and category {box.category_id}, one of "
                "which the file does not have"
            )
        of[box.image_id].append((numbers[box.category_id], box.bbox, bool(box.iscrowd)))
    if not any(of.values()):
        raise DataError(f"{path}: holds no boxes", hint=hint)
    files = []
    for picture in found.images:
        name = PurePosixPath(picture.file_name)
        if name.is_absolute() or ".." in name.parts:
            raise DataError(f"{path}: names an image outside of its folder: {picture.file_name}")
        files.append(place / name)
        if not files[-1].is_file():
            raise DataError(
                f"{files[-1]}: there is no such image (of {path})",
                hint="--images names the folder that the file's names count from",
            )
        check_header(files[-1])
    return BoxData(
        str(path),
        tuple(files),
        tuple(kind.name for kind in kinds),
        tuple(tuple(of[picture.id]) for picture in found.images),
    )


@dataclass(frozen=True)
class Precision:
    """Average precision of some boxes that were found, and of draws of the same images."""

    ap: float
    """Mean over overlaps of 0.5 to 0.95 and over the categories that the images have."""
    ap50: float
    """The same at an overlap of 0.5."""
    drawn: Array
    """``[DRAWS, 2]``: both, of images drawn anew."""


def average_precision(
    truth: Sequence[Sequence[tuple[int, tuple[float, float, float, float], bool]]],
    found: Sequence[Array],
    classes: int,
    *,
    seed: int = 0,
) -> Precision:
    """COCO's average precision.

    Args:
        truth: of each image its boxes, see :class:`BoxData`.
        found: of each image ``[M, 6]``: x1, y1, x2, y2 in pixels, score and class.
        classes: that there are.
        seed: of the draws; the same for all networks that are compared.
    """
    from pycocotools.cocoeval import COCOeval

    given = [
        {"image_id": number, "category_id": kind, "bbox": list(box), "area": box[2] * box[3],
         "iscrowd": int(crowd)}
        for number, boxes in enumerate(truth) for kind, box, crowd in boxes
    ]  # fmt: skip
    results = [
        {"image_id": number, "category_id": int(kind), "bbox": [x1, y1, x2 - x1, y2 - y1],
         "area": (x2 - x1) * (y2 - y1), "score": score, "iscrowd": 0}
        for number, boxes in enumerate(found)
        for x1, y1, x2, y2, score, kind in boxes.astype(float).tolist()
    ]  # fmt: skip
    count = len(truth)
    with contextlib.redirect_stdout(io.StringIO()):  # it tells how long each step took
        run = COCOeval(_coco(given, count, classes), _coco(results, count, classes), "bbox")
        run.params.areaRng, run.params.areaRngLbl = [[0, _BIG]], ["all"]
        run.params.maxDets = [_MOST]
        run.evaluate()
        matched = run.evalImgs
        whole = _accumulated(run)
        generator = np.random.default_rng(seed)
        drawn = []
        for _ in range(DRAWS):
            chosen = generator.integers(count, size=count)
            run.evalImgs = [matched[kind * count + i] for kind in range(classes) for i in chosen]
            drawn.append(_accumulated(run))
    return Precision(*whole, np.array(drawn))


def _coco(boxes: list[dict[str, Any]], images: int, classes: int) -> Any:
    from pycocotools.coco import COCO

    made = COCO()
    made.dataset = {
        "images": [{"id": number} for number in range(images)],
        "categories": [{"id": number} for number in range(classes)],
        "annotations": [{**box, "id": number + 1} for number, box in enumerate(boxes)],
    }
    made.createIndex()
    return made


def _accumulated(run: Any) -> tuple[float, float]:
    """The average precision over all overlaps, and at 0.5."""
    run.accumulate()
    precision = run.eval["precision"]  # [overlap, recall, category, area, boxes]
    both = []
    for part in (precision, precision[:1]):
        known = part[part > -1]
        both.append(float(known.mean()) if known.size else 0.0)
    return both[0], both[1]
