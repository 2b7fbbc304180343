"""Pictures to look for objects in, and copies of them with boxes drawn."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont, ImageOps, UnidentifiedImageError

from toolchain.errors import DataError, first_line
from toolchain.foreign_text import harmless
from toolchain.formats.input_file import read_limited
from toolchain.zoo.detection import Detections

Picture = npt.NDArray[np.uint8]
"""RGB, ``[height, width, 3]``."""

_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Told by the content. Of the formats that Pillow knows, some start programs."""
_LARGEST = 256 << 20
_MOST_PIXELS = 100_000_000
JPEG_SUFFIXES = (".jpg", ".jpeg")


def read_picture(path: Path) -> Picture:
    """A picture, turned upright as its EXIF data says; of several in a file the first.

    Raises:
        DataError: it cannot be read, is no picture, or has more than 100 million pixels.
    """
    try:
        content = read_limited(path, _LARGEST)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    try:
        with Image.open(BytesIO(content), formats=_FORMATS) as image:
            width, height = image.size
            if width * height <= _MOST_PIXELS:
                return _rgb(image)
    except Exception as error:  # Pillow's decoders raise a dozen kinds on damaged files
        known = not isinstance(error, UnidentifiedImageError)
        reason = first_line(error) if known else "it is of no known format"
        raise DataError(f"{path}: cannot be read as a picture: {reason}") from error
    raise DataError(
        f"{path}: has {width}x{height} pixels, more than {_MOST_PIXELS // 10**6} million",
        hint="make it smaller",
    )


def _rgb(image: Image.Image) -> Picture:
    upright = ImageOps.exif_transpose(image)
    if upright.mode == "P" and "transparency" in upright.info:
        upright = upright.convert("RGBA")
    return np.array(upright.convert("RGB"), np.uint8)


def draw_objects(picture: Picture, found: Detections, names: Sequence[str]) -> Picture:
    """A copy with a box around each object, and its name and score above it.

    The best is drawn last, so that it lies on top.

    Args:
        picture: stays as it is.
        found: objects in its pixels.
        names: of the classes.
    """
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    line = max(2, round(max(image.size) / 320))
    font = ImageFont.load_default(size=max(10.0, max(image.size) / 50))
    for number in reversed(range(len(found))):
        kind = int(found.classes[number])
        colour = colour_of(kind)
        x1, y1, x2, y2 = (float(side) for side in found.boxes[number])
        draw.rectangle((x1, y1, max(x1, x2), max(y1, y2)), outline=colour, width=line)
        label = f"{shown_name(names, kind)} {found.scores[number]:.2f}"
        _draw_label(draw, label, (x1, y1), image.size, font, colour)
    return np.asarray(image)


def write_picture(picture: Picture, path: Path, stream: BinaryIO) -> None:
    """Write a picture in the format that a name's ending says: JPEG, or else PNG."""
    image = Image.fromarray(picture)
    if path.suffix.lower() in JPEG_SUFFIXES:
        image.save(stream, "JPEG", quality=92)
    else:
        image.save(stream, "PNG")


def shown_name(names: Sequence[str], kind: int) -> str:
    """What a class is called; ``class 7`` where it has no name."""
    return harmless(names[kind]) if kind < len(names) else f"class {kind}"


def colour_of(kind: int) -> tuple[int, int, int]:
    """A colour for a class; neighbours are far apart."""
    hue = (kind * 0.618034) % 1.0  # the golden ratio spreads any number of hues evenly
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)


def _draw_label(
    draw: ImageDraw.ImageDraw,
    label: str,
    corner: tuple[float, float],
    size: tuple[int, int],
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
    colour: tuple[int, int, int],
) -> None:
    """On the box's upper edge, or within the picture where there is no room for it."""
    left, top, right, bottom = draw.textbbox((0, 0), label, font=font)
    width, height = right - left + 4, bottom - top + 4
    x = max(0.0, min(corner[0], size[0] - width))
    y = corner[1] - height if corner[1] >= height else corner[1]
    draw.rectangle((x, y, x + width, y + height), fill=colour)
    dark = sum(share * one for share, one in zip((0.3, 0.6, 0.1), colour, strict=True)) < 140
    draw.text((x + 2 - left, y + 2 - top), label, font=font, fill="white" if dark else "black")
