"""A detector's ``.tflite`` file: how pictures become its input, and its outputs objects.

Two kinds of files are known. A **raw** one gives the three scales of YOLOv5 before any sigmoid, as
networks of :mod:`toolchain.zoo.yolov5` do. A **decoded** one gives one array of boxes, as the
exports of Ultralytics do: centre, width, height, objectness and classes of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from toolchain.errors import ModelError
from toolchain.tflite_file.graph import Model, Tensor
from toolchain.tflite_file.layers import MAX_PIXELS
from toolchain.zoo.detection import (
    Array,
    Detections,
    Letterbox,
    Size,
    decode,
    decoded_rows,
    letterbox,
    non_maximum_suppression,
    raw_classes,
)

AnyArray = npt.NDArray[Any]


@dataclass(frozen=True)
class Thresholds:
    """Which boxes are objects."""

    score: float = 0.25
    """Boxes below it are left out."""
    overlap: float = 0.45
    """Intersection over union above which the lesser of two boxes of a class goes."""
    limit: int = 300
    """Objects of a picture, at most."""


class Detector:
    """What a file takes and gives.

    Args:
        model: of a ``.tflite`` file.

    Raises:
        ModelError: it is no detector of a known kind; says what it takes and gives.
    """

    def __init__(self, model: Model) -> None:
        tensors = model.graph.tensors
        inputs = [tensors[index] for index in model.graph.inputs]
        self._outputs = [tensors[index] for index in model.graph.outputs]
        shape = inputs[0].shape if len(inputs) == 1 else ()
        channels_last = len(shape) == 4 and shape[0] == 1 and shape[3] == 3
        channels_first = len(shape) == 4 and shape[:2] == (1, 3) and not channels_last
        if not channels_last and not channels_first:
            given = ", ".join(f"{one.dtype}{list(one.shape)}" for one in inputs)
            raise _no_detector(model, f"takes {given}, not one picture [1, height, width, 3]")
        self._input, self._channels_last = inputs[0], channels_last
        height, width = shape[1:3] if channels_last else shape[2:]
        self.size: Size = (int(height), int(width))
        """Height and width of the input, pixels."""
        if not 0 < height * width <= MAX_PIXELS:
            raise _no_detector(model, f"takes a picture of {height}x{width} pixels")
        self.kind, self.classes = self._kind(model)
        for one in (self._input, *self._outputs):
            if one.dtype not in ("float32", "float16") and _step(one) is None:
                raise _no_detector(model, f"'{one.name}' is {one.dtype} without a scale")

    def prepare(self, picture: npt.NDArray[np.uint8]) -> tuple[AnyArray, Letterbox]:
        """The input for a picture, and what brings boxes back into it.

        Args:
            picture: RGB, ``[height, width, 3]``.

        Returns:
            An array of the input's shape and type; values from 0 to 1, quantised where the file's
            are.
        """
        image, place = letterbox(picture, self.size)
        array: AnyArray = image if self._channels_last else image.transpose(0, 3, 1, 2)
        return _quantised(array, self._input), place

    def objects(
        self, outputs: Sequence[AnyArray], place: Letterbox, thresholds: Thresholds
    ) -> Detections:
        """The objects of one picture, in its pixels, the best first.

        Args:
            outputs: what the file gave for it, in the graph's order.
            place: of :meth:`prepare`.
            thresholds: which boxes count.
        """
        arrays = [tensor.real(array) for array, tensor in zip(outputs, self._outputs, strict=True)]
        if self.kind == "raw":
            (found,) = decode(arrays, self.size, threshold=thresholds.score)
        else:
            (found,) = decoded_rows(arrays[0], self.size, threshold=thresholds.score)
        found = found[np.isfinite(found.boxes).all(1) & np.isfinite(found.scores)]
        best = non_maximum_suppression(found, overlap=thresholds.overlap, limit=thresholds.limit)
        return Detections(place.boxes(best.boxes), best.scores, best.classes)

    def _kind(self, model: Model) -> tuple[Literal["raw", "decoded"], int]:
        shapes = [one.shape for one in self._outputs]
        if len(shapes) == 1 and len(shapes[0]) == 3 and shapes[0][0] == 1 and shapes[0][2] > 5:
            return "decoded", shapes[0][2] - 5
        try:
            return "raw", raw_classes(shapes, self.size)
        except ModelError as error:
            given = ", ".join(str(list(shape)) for shape in shapes)
            raise _no_detector(model, f"gives {given}") from error


def _no_detector(model: Model, what: str) -> ModelError:
    return ModelError(
        f"{model.path}: is no detector that is known here: it {what}",
        hint="known are YOLOv5's raw outputs, three arrays at strides 8, 16 and 32 "
        "(docs/how-to/detect-objects.md), and one array [1, boxes, 5 + classes]",
    )


def _step(tensor: Tensor) -> tuple[float, int] | None:
    """Scale and zero point of a tensor that is quantised as a whole."""
    found = tensor.quantization
    if found is None or found.scale.size != 1:
        return None
    return float(found.scale.flat[0]), int(found.zero_point.flat[0])


def _quantised(array: Array | AnyArray, tensor: Tensor) -> AnyArray:
    dtype = np.dtype(tensor.dtype)
    step = _step(tensor)
    if dtype.kind == "f" or step is None:
        return np.ascontiguousarray(array, dtype)
    limits = np.iinfo(dtype)
    stored = np.round(array / step[0]) + step[1]
    return np.ascontiguousarray(np.clip(stored, limits.min, limits.max), dtype)
