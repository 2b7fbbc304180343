"""Masks as pictures: one pixel of a picture for each pixel of a layer's output."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from toolchain.errors import ModelError
from toolchain.report.page.view import MaskPicture, Masks, Result
from toolchain.storage.cache import sha256_file
from toolchain.tflite_file.graph import read_model
from toolchain.tflite_file.layers import Plane, find_layers

KEPT = (0x2F, 0x7F, 0xC1)
"""The colour of a kept pixel: 3:1 and more against both backgrounds of the page."""
_SUFFIX = ".tflite"


def model_files(paths: Sequence[Path]) -> list[Path]:
    """Files of models: those given, and all of the folders that are given.

    Raises:
        ModelError: a folder has none, or cannot be read.
    """
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        try:
            inside = sorted(item for item in path.iterdir() if item.suffix == _SUFFIX)
        except OSError as error:
            raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
        if not inside:
            raise ModelError(f"{path}: has no {_SUFFIX} file", hint="give a folder of models")
        found += inside
    return list(dict.fromkeys(found))


def masks_of(files: Sequence[Path], results: Sequence[Result]) -> tuple[list[Masks], list[str]]:
    """The masks of those models that results are of, and notes on the others.

    A file is known by its SHA-256, so that pictures are of the very model that was measured.

    Args:
        files: of models.
        results: that have their hashes.

    Raises:
        ModelError: a file cannot be read, or is no model.
    """
    names: dict[str, str] = {}
    for result in results:
        for model in result.models:
            names.setdefault(model.sha256, model.name.removesuffix(" (stock runtime)"))
    found, unknown = dict[str, Masks](), list[str]()
    for file in files:
        layers = list(_pictures(file))  # first: what is no file is told as such
        name = names.get(sha256_file(file))
        if name is None:
            unknown.append(file.name)
        elif layers:
            found.setdefault(name, Masks(model=name, pictures=layers))
    order = {name: index for index, name in enumerate(dict.fromkeys(names.values()))}
    notes = []
    if unknown:
        notes.append(
            f"No result is of these files, so no mask of theirs is shown: {', '.join(unknown)}."
        )
    return sorted(found.values(), key=lambda one: order[one.model]), notes


def _pictures(file: Path) -> Iterator[MaskPicture]:
    """One for each mask; layers that have the same one share a picture."""
    found: dict[bytes, tuple[Plane, list[str]]] = {}
    for layer in find_layers(read_model(file)):
        if layer.mask is not None:
            kept = layer.mask.kept
            found.setdefault(mask_png(kept), (kept, []))[1].append(layer.name)
    for png, (kept, names) in found.items():
        height, width = kept.shape
        yield MaskPicture(layers=names, height=height, width=width, kept=int(kept.sum()), png=png)


def mask_png(kept: Plane) -> bytes:
    """A mask as a PNG of two colours (ISO/IEC 15948): kept pixels blue, others transparent.

    Args:
        kept: ``[H, W]``; True = computed.
    """
    height, width = kept.shape
    rows = np.packbits(kept, axis=1)
    # Each row begins with the number of its filter: 0, none.
    lines = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1).tobytes()
    header = struct.pack(">IIBBBBB", width, height, 1, 3, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        _chunk(kind, content)
        for kind, content in (
            (b"IHDR", header),
            (b"PLTE", bytes((0, 0, 0, *KEPT))),
            (b"tRNS", b"\x00\xff"),
            (b"IDAT", zlib.compress(lines, 9)),
            (b"IEND", b""),
        )
    )


def _chunk(kind: bytes, content: bytes) -> bytes:
    check = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)
