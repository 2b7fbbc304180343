"""How long to train, in which batches, at which rate: advice by the size of the data.

These are places to begin, not the best there are. They keep three things in sight: an epoch of few
steps leaves BatchNorm and the search for masks little to work with; a network needs a number of
steps, not of epochs; and the rate goes with the batch (Goyal and others, arXiv 1706.02677).
"""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict

Start = Literal["nothing", "other data", "this data"]
"""What the weights know that training starts from."""

_SMALLEST, _LARGEST = 8, 128
_STEPS_AN_EPOCH = 25
_SETTLE = 200


class _Plan(BaseModel):
    model_config = ConfigDict(frozen=True)


class Advice(_Plan):
    """How to train on so many images."""

    start: Start
    images: int
    batch_size: int
    batch_why: str
    epochs: int
    epochs_why: str
    learning_rate: float
    """The peak of one cycle of SGD."""
    rate_why: str
    weight_decay: float
    steps: int
    """Optimizer steps of the whole run."""


class MaskSteps(_Plan):
    """When masks change, in optimizer steps; keys of ``[schedule]``."""

    begin_step: int
    end_step: int
    frequency: int
    settle: int


class _Kind(_Plan):
    steps: int
    """That are wanted."""
    least: int
    """Epochs."""
    most: int
    rate: float
    """For a batch of 128."""
    rate_why: str
    weight_decay: float


_KINDS: dict[Start, _Kind] = {
    "nothing": _Kind(
        steps=10_000,
        least=30,
        most=200,
        rate=0.1,
        rate_why="random weights bear large steps",
        weight_decay=5e-4,
    ),
    "other data": _Kind(
        steps=2_000,
        least=5,
        most=60,
        rate=0.02,
        rate_why="small steps keep what other data has taught",
        weight_decay=1e-4,
    ),
    "this data": _Kind(
        steps=2_000,
        least=5,
        most=60,
        rate=0.05,
        rate_why="half of a first training's, to keep what the dense network has learnt",
        weight_decay=1e-4,
    ),
}


def advise(images: int, start: Start, *, epochs: int | None = None) -> Advice:
    """How to train on so many images.

    Args:
        images: to train on, at least 1.
        start: what the first weights know.
        epochs: in place of what would be advised.
    """
    kind = _KINDS[start]
    batch = _batch_size(images)
    each = images // batch
    wanted = min(max(math.ceil(kind.steps / each), kind.least), kind.most)
    chosen = epochs or wanted
    why = f"{chosen * each} steps of {each} an epoch"
    if epochs is None:
        why += f"; some {kind.steps} are wanted, in {kind.least} to {kind.most} epochs"
    elif epochs != wanted:
        why += f"; advised: {wanted}"
    return Advice(
        start=start,
        images=images,
        batch_size=batch,
        batch_why=f"an epoch of {images} images is {each} steps",
        epochs=chosen,
        epochs_why=why,
        learning_rate=_two_digits(kind.rate * batch / _LARGEST),
        rate_why=f"peak; {kind.rate_why}; it goes with the batch",
        weight_decay=kind.weight_decay,
        steps=chosen * each,
    )


def mask_steps(steps: int) -> MaskSteps:
    """When masks grow in a run of so many steps: in its first quarter, so that most of it is left.

    Args:
        steps: of the whole run.
    """
    grow = max(min(steps // 5, 1000), 1)
    begin = min(steps // 20, 100)
    return MaskSteps(
        begin_step=begin,
        end_step=begin + grow,
        frequency=max(grow // 10, 1),
        settle=min(_SETTLE, steps // 2),
    )


def _batch_size(images: int) -> int:
    """The largest power of two that leaves an epoch some steps."""
    size = _LARGEST
    while size > _SMALLEST and images // size < _STEPS_AN_EPOCH:
        size //= 2
    return min(size, images)


def _two_digits(value: float) -> float:
    return float(f"{value:.2g}")
