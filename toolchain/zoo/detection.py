"""What stands before and behind the YOLOv5 network: letterboxing, box decoding, suppression.

None of it is in the graph that is converted, and none of it needs torch. Boxes are
``[x1, y1, x2, y2]`` in pixels, ``x`` to the right and ``y`` down.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from toolchain.errors import ModelError

Array = npt.NDArray[np.float32]
Size = tuple[int, int]

STRIDES = (8, 16, 32)
"""Image pixels a cell of each scale, the finest first."""
ANCHORS = (
    ((10.0, 13.0), (16.0, 30.0), (33.0, 23.0)),
    ((30.0, 61.0), (62.0, 45.0), (59.0, 119.0)),
    ((116.0, 90.0), (156.0, 198.0), (373.0, 326.0)),
)
"""Width and height in image pixels of each scale's three anchors, as the published weights have
them."""
_GREY = 114
_SHARE = 2.0
"""A box that reaches over the picture's edge is not much larger than all of it."""


@dataclass(frozen=True, eq=False)
class Detections:
    """The objects that were found in one image."""

    boxes: Array
    """``[M, 4]``: x1, y1, x2, y2 in pixels."""
    scores: Array
    """``[M]``, 0 to 1."""
    classes: npt.NDArray[np.int64]
    """``[M]``: the kind of each object, from 0."""

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, chosen: npt.NDArray[Any]) -> Detections:
        """Some of them: by a mask ``[M]`` or by indices, in their order."""
        return Detections(self.boxes[chosen], self.scores[chosen], self.classes[chosen])


def decode(
    outputs: Sequence[npt.NDArray[Any]],
    image_size: Size,
    *,
    anchors: npt.ArrayLike = ANCHORS,
    threshold: float = 0.25,
) -> list[Detections]:
    """Turn the network's raw outputs into boxes, not yet suppressed.

    A cell's offsets, sides, objectness and classes go through a sigmoid each::

        centre = (2 sigmoid(xy) - 0.5 + cell) * stride
        sides = (2 sigmoid(wh)) ** 2 * anchor
        score = sigmoid(objectness) * sigmoid(class)

    and every anchor of every cell gives one box of its best class.

    Args:
        outputs: one array a scale, in any order: ``[N, 3 * (5 + classes), h, w]`` as torch gives
            them, or ``[N, h, w, 3 * (5 + classes)]`` as a ``.tflite`` file does.
        image_size: height and width of the network's input, in pixels.
        anchors: ``[scale, anchor, 2]``, width and height in image pixels, the finest scale first.
            Weights with anchors of their own keep them as ``model.24.anchors``, in cells: multiply
            by :data:`STRIDES`.
        threshold: boxes with a lower score are left out; 0 keeps all.

    Returns:
        For each of the N images its boxes, finest scale first, then by anchor, row and column.

    Raises:
        ModelError: the outputs' shapes do not fit the image's size or each other.
    """
    sizes = np.asarray(anchors, np.float32)
    maps = _channels_last(outputs, image_size, sizes)
    boxes, scores, classes = [], [], []
    for raw, stride, scale in zip(maps, STRIDES, sizes, strict=True):
        images, height, width, _ = raw.shape
        cells = raw.reshape(images, height, width, len(scale), -1).transpose(0, 3, 1, 2, 4)
        squashed = 0.5 + 0.5 * np.tanh(0.5 * cells)
        column, row = np.meshgrid(np.arange(width), np.arange(height))
        grid = np.stack([column, row], -1).astype(np.float32)
        centres = (2 * squashed[..., 0:2] - 0.5 + grid) * stride
        halves = 2 * squashed[..., 2:4] ** 2 * scale[:, None, None]
        kinds = squashed[..., 5:]
        boxes.append(
            np.concatenate([centres - halves, centres + halves], -1).reshape(images, -1, 4)
        )
        scores.append((squashed[..., 4] * kinds.max(-1)).reshape(images, -1))
        classes.append(kinds.argmax(-1).reshape(images, -1))
    found = (np.concatenate(parts, 1) for parts in (boxes, scores, classes))
    return [Detections(*arrays)[arrays[1] >= threshold] for arrays in zip(*found, strict=True)]


def raw_classes(shapes: Sequence[Sequence[int]], image_size: Size) -> int:
    """How many kinds of objects raw outputs tell apart.

    Args:
        shapes: of outputs as :func:`decode` takes them.
        image_size: likewise.

    Raises:
        ModelError: as :func:`decode`.
    """
    order, first = _layout(shapes, image_size, len(ANCHORS[0]))
    return shapes[order[0]][1 if first else 3] // len(ANCHORS[0]) - 5


def decoded_rows(
    rows: npt.NDArray[Any], image_size: Size, *, threshold: float = 0.25
) -> list[Detections]:
    """Boxes of a network that decodes them itself, not yet suppressed.

    Args:
        rows: ``[N, boxes, 5 + classes]``: centre x and y, width and height, objectness and
            classes, as Ultralytics' exports give them: in pixels of the input, or in shares of its
            sides, as those for TensorFlow Lite do. Shares are told by their size: no box of a
            picture is larger than two pixels then.
        image_size: height and width of the network's input, in pixels.
        threshold: boxes with a lower score are left out.

    Returns:
        For each of the N images its boxes, in their order.
    """
    values = np.asarray(rows, np.float32)
    height, width = image_size
    found = []
    for image in values:
        box = image[:, :4]
        if box.size and float(np.nanmax(np.abs(box))) <= _SHARE:
            box = box * np.array([width, height, width, height], np.float32)
        halves = box[:, 2:] / 2
        scores = image[:, 4] * image[:, 5:].max(1)
        boxes = np.concatenate([box[:, :2] - halves, box[:, :2] + halves], 1)
        all_of_them = Detections(boxes, scores, image[:, 5:].argmax(1))
        found.append(all_of_them[scores >= threshold])
    return found


