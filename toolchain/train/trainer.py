"""The training loop: a recipe and its data in, trained weights and masks out.

Whatever happens at a step is a function of the recipe and of the state before it, so that a run
that is stopped anywhere and resumed ends with the same weights, bit for bit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from toolchain.errors import DeployError, ModelError, RecipeError, failure
from toolchain.progress import Progress, Silent
from toolchain.train.batches import derived_seed, evaluation_batches, seeded
from toolchain.train.data import Data
from toolchain.train.interrupt import Stopped, StopRequest
from toolchain.train.recipe import Optimizer, Recipe
from toolchain.train.setup import Student, training_batches

_EVALUATION_BATCH = 500
_CYCLE_START = 0.3  # the part of a one-cycle in which the learning rate rises


@dataclass(frozen=True)
class Epoch:
    """How one epoch went."""

    number: int
    """From 1."""
    step: int
    """Optimizer steps done at its end."""
    loss: float
    """Mean training loss."""
    accuracy: float
    """On the test images, 0 to 1."""
    sparsity: float
    """Mean share of masked pixels, over the masked layers."""
    learning_rate: float
    """At its end."""
    seconds: float


class Trainer:
    """One training run, where it stands, and how it goes on.

    Args:
        recipe: how to train.
        data: images to train and test on.
        student: the model with its masks, search and loss, see
            :func:`toolchain.train.setup.build_student`.

    Raises:
        DataError: there are fewer images than a batch holds.
        ModelError: the model has nothing to train.
        RecipeError: the recipe asks for a GPU that is not there.
    """

    def __init__(self, recipe: Recipe, data: Data, student: Student) -> None:
        self.recipe, self.data, self.student = recipe, data, student
        training = recipe.training
        self.device = _device(training.device)
        self._batches = training_batches(recipe, data)
        self.steps_per_epoch = self._batches.steps_per_epoch
        self.total_steps = training.epochs * self.steps_per_epoch
        self.model = student.model.to(self.device)
        student.loss.to(self.device)
        self._forward = (
            cast(nn.Module, torch.compile(self.model)) if training.compile else self.model
        )
        self._optimizer = _optimizer(recipe.optimizer, self.model)
        self.steps_done = 0
        self.history: list[Epoch] = []
        self._loss_sum, self._seconds = 0.0, 0.0

    def train(
        self,
        *,
        progress: Progress | None = None,
        title: str = "train",
        on_step: Callable[[int, float, float], None] | None = None,
        on_epoch: Callable[[Epoch], None] | None = None,
        save: Callable[[], None] | None = None,
        stop: StopRequest | None = None,
    ) -> list[Epoch]:
        """Train to the end; the model ends in eval mode with its masks frozen.

        Args:
            progress: where steps are shown.
            title: of the stage shown.
            on_step: told the number of steps done, the loss and the learning rate.
            on_epoch: told about each finished epoch.
            save: called where a state should be saved.
            stop: looked at after each step.

        Raises:
            ModelError: the model fails on a batch, or the loss is no longer finite.
            Stopped: ``stop`` was set; ``save`` was called before.
        """
        every = self.recipe.training.checkpoint_every or self.steps_per_epoch
        shown = self._shown()
        with (progress or Silent()).stage(title, self.total_steps) as stage:
            stage.advance(self.steps_done, shown)
            steps = self._batches.iterate(self.steps_done, self.total_steps)
            for images, labels in steps:
                started = time.monotonic()
                rate = self._set_rate()
                loss = self._step(images, labels)
                self._seconds += time.monotonic() - started
                if on_step:
                    on_step(self.steps_done, loss, rate)
                stage.advance(1, f"{self._shown()}, loss {loss:.3f}")
                if self.steps_done % self.steps_per_epoch == 0:
                    self._end_epoch()
                    stage.advance(0, f"{self._shown()}, loss {loss:.3f}")
                    if on_epoch:
                        on_epoch(self.history[-1])
                asked = stop.signal_number if stop else None
                ended = self.steps_done == self.total_steps
                if save and (asked or ended or self.steps_done % every == 0):
                    save()
                if asked and not ended:
                    raise Stopped(self.steps_done, asked)
        self.model.eval()
        return self.history

    def evaluate(self) -> float:
        """The share of test images that the model gets right, 0 to 1; it ends in eval mode."""
        workers = self.recipe.training.workers
        return evaluate(self.model, self.data, self.device, workers=workers)

    def state_dict(self) -> dict[str, Any]:
        """Where the run stands: tensors, numbers and texts only."""
        search = self.student.search
        return {
            "steps_done": self.steps_done,
            "model": self.model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "search": search.state_dict() if search else None,
            "history": [asdict(epoch) for epoch in self.history],
            "loss_sum": self._loss_sum,
            "seconds": self._seconds,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where :meth:`state_dict` was taken."""
        self.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        if self.student.search:
            self.student.search.load_state_dict(state["search"])
        self.steps_done = state["steps_done"]
        self.history = [Epoch(**epoch) for epoch in state["history"]]
        self._loss_sum, self._seconds = state["loss_sum"], state["seconds"]

    def _step(self, images: Tensor, labels: Tensor) -> float:
        self.model.train()
        images, labels = images.to(self.device), labels.to(self.device)
        self._optimizer.zero_grad()
        # Dropout and the like: what a step draws depends on the seed and the step alone.
        seed = derived_seed("step", self.recipe.training.seed, self.steps_done)
        with seeded(seed):
            if self.device.type == "cuda":
                torch.cuda.manual_seed_all(seed)
            value = self._loss(images, labels)
            value.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        loss = float(value.item())
        if not math.isfinite(loss):
            raise ModelError(
                f"training diverged: the loss at step {self.steps_done} is {loss}",
                hint="use a lower learning rate",
            )
        self.steps_done += 1
        self._loss_sum += loss
        search = self.student.search
        if search:
            search.step(loss)
            if self.steps_done == self.total_steps:
                search.freeze()
        return loss

    def _loss(self, images: Tensor, labels: Tensor) -> Tensor:
        half = self.recipe.training.precision == "bf16"
        try:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
                logits = self._forward(images)
            return cast(Tensor, self.student.loss(logits.float(), labels, images))
        except DeployError:
            raise
        except Exception as error:  # the code of the model is the user's
            doing = f"training {self.student.factory} on {len(images)} images"
            raise failure(ModelError, doing, error) from error

    def _set_rate(self) -> float:
        optimizer = self.recipe.optimizer
        share = rate_share(optimizer, self.steps_done, self.total_steps)
        for group in self._optimizer.param_groups:
            group["lr"] = optimizer.learning_rate * share
        return optimizer.learning_rate * share

    def _end_epoch(self) -> None:
        started = time.monotonic()
        accuracy = self.evaluate()
        self._seconds += time.monotonic() - started
        self.history.append(
            Epoch(
                number=self.steps_done // self.steps_per_epoch,
                step=self.steps_done,
                loss=self._loss_sum / self.steps_per_epoch,
                accuracy=accuracy,
                sparsity=self.student.sparsity(),
                learning_rate=float(self._optimizer.param_groups[0]["lr"]),
                seconds=round(self._seconds, 2),
            )
        )
        self._loss_sum, self._seconds = 0.0, 0.0

    def _shown(self) -> str:
        epoch = min(self.steps_done // self.steps_per_epoch + 1, self.recipe.training.epochs)
        accuracy = f", accuracy {self.history[-1].accuracy:.2%}" if self.history else ""
        return f"epoch {epoch}/{self.recipe.training.epochs}{accuracy}"


def rate_share(optimizer: Optimizer, step: int, total: int) -> float:
    """The learning rate at a step, as a share of its peak."""
    way = min(step / max(total, 1), 1.0)
    if optimizer.cycle == "constant":
        return 1.0
    if optimizer.cycle == "one-cycle":
        # Smith and Topin (2017), cosine shaped: from 1/25 up to the peak, then down to nothing.
        if way < _CYCLE_START:
            return 0.04 + 0.96 * (1 - math.cos(math.pi * way / _CYCLE_START)) / 2
        way = (way - _CYCLE_START) / (1 - _CYCLE_START)
    return (1 + math.cos(math.pi * way)) / 2


def evaluate(
    model: nn.Module, data: Data, device: torch.device | None = None, *, workers: int = 0
) -> float:
    """The share of the test images that a classifier gets right, 0 to 1; it ends in eval mode."""
    model.eval()
    right = count = 0
    with torch.no_grad():
        for images, labels in evaluation_batches(data.test, _EVALUATION_BATCH, workers=workers):
            logits = model(images.to(device))
            right += int((logits.argmax(1) == labels.to(device)).sum())
            count += len(labels)
    return right / count


def _optimizer(chosen: Optimizer, model: nn.Module) -> torch.optim.Optimizer:
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ModelError("the model has no parameters to train", hint="they may all be frozen")
    if chosen.kind == "adamw":
        return torch.optim.AdamW(
            model.parameters(), lr=chosen.learning_rate, weight_decay=chosen.weight_decay
        )
    return torch.optim.SGD(
        model.parameters(),
        lr=chosen.learning_rate,
        momentum=chosen.momentum,
        weight_decay=chosen.weight_decay,
        nesterov=chosen.momentum > 0,
    )


def _device(name: str) -> torch.device:
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise RecipeError(
            "training.device: there is no GPU here that torch can use", hint='use "auto" or "cpu"'
        )
    if name == "auto":
        name = "cuda" if there else "cpu"
    return torch.device(name)
