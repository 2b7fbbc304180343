"""A detector that is easily understood: it finds white and red squares of 8x8 pixels."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
from PIL import Image

from support.tflite_writer import GraphWriter
from toolchain.zoo.detection import ANCHORS, STRIDES

SIDE = 64
SQUARE = STRIDES[0]
KINDS = ("white", "red")
_VALUES = 5 + len(KINDS)
_NEVER = -30.0


def write_detector(path: Path, *, swapped: bool = False) -> Path:
    """A file with the outputs of YOLOv5 for pictures of 64x64 pixels, from 0 to 1.

    Args:
        path: the file.
        swapped: whether it takes red for white and white for red.
    """
    writer = GraphWriter()
    image = writer.tensor((1, SIDE, SIDE, 3))
    outputs = []
    for stride in STRIDES:
        cells = SIDE // stride
        values = len(ANCHORS[0]) * _VALUES
        filters = np.zeros((values, stride, stride, 3), np.float32)
        bias = np.zeros(values, np.float32)
        bias[4::_VALUES] = _NEVER
        if stride == SQUARE:
            # The first anchor: its box is the cell where that is as bright as can be.
            bias[2:4] = [_side(SQUARE, anchor) for anchor in ANCHORS[0][0]]
            per_pixel = 60.0 / stride**2
            filters[4, :, :, 0], bias[4] = per_pixel, _NEVER
            white, red = (6, 5) if swapped else (5, 6)
            filters[white, :, :, 2], bias[white] = per_pixel, _NEVER
            filters[red, :, :, 2], bias[red] = -per_pixel, -_NEVER
        outputs.append(
            writer.conv_2d(
                image, filters, bias, (1, cells, cells, values), stride=stride, padding="VALID"
            )
        )
    return writer.write(path, [image], outputs, signature=True)


def write_squares(folder: Path, count: int, seed: int = 0) -> Path:
    """Pictures with squares in the cells of a grid; gives the file that says where they are."""
    generator = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True)
    images: list[dict[str, object]] = []
    boxes: list[dict[str, object]] = []
    for number in range(count):
        pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
        for place in generator.choice((SIDE // SQUARE) ** 2, generator.integers(1, 6), False):
            row, column = (int(at) * SQUARE for at in divmod(place, SIDE // SQUARE))
            kind = int(generator.integers(len(KINDS)))
            pixels[row : row + SQUARE, column : column + SQUARE] = (255, 0, 0) if kind else 255
            boxes.append(
                {"id": len(boxes) + 1, "image_id": 10 + number, "category_id": 3 + 4 * kind,
                 "bbox": [column, row, SQUARE, SQUARE], "area": SQUARE**2, "iscrowd": 0}
            )  # fmt: skip
        images.append({"id": 10 + number, "file_name": f"{number}.png"})
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
    kinds = [{"id": 3 + 4 * index, "name": name} for index, name in enumerate(KINDS)]
    path = folder / "squares.json"
    path.write_text(json.dumps({"images": images, "annotations": boxes, "categories": kinds}))
    return path


def _side(wanted: float, anchor: float) -> float:
    """What a box's side has to be in the network: ``(2 sigmoid(x)) ** 2 * anchor`` is it."""
    share = math.sqrt(wanted / anchor) / 2
    return math.log(share / (1 - share))