def non_maximum_suppression(
    found: Detections, *, overlap: float = 0.45, limit: int = 300
) -> Detections:
    """Keep the best of each heap of boxes of one class.

    Args:
        found: one image of :func:`decode`.
        overlap: a box whose intersection over union with a better one of its class is larger goes.
        limit: how many to keep at most.

    Returns:
        The best first; equal scores stay in their order.
    """
    order = np.argsort(-found.scores, kind="stable")
    kept: list[int] = []
    while order.size and len(kept) < limit:
        best, order = order[0], order[1:]
        kept.append(int(best))
        rival = found.classes[order] == found.classes[best]
        shared = intersection_over_union(found.boxes[best], found.boxes[order])
        order = order[~rival | (shared <= overlap)]
    return found[np.array(kept, np.int64)]


def intersection_over_union(box: Array, boxes: Array) -> Array:
    """How much one box ``[4]`` overlaps each of ``[M, 4]``: ``[M]``, 0 to 1."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=1)
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    union = np.prod(box[2:] - box[:2]) + areas - shared
    ratio: Array = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return ratio


@dataclass(frozen=True)
class Letterbox:
    """Where a picture lies in the network's input."""

    scale: float
    """Input pixels a picture pixel."""
    left: int
    top: int
    picture: Size
    """Height and width of the picture."""

    def boxes(self, boxes: Array) -> Array:
        """Boxes ``[M, 4]`` of the network's input in the pixels of the picture, cut at its edge."""
        height, width = self.picture
        moved = (boxes - np.array([self.left, self.top] * 2, np.float32)) / np.float32(self.scale)
        inside: Array = np.clip(moved, 0, np.array([width, height] * 2, np.float32))
        return inside


def letterbox(picture: npt.NDArray[np.uint8], size: Size) -> tuple[Array, Letterbox]:
    """Scale a picture to fit into the network's input, the rest grey.

    Args:
        picture: RGB, ``[height, width, 3]``.
        size: height and width of the network's input.

    Returns:
        ``[1, height, width, 3]``, 0 to 1, as a ``.tflite`` file takes it (torch wants
        ``[1, 3, height, width]``); and what brings boxes back into the picture.

    Raises:
        ModelError: the picture has another shape or type.
    """
    if picture.ndim != 3 or picture.shape[2] != 3 or not picture.size or picture.dtype != np.uint8:
        raise ModelError(
            f"a picture of {picture.dtype}{list(picture.shape)} cannot be letterboxed",
            hint="give RGB, uint8[height, width, 3]",
        )
    height, width = picture.shape[:2]
    scale = min(size[0] / height, size[1] / width)
    inner = max(1, round(height * scale)), max(1, round(width * scale))
    top, left = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    canvas = np.full((*size, 3), _GREY, np.uint8)
    scaled = Image.fromarray(picture).resize((inner[1], inner[0]), Image.Resampling.BILINEAR)
    canvas[top : top + inner[0], left : left + inner[1]] = np.asarray(scaled)
    image: Array = canvas[None].astype(np.float32) / np.float32(255)
    return image, Letterbox(scale, left, top, (height, width))


def _channels_last(
    outputs: Sequence[npt.NDArray[Any]], image_size: Size, anchors: Array
) -> list[Array]:
    """The outputs as ``[N, h, w, C]``, the finest first."""
    order, first = _layout([np.shape(output) for output in outputs], image_size, anchors.shape[1])
    maps = [np.asarray(outputs[index], np.float32) for index in order]
    return [array.transpose(0, 2, 3, 1) for array in maps] if first else maps


def _layout(
    shapes: Sequence[Sequence[int]], image_size: Size, anchors: int
) -> tuple[list[int], bool]:
    """The outputs' numbers, the finest first, and whether channels come before height and width.

    By their shapes alone: a file may declare any.
    """
    cells = [(image_size[0] // stride, image_size[1] // stride) for stride in STRIDES]
    order = sorted(range(len(shapes)), key=lambda index: -math.prod(shapes[index]))
    found = [tuple(shapes[index]) for index in order]
    # No two scales have equal sides, so only one of the two orders can fit all three.
    first = all(len(shape) == 4 for shape in found) and [shape[2:] for shape in found] == cells
    last = [(shape[0], *shape[2:], shape[1]) for shape in found] if first else found
    batch, channels = (last[0][0], last[0][-1]) if last and last[0] else (0, 0)
    per_anchor, rest = divmod(channels, anchors)
    if last != [(batch, *size, channels) for size in cells] or rest or per_anchor < 6:
        raise ModelError(
            f"outputs of shapes {[list(shape) for shape in found]} are not those of a detector "
            f"on {image_size[0]}x{image_size[1]} pixels",
            hint=f"three arrays are wanted, [N, h, w, 3 * (5 + classes)] or [N, 3 * (5 + classes), "
            f"h, w], with h x w = {', '.join(f'{h}x{w}' for h, w in cells)}",
        )
    return order, first
