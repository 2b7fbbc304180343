"""The training loop: a recipe and its data in, trained weights and masks out.

Whatever happens at a step is a function of the recipe and of the state before it, so that a run
that is stopped anywhere and resumed ends with the same weights, on CPUs bit for bit.

BatchNorm's running statistics are measured anew when the masks become final and at the end of each
epoch, before it is judged: what training leaves in them describes the weights of some steps ago.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from toolchain.errors import DeployError, ModelError, RecipeError, failure
from toolchain.progress import Progress, Silent
from toolchain.sparsity.statistics import measure_statistics
from toolchain.train.batches import derived_seed, evaluation_batches, seeded
from toolchain.train.data import Data
from toolchain.train.interrupt import Stop, Stopped
from toolchain.train.ranks import Ranks
from toolchain.train.recipe import Optimizer, Recipe
from toolchain.train.setup import Student, training_batches

_EVALUATION_BATCH = 500
STATISTICS_IMAGES = 4096
"""Training images, at most, that BatchNorm's statistics are measured on."""
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
    final: bool
    """Whether the masks were final at its end; always where there are none."""
    learning_rate: float
    """At its end."""
    seconds: float


@dataclass(frozen=True, eq=False)
class Best:
    """The weights and masks of the best epoch until now, of those with final masks."""

    epoch: int
    """Its number; of epochs with the same accuracy the last one's."""
    model: Mapping[str, Tensor]
    """The model's state_dict at its end."""


@dataclass(frozen=True)
class SameImages:
    """How a model does on the same training images in training and in evaluation mode.

    Where the two are far apart, it is not the network that was trained which goes to the board:
    statistics of BatchNorm that do not fit, dropout, or code that asks for the mode.
    """

    images: int
    training_loss: float
    evaluation_loss: float
    training_accuracy: float
    """0 to 1."""
    evaluation_accuracy: float

    @property
    def far_apart(self) -> bool:
        """Whether the losses differ by more than half of the smaller one, and by 0.1 at least."""
        one, other = self.training_loss, self.evaluation_loss
        return not abs(one - other) <= max(0.1, 0.5 * min(one, other))


