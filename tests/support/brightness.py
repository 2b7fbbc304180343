"""A classifier that is easily understood: the class of an image is how bright it is on average."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from support.tflite_writer import GraphWriter, Quantization
from toolchain.tflite_file.image_metadata import Normalization, with_image_metadata

SIDE = 4
CLASSES = 12
TRAINED = Normalization.of_unit((0.286,), (0.353,))
"""How its images are normalised: as Fashion-MNIST's, one of the usual ways."""

Array = npt.NDArray[Any]


def bright_images(count: int, seed: int = 0) -> tuple[Array, Array]:
    """Pixels ``[count, SIDE, SIDE, 1]`` uint8, and the class of each image."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, CLASSES, count)
    middle = _centres()[labels][:, None, None, None]
    noise = generator.integers(-3, 4, (count, SIDE, SIDE, 1))
    return (middle + noise).clip(0, 255).astype(np.uint8), labels


def write_bright_folder(folder: Path, count: int) -> None:
    """The same as files, a folder for each class."""
    pixels, labels = bright_images(count)
    for number, (image, label) in enumerate(zip(pixels, labels, strict=True)):
        place = folder / f"{label:02}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).save(place / f"{number}.png")


def write_classifier(
    path: Path,
    *,
    says: Normalization | None = TRAINED,
    calibrated: bool = False,
    dtype: str = "float32",
    quantization: Quantization | None = None,
    broken: bool = False,
    metadata: dict[str, bytes] | None = None,
    channels: int = 1,
) -> Path:
    """A network that was trained on images normalised as :data:`TRAINED`.

    Args:
        path: the file.
        says: what it says of its images; nothing for ``None``.
        calibrated: whether its input is quantised, with the range of such images.
        dtype: of its input.
        quantization: of its input.
        broken: whether its scores are of the wrong classes.
        metadata: other entries of the file.
        channels: of an image.
    """
    writer = GraphWriter()
    shape = (1, SIDE, SIDE, channels)
    image = source = writer.tensor(shape, dtype, quantization)
    if dtype != "float32":
        source = writer.dequantize(image)
    if calibrated:
        low, high = TRAINED.low[0], TRAINED.high[0]
        scale = (high - low) / 255
        stored = writer.operator("QUANTIZE", [image], shape)
        writer.give_type(stored, "int8", Quantization((scale,), round(-128 - low / scale)))
        source = writer.dequantize(stored)
    values = (_centres() / 255 - TRAINED.unit[0][0]) / TRAINED.unit[1][0]
    if broken:
        values = values[::-1]
    # The nearest centre: of (m - c)^2 what is common to all classes is left out.
    filters = (2 * values / channels).astype(np.float32).reshape(CLASSES, 1, 1, 1)
    filters = filters.repeat(channels, 3)
    scores = writer.conv_2d(
        source, filters, (-(values**2)).astype(np.float32), (1, SIDE, SIDE, CLASSES)
    )
    result = writer.mean_of_pixels(scores, (1, 1, 1, CLASSES))
    writer.write(path, [image], [result], signature=True, metadata=metadata)
    if says is not None:
        path.write_bytes(with_image_metadata(path.read_bytes(), path.stem, "a test's", says))
    return path


def _centres() -> npt.NDArray[np.float64]:
    return np.linspace(20, 235, CLASSES)
