"""Pictures are read whole or refused, and boxes are drawn into copies."""

from __future__ import annotations

import io
import os
import struct
import zlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from toolchain.errors import DataError
from toolchain.zoo.detection import Detections
from toolchain.zoo.pictures import (
    colour_of,
    draw_objects,
    read_picture,
    shown_name,
    write_picture,
)


def objects(*boxes: tuple[float, float, float, float], classes: list[int]) -> Detections:
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.linspace(0.9, 0.5, len(boxes), dtype=np.float32),
        np.array(classes, np.int64),
    )


def test_a_box_is_drawn_in_its_class_s_colour_and_the_picture_stays() -> None:
    picture = np.full((120, 160, 3), 255, np.uint8)
    before = picture.copy()
    drawn = draw_objects(picture, objects((40, 50, 100, 90), classes=[3]), [])
    assert (picture == before).all()
    for x, y in ((40, 70), (100, 70), (70, 90), (99, 89)):
        assert tuple(drawn[y, x]) == colour_of(3)
    assert (drawn[60:80, 50:90] == 255).all()  # nothing within
    assert (drawn[100:, :] == 255).all()
    assert (drawn[30:50, 40:60] != 255).any()  # the label above it


def test_a_label_stays_within_the_picture() -> None:
    picture = np.zeros((60, 200, 3), np.uint8)
    drawn = draw_objects(picture, objects((150, 0, 199, 59), classes=[0]), ["a long name"])
    assert (drawn[:20, 100:150] != 0).any()  # to the left of the box, which begins at 150


def test_of_two_boxes_the_better_lies_on_top() -> None:
    picture = np.zeros((100, 100, 3), np.uint8)
    drawn = draw_objects(picture, objects((20, 40, 60, 80), (20, 40, 60, 80), classes=[1, 2]), [])
    assert tuple(drawn[80, 40]) == colour_of(1)


def test_boxes_of_no_size_and_at_the_edge_are_drawn() -> None:
    picture = np.zeros((30, 30, 3), np.uint8)
    draw_objects(picture, objects((10, 10, 10, 10), (0, 0, 30, 30), classes=[0, 1]), [])


def test_neighbouring_classes_have_different_colours() -> None:
    colours = [np.array(colour_of(kind)) for kind in range(80)]
    near = [np.abs(one - other).max() for one, other in pairwise(colours)]
    assert min(near) > 60


@pytest.mark.parametrize(
    ("name", "kind"), [("a.png", "PNG"), ("a.JPG", "JPEG"), ("a.jpeg", "JPEG")]
)
def test_a_copy_is_of_the_format_that_its_name_says(name: str, kind: str) -> None:
    stream = io.BytesIO()
    picture = np.full((20, 30, 3), 100, np.uint8)
    write_picture(picture, Path(name), stream)
    with Image.open(io.BytesIO(stream.getvalue())) as image:
        assert (image.format, image.size) == (kind, (30, 20))


def test_a_picture_is_turned_upright_and_made_rgb(tmp_path: Path) -> None:
    image = Image.new("L", (30, 20), 200)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    image.save(tmp_path / "a.jpg", exif=exif)
    assert read_picture(tmp_path / "a.jpg").shape == (30, 20, 3)


def bomb() -> bytes:
    """A PNG whose header speaks of 40,000 x 40,000 pixels."""
    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    end = b"IEND"
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", len(header)) + chunk + struct.pack(">I", zlib.crc32(chunk))
        + struct.pack(">I", 0) + end + struct.pack(">I", zlib.crc32(end))
    )  # fmt: skip


def large() -> bytes:
    stream = io.BytesIO()
    Image.new("1", (12_000, 9_000)).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "of no known format"),
        (b"hello", "of no known format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "of no known format"),
        (bomb(), "a.png: "),
        (large(), "has 12000x9000 pixels, more than 100 million"),
    ],
    ids=["empty", "text", "PostScript", "bomb", "large"],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_what_is_no_picture_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(DataError, match=said):
        read_picture(path)


def test_a_picture_that_ends_early_is_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (50, 50, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="cannot be read as a picture"):
        read_picture(tmp_path / "a.png")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(DataError, match="cannot be read"):
        read_picture(tmp_path / "a.png")


def test_names_are_harmless_and_a_class_without_one_has_a_number() -> None:
    assert shown_name(["a\x1b[31mb"], 0) == "a\\x1b[31mb"
    assert shown_name(["a"], 4) == "class 4"
