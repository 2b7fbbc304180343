"""Small trainings that are stopped at a step, and go on."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from support.tiny_training import DRAWING, net, recipe
from toolchain.progress import Silent, Stage
from toolchain.sparsity.checkpoint import save_checkpoint
from toolchain.sparsity.policies import POLICIES
from toolchain.train.interrupt import Stopped
from toolchain.train.recipe import Recipe
from toolchain.train.run import TrainingReport, train_recipe
from toolchain.train.trainer import Epoch


class Crash(BaseException):
    """What ends a process at once: nothing catches it, and nothing is saved."""


def crash() -> None:
    raise Crash


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


class StopAt(Silent):
    """Does something after a step of the training, before its state is saved."""

    def __init__(self, step: int, act: Callable[[], None]) -> None:
        self.step, self.act = step, act

    @contextmanager
    def stage(self, title: str, total: float | None = None) -> Iterator[Stage]:
        yield _Counted(self) if title.startswith("train") else _Counted(StopAt(10**9, crash))
        del total


class _Counted:
    def __init__(self, owner: StopAt) -> None:
        self.owner, self.done = owner, 0.0

    def advance(self, steps: float = 1, detail: str | None = None) -> None:
        del detail
        self.done += steps
        if steps == 1 and self.done == self.owner.step:
            self.owner.act()

    def total(self, steps: float) -> None: ...


def train(chosen: Recipe, folder: Path, **options: Any) -> TrainingReport:
    """Train to the end, or go on."""
    return train_recipe(chosen, folder / "out.safetensors", folder / "run", base=folder, **options)


def stop(
    chosen: Recipe, folder: Path, step: int, act: Callable[[], None] = crash, **options: Any
) -> None:
    """Train to a step, where something ends it."""
    with suppress(Crash, Stopped):
        train(chosen, folder, progress=StopAt(step, act), **options)


def without_times(epochs: list[Epoch]) -> list[Epoch]:
    return [replace(epoch, seconds=0.0) for epoch in epochs]


def assert_alike(one: Path, first: TrainingReport, other: Path, second: TrainingReport) -> None:
    """The files of two runs are the same to the byte, and so is what is told of them."""
    a, b = (load_file(folder / "out.safetensors") for folder in (one, other))
    assert [name for name in a if not torch.equal(a[name], b[name])] == []
    assert (one / "out.safetensors").read_bytes() == (other / "out.safetensors").read_bytes()
    last = [folder.joinpath("run/last.safetensors").read_bytes() for folder in (one, other)]
    assert last[0] == last[1]
    assert without_times(first.epochs) == without_times(second.epochs)
    assert (first.epoch, first.last.epoch) == (second.epoch, second.last.epoch)
    assert first.same_images == second.same_images
    assert first.network == second.network


RECIPES: dict[str, Recipe] = {
    **{policy: recipe(masks={"policy": policy}) for policy in POLICIES},
    "dense": recipe("masks"),
    "dropout and other draws in the model": recipe(
        model={"arguments": {"dropout": 0.4, "noise": True}}
    ),
    "data that draws": recipe(data={"source": DRAWING, "augment": ["mirror", "shift"]}),
    "data that draws in workers": recipe(
        data={"source": DRAWING}, training={"workers": 2, "epochs": 2}
    ),
    "adamw": recipe(optimizer={"kind": "adamw", "learning_rate": 0.01}),
    "pruned": recipe(pruning={"ratio": 0.5, "round_to": 4}),
    "bf16": recipe(training={"precision": "bf16"}),
    "saved every five steps": recipe(training={"checkpoint_every": 5}),
    "saved every step": recipe(training={"checkpoint_every": 1, "epochs": 2}),
    "masks from beginning to end": recipe(schedule={"begin": 0.0, "end": 1.0, "frequency": 3}),
    "masks that are final within an epoch": recipe(schedule={"end": 0.4, "frequency": 3}),
    "statistics that training depends on": recipe(
        model={"factory": "support.tiny_training:net_of_norms"}, schedule={"end": 0.4}
    ),
    "a high rate, so that an epoch within may be the best": recipe(
        optimizer={"learning_rate": 0.15, "cycle": "constant"}, schedule={"end": 0.1}
    ),
    "with a teacher and weights to start from": recipe(
        model={"weights": "start.safetensors"},
        distillation={"weights": "start.safetensors", "weight": 0.5},
    ),
    "taught by what it starts from, pruned": recipe(
        model={"weights": "start.safetensors"},
        distillation={"weight": 0.5},
        pruning={"ratio": 0.5},
    ),
}
"""Whatever keeps a state of its own, or draws."""


def write_start(folder: Path) -> None:
    """Write the weights that some of them start from."""
    torch.manual_seed(7)
    save_checkpoint(folder / "start.safetensors", net())
