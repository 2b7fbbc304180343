"""Objects on pictures: by the stock interpreter on this machine, or by the runner on a board."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from toolchain.agreement.differences import Array
from toolchain.agreement.inputs import Batch
from toolchain.errors import DataError, ModelError
from toolchain.failures import Failures
from toolchain.formats.text_file import read_text
from toolchain.progress import Progress, Silent
from toolchain.storage.files import check_writable, write_whole
from toolchain.zoo.coco_classes import COCO
from toolchain.zoo.detection import Detections
from toolchain.zoo.detector import Detector, Thresholds
from toolchain.zoo.pictures import (
    JPEG_SUFFIXES,
    draw_objects,
    read_picture,
    shown_name,
    write_picture,
)

_AT_ONCE = 8
"""Pictures of one run: each is some megabytes."""

Runs = Callable[[Batch], Sequence[Array]]
"""Outputs ``[count, *shape]`` of a batch, in the graph's order."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class FoundObject(_Part):
    """One object."""

    name: str
    class_number: int
    """From 0."""
    score: float
    """0 to 1."""
    box: tuple[float, float, float, float]
    """x1, y1, x2, y2 in pixels of the picture, x to the right and y down."""


class PictureObjects(_Part):
    """What was found on one picture."""

    picture: str
    width: int
    height: int
    drawn: str | None
    """The copy with boxes; ``None`` where none was asked for."""
    objects: list[FoundObject]
    """The best first."""


class FailedPicture(_Part):
    """A picture that has a fault."""

    picture: str
    error: str


class DetectedObjects(_Part):
    """What ``deploy detect`` says."""

    model: str
    ran_on: str
    """``this machine (stock interpreter)``, or the board."""
    score: float
    """Boxes below it were left out."""
    overlap: float
    pictures: list[PictureObjects]
    failed: list[FailedPicture]


@dataclass(frozen=True)
class Wanted:
    """What is looked for, and where copies go."""

    thresholds: Thresholds
    names: Sequence[str]
    """Of the classes; fewer than there are will do."""
    folder: Path | None
    """For copies with boxes; ``None`` draws none."""


def class_names(path: Path | None, classes: int) -> tuple[str, ...]:
    """Names of a file, one a line; without a file those of COCO, where there are 80 classes.

    Raises:
        ModelError: the file cannot be read, or has another number of names.
    """
    if path is None:
        return COCO if classes == len(COCO) else ()
    names = [line.strip() for line in read_text(path, ModelError).splitlines()]
    while names and not names[-1]:
        names.pop()
    if len(names) != classes:
        raise ModelError(
            f"{path}: has {len(names)} names, the network {classes} classes",
            hint="write one name a line, in the order of the classes",
        )
    return tuple(names)


def copies_of(pictures: Sequence[Path], folder: Path) -> list[Path]:
    """Where the copies of pictures go: JPEG stays JPEG, all else becomes PNG.

    Pictures of one name get numbers.

    Raises:
        OutputError: a copy would replace one of the pictures, or cannot be written.
    """
    places: list[Path] = []
    for picture in pictures:
        suffix = picture.suffix if picture.suffix.lower() in JPEG_SUFFIXES else ".png"
        place, number = folder / f"{picture.stem}{suffix}", 1
        while place in places:
            number += 1
            place = folder / f"{picture.stem}_{number}{suffix}"
        if folder.is_dir():
            check_writable(place, inputs=pictures)
        places.append(place)
    return places


def detect(
    detector: Detector,
    runs: Runs,
    pictures: Sequence[Path],
    wanted: Wanted,
    failures: Failures,
    progress: Progress | None = None,
) -> Iterator[PictureObjects]:
    """Look for objects on pictures, and draw them into copies; each is given once it is drawn.

    Args:
        detector: what the file takes and gives.
        runs: runs it.
        pictures: files; one that has a fault is told at the end, the others go on.
        wanted: what is looked for, and where copies go.
        failures: where faults of pictures are kept.
        progress: where pictures are counted.

    Raises:
        ModelError, BoardError: the file cannot be run.
        OutputError: a copy cannot be written.
    """
    copies: list[Path | None] = [None] * len(pictures)
    if wanted.folder is not None:
        copies = [*copies_of(pictures, wanted.folder)]
    with (progress or Silent()).stage("look for objects", len(pictures)) as stage:
        for first in range(0, len(pictures), _AT_ONCE):
            paths = pictures[first : first + _AT_ONCE]
            read = []
            for path, copy in zip(paths, copies[first : first + _AT_ONCE], strict=True):
                with failures.of(str(path)):
                    picture = read_picture(path)
                    read.append((path, copy, picture, *detector.prepare(picture)))
            outputs: Sequence[Array] = []
            if read:
                outputs = runs(Batch((np.stack([one[3] for one in read]),), joined=False))
            for number, (path, copy, picture, _, place) in enumerate(read):
                own = [array[number] for array in outputs]
                objects = detector.objects(own, place, wanted.thresholds)
                if copy is not None:
                    drawn = draw_objects(picture, objects, wanted.names)
                    write_whole(copy, partial(write_picture, drawn, copy))
                yield _row(path, copy, picture.shape, objects, wanted.names)
            stage.advance(len(paths))


def _row(
    path: Path,
    copy: Path | None,
    shape: tuple[int, ...],
    objects: Detections,
    names: Sequence[str],
) -> PictureObjects:
    return PictureObjects(
        picture=str(path),
        width=shape[1],
        height=shape[0],
        drawn=str(copy) if copy is not None else None,
        objects=[
            FoundObject(
                name=shown_name(names, int(kind)),
                class_number=int(kind),
                score=float(score),
                box=(float(box[0]), float(box[1]), float(box[2]), float(box[3])),
            )
            for box, score, kind in zip(objects.boxes, objects.scores, objects.classes, strict=True)
        ],
    )


def document(
    model: str, ran_on: str, wanted: Wanted, found: list[PictureObjects], failures: Failures
) -> DetectedObjects:
    """What was found, and on which pictures nothing could be looked for."""
    failed = [
        FailedPicture(picture=name, error=error.what)
        for name, error in failures.items
        if isinstance(error, DataError)
    ]
    return DetectedObjects(
        model=model,
        ran_on=ran_on,
        score=wanted.thresholds.score,
        overlap=wanted.thresholds.overlap,
        pictures=found,
        failed=failed,
    )
