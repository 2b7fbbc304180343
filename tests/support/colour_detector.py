"""A detector whose boxes are known: it finds cells of 8x8 pixels that are red or blue."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from support.tflite_writer import GraphWriter, Quantization
from toolchain.zoo.detection import ANCHORS, STRIDES

SIZE = 96
NAMES = ("red thing", "blue thing")
SIDES = ANCHORS[0][1]
"""Width and height of every box, in pixels of the input."""
_VALUES = 7  # of an anchor: x, y, width, height, objectness, red, blue
_NEVER = -30.0


def write_colour_detector(path: Path, *, channels: int = 3) -> Path:
    """A file with three raw outputs, as a YOLOv5 of two classes gives them.

    The finest scale's second anchor has the objectness ``20 (red + blue - 2 green) - 15``, of the
    means over its cell: white, grey and black cells are nothing. Offsets are 0, so that a box lies
    in the middle of its cell and has the anchor's sides.
    """
    writer = GraphWriter()
    picture = writer.tensor((1, SIZE, SIZE, channels))
    outputs = []
    for stride in STRIDES:
        filters = np.zeros((3 * _VALUES, stride, stride, channels), np.float32)
        bias = np.zeros(3 * _VALUES, np.float32)
        bias[4::_VALUES] = _NEVER
        if stride == STRIDES[0]:
            pixels = stride * stride
            filters[_VALUES + 4] = np.array([20, -40, 20][:channels]) / pixels
            filters[_VALUES + 5] = np.array([10, 0, -10][:channels]) / pixels
            filters[_VALUES + 6] = -filters[_VALUES + 5]
            bias[_VALUES + 4] = -15
        shape = (1, SIZE // stride, SIZE // stride, 3 * _VALUES)
        outputs.append(
            writer.conv_2d(picture, filters, bias, shape, stride=stride, padding="VALID")
        )
    return writer.write(path, [picture], outputs)


def write_decoded_detector(path: Path, rows: int, classes: int) -> Path:
    """A file of one output ``[1, rows, 5 + classes]``, int8 in steps of 1/100."""
    writer = GraphWriter()
    picture = writer.tensor((1, SIZE, SIZE, 3), "uint8", Quantization((1 / 255,)))
    boxes = writer.tensor((1, rows, 5 + classes), "int8", Quantization((0.01,), -20))
    return writer.write(path, [picture], [boxes])


def draw_cells(path: Path, cells: dict[tuple[int, int], str], *, scale: int = 1) -> Path:
    """A white picture of the input's size times ``scale``, with cells (column, row) in colour."""
    image = Image.new("RGB", (SIZE * scale, SIZE * scale), "white")
    side = 8 * scale
    for (column, row), colour in cells.items():
        x, y = column * side, row * side
        image.paste(colour, (x, y, x + side, y + side))
    image.save(path, quality=100)
    return path


def box_of(column: int, row: int, *, scale: int = 1) -> tuple[float, float, float, float]:
    """The box of a cell, cut at the picture's edge."""
    x, y = 8 * column + 4, 8 * row + 4
    width, height = SIDES
    corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    a, b, c, d = (scale * min(max(corner, 0.0), float(SIZE)) for corner in corners)
    return a, b, c, d
