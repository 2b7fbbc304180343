"""Arrays, data sets, images, models and programs."""

from __future__ import annotations

import functools
import gzip
import io
import struct
from pathlib import Path

import numpy as np
from PIL import Image

from support.malformed import Bytes, damaged
from support.readers.format import (
    Format,
    deploy_here,
    in_zip,
    saved,
    sound_model,
)
from toolchain.build.elf import read_elf
from toolchain.build.glibc import exported
from toolchain.convert.calibration import load_samples
from toolchain.errors import ModelError
from toolchain.formats.number_files import load_npy, load_npz
from toolchain.tflite_file.graph import read_model
from toolchain.train.image_folder import ImageFiles, check_header
from toolchain.zoo.fashion_mnist import read_idx


@functools.cache
def _arrays() -> tuple[bytes, ...]:
    floats = np.arange(48, dtype=np.float32).reshape(1, 3, 4, 4)
    return tuple(
        saved(lambda stream, array=array: np.save(stream, array))  # type: ignore[misc]
        for array in (floats, floats.astype(np.int8), np.asfortranarray(floats), np.zeros(()))
    )


@functools.cache
def _npz() -> bytes:
    images = np.zeros((4, 1, 28, 28), np.float32)
    return saved(lambda stream: np.savez(stream, images=images, b=np.arange(3)))


def _calibration(path: Path) -> None:
    load_samples(str(path), [(1, 1, 28, 28)])


def _idx(rank: int) -> bytes:
    shape = [2] * rank
    return b"\0\0\x08" + bytes([rank]) + struct.pack(f">{rank}I", *shape) + bytes(2**rank)


def _datasets() -> Bytes:
    return damaged([gzip.compress(_idx(3))]) | damaged([_idx(1), _idx(3)]).map(gzip.compress)


def _tflite() -> Bytes:
    return damaged([sound_model().read_bytes()])


def _inspected(path: Path) -> None:
    read_model(path)
    deploy_here("inspect", str(path))
    deploy_here("inspect", str(path), "--board", "rpi4")
    deploy_here("inspect", str(path), "--json")
    deploy_here("inspect", str(path), "--mask", "0")


def _pictures() -> Bytes:
    picture = Image.fromarray(np.arange(300, dtype=np.uint8).reshape(10, 10, 3))
    made = []
    for kind in ("PNG", "JPEG", "BMP", "GIF", "TIFF", "PPM", "WEBP"):
        stream = io.BytesIO()
        picture.save(stream, kind)
        made.append(stream.getvalue())
    palette = io.BytesIO()
    picture.convert("P").save(palette, "PNG", transparency=3)
    return damaged([*made, palette.getvalue()])


def _picture(path: Path) -> None:
    check_header(path)
    ImageFiles([(path, 0)], 8)[0]


@functools.cache
def _library() -> bytes:
    """A small shared library of this machine, with versions of symbols."""
    found = sorted(Path("/usr/lib").rglob("libdl.so.2")) + sorted(
        Path("/lib").rglob("libutil.so.1")
    )
    return found[0].read_bytes()


def _elf(path: Path) -> None:
    try:
        exported(path)
    finally:
        read_elf(path)


NUMBERS = (
    Format(".npy", "a.npy", lambda: damaged(_arrays()), lambda path: load_npy(path, ModelError)),
    Format(".npz", "a.npz", in_zip(_npz), lambda path: load_npz(path, ModelError)),
    Format("calibration", "c.npz", in_zip(_npz), _calibration),
    Format("IDX", "i.gz", _datasets, read_idx),
    Format(".tflite", "m.tflite", _tflite, _inspected, 0.5),
    Format("image", "a.png", _pictures, _picture),
    Format("ELF", "lib.so", lambda: damaged([_library()]), _elf),
)  # fmt: skip