class Trainer:
    """One training run, where it stands, and how it goes on.

    Args:
        recipe: how to train.
        data: images to train and test on.
        student: the model with its masks, search and loss, see
            :func:`toolchain.train.setup.build_student`.
        ranks: the processes that train it together.

    Raises:
        DataError: there are fewer images than a batch holds.
        ModelError: the model has nothing to train.
        RecipeError: the recipe asks for a GPU that is not there.
    """

    def __init__(
        self,
        recipe: Recipe,
        data: Data,
        student: Student,
        ranks: Ranks = Ranks(),  # noqa: B008 (frozen)
    ) -> None:
        self.recipe, self.data, self.student, self.ranks = recipe, data, student, ranks
        training = recipe.training
        self.device = ranks.device or _device(training.device)
        self._batches = training_batches(recipe, data, ranks)
        self.steps_per_epoch = self._batches.steps_per_epoch
        self.total_steps = training.epochs * self.steps_per_epoch
        self.model = student.model.to(self.device)
        student.loss.to(self.device)
        self._optimizer = _optimizer(recipe.optimizer, self.model)
        self._forward = ranks.parallel(
            cast(nn.Module, torch.compile(self.model)) if training.compile else self.model
        )
        self.steps_done = 0
        self.history: list[Epoch] = []
        self.best: Best | None = None
        """``None`` until an epoch ended with final masks; the last one does."""
        self._loss_sum, self._seconds = 0.0, 0.0

    def train(
        self,
        *,
        progress: Progress | None = None,
        title: str = "train",
        on_step: Callable[[int, float, float], None] | None = None,
        on_epoch: Callable[[Epoch], None] | None = None,
        save: Callable[[], None] | None = None,
        stop: Stop | None = None,
    ) -> list[Epoch]:
        """Train to the end; the model ends in eval mode with its masks frozen.

        It is the last epoch's then; :attr:`best` holds the best one's.

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
                loss, final = self._step(images, labels)
                if final and self.steps_done % self.steps_per_epoch:
                    self._measure_statistics()  # at the end of an epoch it is done anyway
                self._seconds += time.monotonic() - started
                if on_step:
                    on_step(self.steps_done, loss, rate)
                stage.advance(1, f"{self._shown()}, loss {loss:.3f}")
                if self.steps_done % self.steps_per_epoch == 0:
                    self._end_epoch()
                    stage.advance(0, f"{self._shown()}, loss {loss:.3f}")
                    if on_epoch:
                        on_epoch(self.history[-1])
                asked = self.ranks.most((stop.signal_number or 0) if stop else 0)
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
        return evaluate(self.model, self.data, self.device, workers=workers, ranks=self.ranks)

    def same_images(self) -> SameImages:
        """Compare both modes on training images as they are; the model ends in eval mode.

        Raises:
            ModelError: the model fails on a batch.
            DataError: an image cannot be read.
        """
        kept = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        sums = dict.fromkeys(("training_loss", "evaluation_loss", "right", "evaluation_right"), 0.0)
        count = 0
        for number, (images, labels) in enumerate(self._batches.unchanged(STATISTICS_IMAGES)):
            images, labels = images.to(self.device), labels.to(self.device)
            for mode, right in (("training", "right"), ("evaluation", "evaluation_right")):
                self.model.train(mode == "training")
                seed = derived_seed("modes", number, *self.ranks.seeds)
                with torch.no_grad(), self._seeded(seed):
                    logits, loss = self._outcome(self.model, images, labels)
                sums[f"{mode}_loss"] += float(loss) * len(labels)
                sums[right] += int((logits.argmax(1) == labels).sum())
                for name, buffer in self.model.named_buffers():
                    buffer.copy_(kept[name])
            count += len(labels)
        self.model.eval()
        *totals, counted = self.ranks.totals([*sums.values(), count])
        sums, count = dict(zip(sums, totals, strict=True)), int(counted)
        return SameImages(
            images=count,
            training_loss=sums["training_loss"] / count,
            evaluation_loss=sums["evaluation_loss"] / count,
            training_accuracy=sums["right"] / count,
            evaluation_accuracy=sums["evaluation_right"] / count,
        )

    def take_best(self) -> Epoch:
        """Give the model the weights, masks and statistics of the best epoch, which is returned."""
        if self.best is None:
            raise RuntimeError("no epoch has ended with final masks yet")
        self.model.load_state_dict(self.best.model)
        return self.history[self.best.epoch - 1]

    def state_dict(self) -> dict[str, Any]:
        """Where the run stands: tensors, numbers and texts only."""
        search = self.student.search
        return {
            "steps_done": self.steps_done,
            "model": self.model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "search": search.state_dict() if search else None,
            "history": [asdict(epoch) for epoch in self.history],
            "best": {"epoch": self.best.epoch, "model": self.best.model} if self.best else None,
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
        self.best = Best(**state["best"]) if state["best"] else None
        self._loss_sum, self._seconds = state["loss_sum"], state["seconds"]

    def _step(self, images: Tensor, labels: Tensor) -> tuple[float, bool]:
        """One optimizer step: its loss, and whether it made the masks final."""
        self.model.train()
        self.ranks.share_buffers(self.model)
        images, labels = images.to(self.device), labels.to(self.device)
        self._optimizer.zero_grad()
        # Dropout and the like: what a step draws depends on the seed, the step and the rank alone.
        parts = (self.recipe.training.seed, self.steps_done, *self.ranks.seeds)
        with self._seeded(derived_seed("step", *parts)):
            half = self.recipe.training.precision == "bf16"
            _, value = self._outcome(self._forward, images, labels, half=half)
            value.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        loss = self.ranks.mean(float(value.item()))
        if not math.isfinite(loss):
            raise ModelError(
                f"training diverged: the loss at step {self.steps_done} is {loss}",
                hint="use a lower learning rate",
            )
        self.steps_done += 1
        self._loss_sum += loss
        search = self.student.search
        if search is None or search.frozen:
            return loss, False
        search.step(loss)
        if self.steps_done == self.total_steps:
            search.freeze()
        return loss, search.frozen

    def _outcome(
        self, forward: nn.Module, images: Tensor, labels: Tensor, *, half: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Logits and loss."""
        try:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
                logits = forward(images.clone())  # the loss may need them as they are
            logits = logits.float()
            return logits, cast(Tensor, self.student.loss(logits, labels, images))
        except DeployError:
            raise
        except Exception as error:  # the code of the model is the user's
            self.ranks.blamed(error)
            doing = f"training {self.student.factory} on {len(images)} images"
            raise failure(ModelError, doing, error) from error

    def _measure_statistics(self) -> None:
        """With the weights and masks of now, on training images as they are.

        What training does next depends on it only where a layer's training does on its statistics.
        """
        try:
            measure_statistics(self.model, self._batches.unchanged(STATISTICS_IMAGES))
        except DeployError:
            raise
        except Exception as error:
            self.ranks.blamed(error)
            doing = f"measuring BatchNorm's statistics of {self.student.factory}"
            raise failure(ModelError, doing, error) from error

    @contextmanager
    def _seeded(self, seed: int) -> Iterator[None]:
        with seeded(seed):
            if self.device.type == "cuda":
                torch.cuda.manual_seed_all(seed)
            yield

    def _set_rate(self) -> float:
        optimizer = self.recipe.optimizer
        share = rate_share(optimizer, self.steps_done, self.total_steps)
        for group in self._optimizer.param_groups:
            group["lr"] = optimizer.learning_rate * share
        return optimizer.learning_rate * share

    def _end_epoch(self) -> None:
        started = time.monotonic()
        self._measure_statistics()
        accuracy = self.evaluate()
        final = self.student.search is None or self.student.search.frozen
        self._seconds += time.monotonic() - started
        self.history.append(
            Epoch(
                number=self.steps_done // self.steps_per_epoch,
                step=self.steps_done,
                loss=self._loss_sum / self.steps_per_epoch,
                accuracy=accuracy,
                sparsity=self.student.sparsity(),
                final=final,
                learning_rate=float(self._optimizer.param_groups[0]["lr"]),
                seconds=round(self._seconds, 2),
            )
        )
        self._loss_sum, self._seconds = 0.0, 0.0
        before = self.history[self.best.epoch - 1].accuracy if self.best else -1.0
        if final and accuracy >= before:
            state = self.model.state_dict()
            own = {name: _on_the_cpu(value) for name, value in state.items()}
            self.best = Best(self.history[-1].number, own)

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
    model: nn.Module,
    data: Data,
    device: torch.device | None = None,
    *,
    workers: int = 0,
    ranks: Ranks = Ranks(),  # noqa: B008 (frozen)
) -> float:
    """The share of the test images that a classifier gets right, 0 to 1; it ends in eval mode."""
    model.eval()
    right = count = 0
    with torch.no_grad():
        batches = evaluation_batches(data.test, _EVALUATION_BATCH, workers=workers, ranks=ranks)
        for images, labels in batches:
            logits = model(images.to(device))
            right += int((logits.argmax(1) == labels.to(device)).sum())
            count += len(labels)
    total, of = ranks.totals([right, count])
    return total / of


def _on_the_cpu(value: Any) -> Any:
    """A copy; what is no tensor (a module's extra state) as it is."""
    return value.detach().to("cpu", copy=True) if isinstance(value, Tensor) else value


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
