"""A training loop for image classifiers that are small enough for a CPU."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from toolchain.errors import ModelError
from toolchain.progress import Progress, Silent
from toolchain.sparsity.search import MaskSearch

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""``loss(logits [N, classes], labels [N], images [N, C, H, W])``, a scalar; a loss that distils
runs its teacher on the images."""

Augment = Callable[[Tensor, torch.Generator], Tensor]
"""``augment(images [N, C, H, W], generator)``, images of the same shape."""


@dataclass(frozen=True)
class Settings:
    """How to train: SGD with momentum, one cycle of the learning rate."""

    epochs: int = 10
    batch_size: int = 128
    learning_rate: float = 0.1
    """The peak of the cycle."""
    momentum: float = 0.9
    weight_decay: float = 5e-4
    seed: int = 0
    """Of the order of the images and of the augmentation."""

    def steps(self, images: int) -> int:
        """Optimizer steps of the whole training on so many images; a last odd batch is left out."""
        return self.epochs * (images // self.batch_size)


def cross_entropy(logits: Tensor, labels: Tensor, images: Tensor) -> Tensor:  # noqa: ARG001
    """The plain loss of a classifier."""
    return functional.cross_entropy(logits, labels)


def train(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    settings: Settings,
    *,
    search: MaskSearch | None = None,
    loss: Loss = cross_entropy,
    augment: Augment | None = None,
    progress: Progress | None = None,
    title: str = "train",
) -> list[float]:
    """Train a classifier in place; it ends in eval mode, with its masks frozen.

    On one machine the same seeds and number of threads give the same weights.

    Args:
        model: takes ``[N, C, H, W]``, gives logits ``[N, classes]``.
        images: float32 ``[M, C, H, W]``, normalised.
        labels: int64 ``[M]``.
        settings: how to train.
        search: sets the masks meanwhile; its schedule counts ``settings.steps(M)`` steps.
        loss: what is minimised.
        augment: changes each batch before it is used.
        progress: where epochs are shown.
        title: of the stage shown.

    Returns:
        The mean loss of each epoch.

    Raises:
        ModelError: there are fewer images than a batch holds, or the loss is no longer finite.
    """
    batches = len(images) // settings.batch_size
    if not batches:
        raise ModelError(
            f"{len(images)} images do not fill one batch of {settings.batch_size}",
            hint="use more images or a smaller batch",
        )
    generator = torch.Generator().manual_seed(settings.seed)
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=settings.learning_rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        nesterov=True,
    )
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.learning_rate, total_steps=settings.steps(len(images))
    )
    history: list[float] = []
    step = 0
    with (progress or Silent()).stage(title, total=settings.steps(len(images))) as stage:
        for epoch in range(settings.epochs):
            model.train()
            losses = []
            order = torch.randperm(len(images), generator=generator)
            for chosen in order[: batches * settings.batch_size].view(batches, -1):
                if search:
                    search.before_step(step)
                batch = images[chosen]
                if augment:
                    batch = augment(batch, generator)
                optimizer.zero_grad()
                value = loss(model(batch), labels[chosen], batch)
                value.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                cycle.step()
                losses.append(value.item())
                if not math.isfinite(losses[-1]):
                    raise ModelError(
                        f"training diverged: the loss at step {step} is {losses[-1]}",
                        hint="use a lower learning rate",
                    )
                if search:
                    search.after_step(losses[-1])
                step += 1
                stage.advance(1, f"epoch {epoch + 1}/{settings.epochs}, loss {losses[-1]:.3f}")
            history.append(math.fsum(losses) / batches)
    if search:
        search.finish()
    model.eval()
    return history


def evaluate(model: nn.Module, images: Tensor, labels: Tensor, *, batch_size: int = 500) -> float:
    """The share of images that a classifier gets right, 0 to 1; the model ends in eval mode."""
    model.eval()
    right = 0
    with torch.no_grad():
        for first in range(0, len(images), batch_size):
            logits = model(images[first : first + batch_size])
            right += int((logits.argmax(1) == labels[first : first + batch_size]).sum())
    return right / len(images)


def mirror(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each image with a chance of one half; ``[N, C, H, W]``, left to right."""
    chosen = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(chosen[:, None, None, None], images.flip(3), images)
