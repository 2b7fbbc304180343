"""The search for good masks during training: draw, judge, keep the best, freeze it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from toolchain.sparsity.schedule import PolynomialSchedule
from toolchain.sparsity.sparsify import MaskSet


class MaskSearch:
    """Steps the masks of a model through a schedule, in any training loop.

    At each update of the schedule new masks are drawn, at that step's share of the targets. They
    are judged by the mean training loss until the next update. At the schedule's end the draw with
    the lowest loss masks the model at its targets, and training goes on with masks that no longer
    change. A policy whose masks do not vary is only stepped.

    Losses of early draws are compared with those of late ones, as in the published method: the
    network trains on meanwhile, so the choice is mostly among the late ones, whose sparsity is
    nearly the target.

    Call :meth:`step` after each optimizer step, and :meth:`freeze` when training ends. Under
    ``DistributedDataParallel`` every rank does so: losses are averaged over the ranks, and all of
    them get the masks of rank 0.

    Args:
        masks: as :func:`toolchain.sparsity.sparsify.sparsify` gives them, laid on at share 0.
        schedule: when masks change, and by how much.
        seed: of the draws.
    """

    def __init__(self, masks: MaskSet, schedule: PolynomialSchedule, *, seed: int = 0) -> None:
        self.masks, self.schedule = masks, schedule
        self.steps_done = 0
        self.share = 0.0
        """Of the way to the targets that the masks have now."""
        self.frozen = False
        """Whether the final masks are set."""
        self.best_draw: int | None = None
        """The seed of the draw with the lowest loss so far."""
        self.best_loss = math.inf
        self._generator = torch.Generator().manual_seed(seed)
        self._draw: int | None = None
        self._loss_sum = torch.zeros((), dtype=torch.float64)
        self._losses = 0
        self._update()

    def step(self, loss: Tensor | float) -> bool:
        """Take the training loss of a step that was done; says whether masks changed after it.

        Args:
            loss: a scalar. A tensor is not waited for until masks change.
        """
        if self._draw is not None:
            value = loss.detach().double() if isinstance(loss, Tensor) else loss
            self._loss_sum = self._loss_sum + value
            self._losses += 1
        self.steps_done += 1
        return self._update()

    def freeze(self) -> None:
        """Mask the model at its targets with the best draw, for good."""
        if self.frozen:
            return
        self._judge()
        if self.best_draw is None:  # the schedule left no room for a search
            self.best_draw = self._new_draw()
        self.masks.draw(self.best_draw)
        self._draw, self.share, self.frozen = None, 1.0, True

    def state_dict(self) -> dict[str, Any]:
        """What a resumed search needs beside the model's state_dict: tensors and numbers."""
        return {
            "steps_done": self.steps_done,
            "share": self.share,
            "frozen": self.frozen,
            "best_draw": self.best_draw,
            "best_loss": self.best_loss,
            "generator": self._generator.get_state(),
            "draw": self._draw,
            "loss_sum": self._loss_sum.cpu(),
            "losses": self._losses,
            "masks": self.masks.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where :meth:`state_dict` was taken; the model loads its own masks."""
        self.steps_done, self.share = state["steps_done"], state["share"]
        self.frozen, self._draw = state["frozen"], state["draw"]
        self.best_draw, self.best_loss = state["best_draw"], state["best_loss"]
        self._loss_sum, self._losses = state["loss_sum"].clone(), state["losses"]
        self._generator.set_state(state["generator"])
        self.masks.load_state_dict(state["masks"])

    def _update(self) -> bool:
        if self.frozen or not self.schedule.updates_at(self.steps_done):
            return False
        if self.steps_done >= self.schedule.last_step:
            self.freeze()
            return True
        self._judge()
        self._draw = self._new_draw()
        self.share = self.schedule.share_at(self.steps_done)
        self.masks.draw(self._draw, self.share)
        return True

    def _new_draw(self) -> int:
        return int(torch.randint(2**31, (), generator=self._generator))

    def _judge(self) -> None:
        if self._draw is not None and self._losses:
            mean = self._loss_sum / self._losses
            if torch.distributed.is_available() and torch.distributed.is_initialized():
                torch.distributed.all_reduce(mean)
                mean = mean / torch.distributed.get_world_size()
            if mean.item() < self.best_loss:
                self.best_loss, self.best_draw = mean.item(), self._draw
        self._loss_sum, self._losses = torch.zeros((), dtype=torch.float64), 0
