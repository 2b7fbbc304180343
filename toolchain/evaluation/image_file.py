"""A file that takes one image: what goes into it, and how pixels are prepared for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.agreement.differences import Array
from toolchain.agreement.inputs import model_inputs
from toolchain.errors import ModelError
from toolchain.hints import command
from toolchain.storage.cache import sha256_file
from toolchain.tflite_file.graph import Model, Quantization, Tensor
from toolchain.tflite_file.image_metadata import Normalization, read_image_metadata
from toolchain.tflite_file.layers import MAX_PIXELS
from toolchain.tflite_file.support import read_supported

Shape = tuple[int, int, int]
"""Height, width and channels."""
BYTES = Normalization((0.0,), (1.0,))
"""Pixels as they are."""


@dataclass(frozen=True, eq=False)
class ImageFile:
    """What a file takes."""

    path: Path
    model: Model
    sha256: str
    image: Tensor
    """Its input, ``[1, H, W, C]``."""
    said: Normalization | None
    """What the file says of its images."""
    title: str
    """What the file calls the model; empty where it says nothing."""

    @property
    def name(self) -> str:
        """What it is called in tables."""
        return self.path.stem

    @property
    def shape(self) -> Shape:
        """Of an image."""
        _, height, width, channels = self.image.shape
        return height, width, channels

    @property
    def takes_bytes(self) -> bool:
        """Whether its input are 256 whole numbers, for which pixels stand as they are."""
        return self.image.dtype in ("uint8", "int8")

    def prepared(self, images: Array, normalization: Normalization | None) -> Array:
        """Images as the file's input takes them.

        Args:
            images: ``[N, H, W, C]``: pixels, or values that are normalised already.
            normalization: of pixels; ``None`` for values, and for pixels that an input of bytes
                takes as they are.

        Returns:
            ``[N, 1, H, W, C]``, type as in the file.
        """
        kind, quantization = np.dtype(self.image.dtype), self.image.quantization
        if normalization is None and images.dtype == np.uint8:
            raw = images.astype(np.int16) - (128 if kind == np.int8 else 0)
            return np.ascontiguousarray(raw.astype(kind)[:, None])
        values = images if normalization is None else normalised(images, normalization)
        if kind.kind == "f":
            return np.ascontiguousarray(values.astype(kind)[:, None])
        limits = np.iinfo(kind)
        steps = np.rint(values if quantization is None else _quantised(values, quantization))
        return np.ascontiguousarray(steps.clip(limits.min, limits.max).astype(kind)[:, None])

    def scores(self, outputs: list[Array]) -> Array:
        """What is kept of the outputs of ``N`` inferences, ``[N, *shape]`` each."""
        raise NotImplementedError


def read_image_file(path: Path, hint: str) -> dict[str, Any]:
    """What all files have in common that take one image, by the names of :class:`ImageFile`.

    Args:
        path: the file.
        hint: how such a file is made.

    Raises:
        ModelError: it cannot be read, the runtime cannot run it, or it takes something else.
    """
    model = read_supported(path)
    inputs = model_inputs(model)
    image = inputs[0] if len(inputs) == 1 else None
    if image is None or len(image.shape) != 4 or image.shape[0] != 1:
        takes = " and ".join("x".join(map(str, tensor.shape)) for tensor in inputs)
        raise ModelError(
            f"{path}: takes {takes or 'nothing'}, not one image (1 x height x width x channels)",
            hint=hint,
        )
    if not 0 < math.prod(image.shape[1:3]) <= MAX_PIXELS:
        raise ModelError(f"{path}: takes images of {image.shape[1]}x{image.shape[2]} pixels")
    if np.dtype(image.dtype).kind not in "fiu":
        raise ModelError(f"{path}: takes images of type {image.dtype}")
    metadata = read_image_metadata(model)
    said = metadata.inputs[0].normalization if metadata and metadata.inputs else None
    if said is not None and not said.fits(image.shape[3]):
        said = None
    return {
        "path": path,
        "model": model,
        "sha256": sha256_file(path),
        "image": image,
        "said": said,
        "title": metadata.name if metadata else "",
    }


def normalised(pixels: Array, normalization: Normalization) -> Array:
    """Values float32 of pixels ``[N, H, W, C]``, computed as training computes them."""
    mean, std = (np.asarray(values, np.float32) for values in normalization.unit)
    values: Array = (pixels.astype(np.float32) / np.float32(255) - mean) / std
    return values


def chosen_normalization(
    file: ImageFile,
    data: Sequence[str],
    given: Normalization | None,
    trained: Normalization | None,
) -> tuple[Normalization | None, str]:
    """How pixels are normalised for a file, and who says so.

    Args:
        file: that takes them.
        data: the options that name the images, for the line to run.
        given: by the user, who is believed first.
        trained: by the checkpoint, where there is one.

    Returns:
        ``None``: pixels go in as they are.

    Raises:
        ModelError: nobody says it, or what is said does not fit the file's channels.
    """
    channels = file.shape[2]
    said = ((given, "given"), (file.said, "the file"), (trained, "the checkpoint"))
    for known, by in said:
        if known is None:
            continue
        if not known.fits(channels):
            raise ModelError(
                f"{file.path}: takes images of {channels} channels, and the normalisation "
                f"({by}) is of {len(known.mean)}",
                hint="give one mean and one std, or one of each a channel",
            )
        return known, by
    if file.takes_bytes:
        return None, "pixels as they are"
    some = Normalization.of_unit((0.5,), (0.5,))
    raise ModelError(
        f"{file.path}: does not say how its images are normalised",
        hint="convert it with --mean and --std, the figures that it was trained with, or give them "
        f"here; if pixels were from -1 to 1, run: {with_figures(file.path, data, some)}",
    )


def with_figures(path: Path, data: Sequence[str], normalization: Normalization) -> str:
    """The line that evaluates a file with these figures.

    Args:
        path: of the file.
        data: the options that name the images.
        normalization: the figures.
    """
    mean, std = (",".join(f"{value:.6g}" for value in part) for part in normalization.unit)
    return command("evaluate", path, *data, "--mean", mean, "--std", std)


def _quantised(values: Array, quantization: Quantization) -> Array:
    found: Array = values / quantization.scale[0] + quantization.zero_point[0]
    return found
