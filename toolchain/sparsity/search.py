"""The search for good masks during training: try random planes, keep the best, freeze it."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from toolchain.sparsity.masked_conv import MaskedConv2d
from toolchain.sparsity.planes import Size, masks_from_plane, random_plane
from toolchain.sparsity.schedule import PolynomialSchedule


class MaskSearch:
    """Sets the masks of a model while any training loop trains it.

    At each update of the schedule a new random plane is drawn and masks every layer at the sparsity
    of that step. The plane is judged by the mean training loss until the next update. At the
    schedule's end the plane with the lowest loss masks the model at the target sparsity, and
    training goes on with masks that no longer change.

    Losses of early planes are compared with those of late ones, as in the published method: the
    network trains on meanwhile, so the choice is mostly among the late planes, whose sparsity is
    nearly the target.

    Call :meth:`before_step`, train one step, call :meth:`after_step`; :meth:`finish` at the end.

    Args:
        layers: the masked layers by name, as :func:`toolchain.sparsity.planes.sparsify` gives them.
        plane_size: height and width of the model's input.
        schedule: when masks change, and to which sparsity.
        seed: of the planes.
    """

    def __init__(
        self,
        layers: Mapping[str, MaskedConv2d],
        plane_size: Size,
        schedule: PolynomialSchedule,
        *,
        seed: int = 0,
    ) -> None:
        self._layers = dict(layers)
        self._size = plane_size
        self._schedule = schedule
        self._generator = torch.Generator().manual_seed(seed)
        self._plane: Tensor | None = None
        self._losses: list[float] = []
        self.best_plane: Tensor | None = None
        """The plane with the lowest loss so far, ``[height, width]``."""
        self.best_loss = math.inf
        self.sparsity = 0.0
        """That the masks have now."""
        self.frozen = False
        """Whether the final masks are set."""

    def before_step(self, step: int) -> bool:
        """Set new masks if the schedule asks for it; says whether it did.

        Args:
            step: optimizer steps done so far.
        """
        if self.frozen or not self._schedule.updates_at(step):
            return False
        if step >= self._schedule.last_step:
            self.finish()
        else:
            self._judge()
            self._plane = random_plane(self._size, self._generator)
            self._apply(self._plane, self._schedule.sparsity_at(step))
        return True

    def after_step(self, loss: float) -> None:
        """Tell the training loss of the step that was done."""
        if self._plane is not None:
            self._losses.append(loss)

    def finish(self) -> None:
        """Freeze the best plane at the target sparsity; nothing happens if that was done before."""
        if self.frozen:
            return
        self._judge()
        if self.best_plane is None:  # the schedule left no room for a search
            self.best_plane = random_plane(self._size, self._generator)
        self._apply(self.best_plane, self._schedule.target)
        self._plane = None
        self.frozen = True

    def _judge(self) -> None:
        if self._plane is not None and self._losses:
            mean = math.fsum(self._losses) / len(self._losses)
            if mean < self.best_loss:
                self.best_loss, self.best_plane = mean, self._plane
        self._losses = []

    def _apply(self, plane: Tensor, sparsity: float) -> None:
        sizes = {n: (layer.mask.shape[0], layer.mask.shape[1]) for n, layer in self._layers.items()}
        for name, mask in masks_from_plane(plane, sizes, sparsity).items():
            self._layers[name].set_mask(mask)
        self.sparsity = sparsity
