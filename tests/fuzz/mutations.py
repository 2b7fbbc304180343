"""Mutations of ``.tflite`` files: each has a number, of which alone it is made."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

_LONG = 64
"""Bytes from which on a buffer holds weights, not numbers that steer."""
_WORDS = (
    0, 1, 2, 3, 7, 0x7F, 0x80, 0xFF, 0x100, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE,
    0xFFFFFFFF, *(struct.unpack("<I", struct.pack("<f", value))[0]
                  for value in (0.0, -1.0, 1e-38, 3e38, float("inf"), float("nan"))),
)  # fmt: skip


@dataclass(frozen=True)
class Seed:
    """A sound model."""

    name: str
    raw: bytes

    @cached_property
    def steering(self) -> npt.NDArray[np.int64]:
        """The offsets of its bytes but for weights."""
        weights = np.zeros(len(self.raw), bool)
        model = schema.Model.GetRootAs(self.raw, 0)
        for index in range(model.BuffersLength()):
            buffer = model.Buffers(index)
            if buffer.DataLength() > _LONG:
                table = buffer._tab
                start = table.Vector(table.Offset(4))
                weights[start : start + buffer.DataLength()] = True
        return np.flatnonzero(~weights)


def load_seeds(folders: Sequence[Path], largest: int = 2 << 20) -> list[Seed]:
    """The ``.tflite`` files of folders, but for those over ``largest`` bytes."""
    files = [path for folder in folders for path in sorted(folder.glob("*.tflite"))]
    return [Seed(path.name, path.read_bytes()) for path in files if path.stat().st_size <= largest]


def mutation(seeds: Sequence[Seed], number: int) -> tuple[str, bytes]:
    """The name of the sound model, and mutation ``number`` of all that there are."""
    random = np.random.default_rng(number)
    # Large models take longer: each gets about the same time.
    weights = np.array([len(seed.raw) ** -0.7 for seed in seeds])
    seed = seeds[int(random.choice(len(seeds), p=weights / weights.sum()))]
    data = bytearray(seed.raw)
    for _ in range(int(random.choice([1, 1, 1, 2, 3, 6]))):
        if len(data) < 16:
            break
        edit = _EDITS[int(random.integers(len(_EDITS)))]
        where = int(random.choice(seed.steering)) if random.random() < 0.95 else None
        place = int(random.integers(len(data))) if where is None else where
        edit(random, data, min(place, len(data) - 5))
    return seed.name, bytes(data)


def _bit(random: np.random.Generator, data: bytearray, place: int) -> None:
    data[place] ^= 1 << int(random.integers(8))


def _byte(random: np.random.Generator, data: bytearray, place: int) -> None:
    data[place] = int(random.integers(256))


def _word(random: np.random.Generator, data: bytearray, place: int) -> None:
    place -= place % 4
    data[place : place + 4] = struct.pack("<I", int(random.choice(_WORDS)))


def _nudge(random: np.random.Generator, data: bytearray, place: int) -> None:
    """Another offset, index or size, near the one that stands there."""
    place -= place % 4
    (value,) = struct.unpack("<I", data[place : place + 4])
    step = int(random.choice([-256, -16, -8, -4, -2, -1, 1, 2, 4, 8, 16, 256]))
    data[place : place + 4] = struct.pack("<I", (value + step) % 2**32)


def _copy(random: np.random.Generator, data: bytearray, place: int) -> None:
    """One part of the file in the place of another."""
    size = int(random.choice([4, 8, 16, 64]))
    source = int(random.integers(max(1, len(data) - size)))
    source -= source % 4
    place -= place % 4
    part = data[source : source + size][: len(data) - place]
    data[place : place + len(part)] = part


def _cut(random: np.random.Generator, data: bytearray, _: int) -> None:
    del data[int(random.integers(16, len(data))) :]


_Edit = Callable[[np.random.Generator, bytearray, int], None]
_EDITS: tuple[_Edit, ...] = (_bit, _bit, _byte, _word, _word, _nudge, _nudge, _copy, _cut)
