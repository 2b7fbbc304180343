"""Networks, data and recipes that train in a blink: three classes of 8x8 images."""

from __future__ import annotations

import contextlib
import os
import random
import sys
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, Subset, TensorDataset

from support.places import REPOSITORY
from toolchain.train.recipe import Recipe

NET = "support.tiny_training:net"
IMAGES = "support.tiny_training:images"
DRAWING = "support.tiny_training:drawing_images"
HELD = "support.tiny_training:held_images"
HOLD = "TINY_HOLD"
"""Names the file of :class:`HeldImages`."""
FASHION = "support.tiny_training:fashion_noise"
EPOCHS, STEPS_PER_EPOCH = 4, 6
STEPS = EPOCHS * STEPS_PER_EPOCH


class Noise(nn.Module):
    """Draws in training from generators that are not torch's."""

    def forward(self, x: Tensor) -> Tensor:
        return x * (0.5 + random.random() + np.random.rand()) if self.training else x  # noqa: S311 - no secret


def net(
    classes: int = 3, *, channels: int = 8, dropout: float = 0.0, side: int = 8, noise: bool = False
) -> nn.Sequential:
    """``[N, 1, 8, 8]`` to ``[N, classes]``: 3x3 convolutions "0" (8x8) and "3" (4x4), 1x1 "6"."""
    return nn.Sequential(
        nn.Conv2d(1, channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.Conv2d(channels, 2 * channels, 3, 2, 1),
        nn.BatchNorm2d(2 * channels),
        nn.ReLU(),
        nn.Conv2d(2 * channels, channels, 1),
        nn.Sequential(nn.Dropout(dropout), Noise() if noise else nn.Identity()),
        nn.Flatten(),
        nn.Linear(channels * (side // 2) ** 2, classes),
    )


def net_of_ten() -> nn.Sequential:
    return net(10)


class SelfMasking(nn.Module):
    """Masks pixels by a buffer of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", torch.ones(8, 8))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.get_buffer("mask")


def self_masking_net() -> nn.Sequential:
    first, *rest = net()
    return nn.Sequential(first, SelfMasking(), *rest)


def net_of_groups() -> nn.Sequential:
    """A network whose channels cannot be pruned."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 3, groups=2), nn.Flatten(), nn.Linear(128, 3)
    )


class Renorm(nn.Module):
    """Normalises by its running statistics in training too (half by them, half by the batch)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        mean = self.get_buffer("running_mean")
        if self.training:
            now = x.mean((0, 2, 3))
            used = 0.5 * (mean + now.detach())
            mean.lerp_(now.detach(), 0.05)
            mean = used
        return x - mean[:, None, None]


def net_of_norms() -> nn.Sequential:
    """A network with every kind of running statistics."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8, momentum=None),
        Renorm(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, 2, 1),
        nn.InstanceNorm2d(8, track_running_stats=True),
        nn.BatchNorm2d(8, track_running_stats=False),
        nn.Flatten(),
        nn.Linear(128, 3),
    )


def net_of_slow_statistics() -> nn.Sequential:
    made = net()
    for layer in made:
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 0.01
    return made


class Sleeps(nn.Module):
    """Gives something else in evaluation: a mistake in a user's code."""

    def forward(self, x: Tensor) -> Tensor:
        return x if self.training else 0.05 * x


def net_that_sleeps() -> nn.Sequential:
    return net().append(Sleeps())


def net_with_weights() -> nn.Sequential:
    """A network whose code brings its weights along."""
    made = net()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return made


def net_that_drops() -> nn.Sequential:
    return net(dropout=0.9)


class TiedNet(nn.Module):
    """Two convolutions with the same weights."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 1, 3, padding=1)
        self.second = nn.Conv2d(1, 1, 3, padding=1)
        self.second.weight = self.first.weight
        self.last = nn.Linear(64, 3)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.last(self.second(self.first(x)).flatten(1)))


def changing_net() -> nn.Sequential:
    """A network whose code changes: with ``$TINY_NET``, ``narrow`` or ``deep``."""
    kind = os.environ.get("TINY_NET")
    made = net(channels=4 if kind == "narrow" else 8)
    return made.append(nn.Linear(3, 3)) if kind == "deep" else made


def colour_net() -> nn.Sequential:
    """``[N, 3, 8, 8]`` to ``[N, 2]``."""
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 2))


def frozen_net() -> nn.Module:
    return net().requires_grad_(requires_grad=False)


def images(split: str) -> TensorDataset:
    """96 to train on and 48 to test on: bars that lie, stand and slope, in noise."""
    count = {"train": 96, "test": 48}[split]
    generator = torch.Generator().manual_seed(count)
    labels = torch.arange(count) % 3
    bars = torch.stack([torch.zeros(8, 8), torch.zeros(8, 8), torch.eye(8)])
    bars[0, 3:5], bars[1, :, 3:5] = 1, 1
    pictures = 2 * bars[labels] + torch.randn(count, 8, 8, generator=generator)
    return TensorDataset(pictures[:, None], labels)


def changing_images(split: str) -> TensorDataset:
    """The first ``$TINY_IMAGES`` of them; with ``$TINY_SWAPPED`` two have each other's label."""
    count = int(os.environ["TINY_IMAGES"])
    pictures, labels = (tensor[:count] for tensor in images(split).tensors)
    if "TINY_SWAPPED" in os.environ:
        labels[:2] = labels[:2].flip(0)
    return TensorDataset(pictures, labels)


class DrawingImages(Dataset[tuple[Tensor, int]]):
    """The same images, changed by a draw from every global generator there is."""

    classes = ("lying", "standing", "sloping")

    def __init__(self, split: str) -> None:
        self.images, self.labels = images(split).tensors

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        drawn = random.random() + float(np.random.rand()) + float(torch.rand(()))  # noqa: S311 - no secret
        return self.images[index] + drawn, int(self.labels[index])


def failing(split: str) -> TensorDataset:
    raise OSError(f"no images to {split} with")


def drawing_images(split: str) -> DrawingImages:
    return DrawingImages(split)


class HeldImages(DrawingImages):
    """The same, of which a process reads no more than the number in a file, while it is there.

    A training that is to be stopped on its way waits there for whoever stops it.
    """

    def __init__(self, split: str) -> None:
        super().__init__(split)
        self._limit, self._read = Path(os.environ.get(HOLD, "/no/limit")), 0

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        self._read += 1
        with contextlib.suppress(FileNotFoundError):
            while self._read > int(self._limit.read_text()):
                time.sleep(0.01)
        return super().__getitem__(index)


def held_images(split: str) -> DrawingImages:
    return HeldImages(split) if split == "train" else DrawingImages(split)


def unlabelled_images(split: str) -> Dataset[tuple[Tensor, int]]:
    """Without ``targets`` or ``classes``: every example has to be read to know the labels."""
    return Subset(DrawingImages(split), range(32))


def fashion_noise(split: str) -> TensorDataset:
    """Ten classes of 28x28 noise, for the network of Fashion-MNIST."""
    generator = torch.Generator().manual_seed(len(split))
    return TensorDataset(
        torch.randn(40, 1, 28, 28, generator=generator), torch.arange(40).remainder(10)
    )


def tables(**changes: dict[str, Any]) -> dict[str, Any]:
    """A recipe of 24 steps as TOML has it; ``training={"seed": 1}`` changes one key of a table."""
    known: dict[str, dict[str, Any]] = {
        "model": {"factory": NET},
        "data": {"source": IMAGES},
        "training": {"epochs": EPOCHS, "batch_size": 16, "threads": 1, "device": "cpu"},
        "schedule": {"frequency": 4, "settle": 0},
        "masks": {"sparsity": 0.25},
    }
    for table, keys in changes.items():
        known[table] = known.get(table, {}) | keys
    return known


def recipe(*without: str, **changes: dict[str, Any]) -> Recipe:
    """The same as a :class:`Recipe`, without some tables."""
    return Recipe.model_validate({k: v for k, v in tables(**changes).items() if k not in without})


def write_recipe(path: Path, *without: str, **changes: dict[str, Any]) -> Path:
    """The same as a file."""
    lines = []
    for table, keys in tables(**changes).items():
        if table not in without:
            lines += [f"[{table}]", *(f"{key} = {_toml(value)}" for key, value in keys.items())]
    path.write_text("\n".join(lines) + "\n")
    return path


def deploy_train(*arguments: str | Path) -> tuple[list[str], dict[str, str]]:
    """The command line of ``deploy train``, and the environment that finds this module."""
    paths = os.pathsep.join([str(REPOSITORY / "tests"), os.environ.get("PYTHONPATH", "")])
    line = [sys.executable, str(REPOSITORY / "deploy.py"), "train", *map(str, arguments)]
    return line, os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}


def saved_since(state: Path, before: int) -> bool:
    """Whether a training has saved its state after a time, as ``st_mtime_ns``."""
    return state.exists() and state.stat().st_mtime_ns != before


def scalars(run: Path, tag: str) -> list[tuple[int, float]]:
    """The steps and values that TensorBoard shows of a run."""
    from tensorboard.backend.event_processing import event_accumulator  # type: ignore[import-untyped]

    events = event_accumulator.EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(tag)]


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{ " + ", ".join(f'"{k}" = {_toml(v)}' for k, v in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return f'"{value}"' if isinstance(value, str | Path) else str(value)
