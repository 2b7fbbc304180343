"""Trainings of two ranks that take a blink, and data that only one of the ranks cannot read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from support.tiny_training import DrawingImages, write_recipe
from toolchain.progress import Silent
from toolchain.train.recipe import Recipe, load_recipe
from toolchain.train.run import TrainingReport
from toolchain.train.together import Launch, train_network

RANKS = 2
DAMAGED = "support.shared_training:damaged_images"


class DamagedImages(DrawingImages):
    """Images of which one cannot be read; whatever the order, one rank comes to it first."""

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if index == 7:
            raise OSError("image 7 is damaged")
        return super().__getitem__(index)


def damaged_images(split: str) -> DrawingImages:
    return DamagedImages(split) if split == "train" else DrawingImages(split)


def shared_recipe(folder: Path, **changes: dict[str, Any]) -> Recipe:
    """A recipe of two ranks, in a folder."""
    training = {"ranks": RANKS, "checkpoint_every": 1, "epochs": 2, **changes.pop("training", {})}
    path = write_recipe(folder / "recipe.toml", training=training, **changes)
    return load_recipe(path)


def train_shared(recipe: Recipe, folder: Path, launch: Launch | None = None) -> TrainingReport:
    """Train it, into a folder."""
    folder.mkdir(exist_ok=True)
    return train_network(
        recipe,
        folder / "out.safetensors",
        folder / "run",
        base=folder,
        progress=Silent(),
        launch=launch,
    )


def weights(folder: Path) -> dict[str, Tensor]:
    """What came out."""
    return load_file(folder / "out.safetensors")


def files(folder: Path) -> tuple[bytes, bytes]:
    """The same as it lies there: of the best epoch and of the last one."""
    best, last = folder / "out.safetensors", folder / "run/last.safetensors"
    return best.read_bytes(), last.read_bytes()


def ranks_of(parent: int) -> list[int]:
    """The processes that a process has begun as ranks."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            fields = (place / "stat").read_text().rpartition(")")[2].split()
            line = (place / "cmdline").read_bytes()
        except OSError:
            continue
        if int(fields[1]) == parent and b"spawn_main" in line and fields[0] != "Z":
            found.append(int(place.name))
    return sorted(found)


def own_ranks() -> list[int]:
    """Those of this process."""
    return ranks_of(os.getpid())
