"""The search for good masks while ``fit`` runs: draw, judge, keep the best, freeze it."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np

from toolchain.errors import ModelError
from toolchain.keras.sparsify import MaskSet
from toolchain.sparsity.schedule import PolynomialSchedule


class MaskSchedule(keras.callbacks.Callback):  # type: ignore[misc]
    """Steps the masks of a model through a schedule, as the paper trains (arXiv 2309.06626).

    Sparsity grows from ``begin`` to ``end``, fractions of all steps of ``fit``. Every ``frequency``
    steps new masks are drawn, at that step's share of the targets. They are judged by the mean
    training loss until the next draw. At ``end`` the draw with the lowest loss masks the model at
    its targets, and training goes on with masks that no longer change.
    :class:`toolchain.sparsity.search.MaskSearch` does the same for torch.

    A callback is good for one ``fit``.

    Args:
        masks: as :func:`toolchain.keras.sparsify.sparsify` gives them, laid on at share 0.
        begin: where sparsity begins to grow.
        end: where masks are final.
        frequency: steps between two draws.
        power: of the polynomial by which sparsity grows.
        settle: least number of steps with final masks, whatever ``end`` says.
        seed: of the draws.
    """

    def __init__(
        self,
        masks: MaskSet,
        *,
        begin: float = 0.1,
        end: float = 0.9,
        frequency: int = 100,
        power: float = 2.0,
        settle: int = 200,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self._given: dict[str, Any] = {
            **{"begin": begin, "end": end, "frequency": frequency},
            **{"power": power, "settle": settle},
        }
        PolynomialSchedule(1, **self._given)  # what is wrong is told now
        self.masks = masks
        self.schedule: PolynomialSchedule | None = None
        """Of all steps; known when training begins."""
        self.steps_done = 0
        self.share = 0.0
        """Of the way to the targets that the masks have now."""
        self.frozen = False
        """Whether the final masks are set."""
        self.best_draw: int | None = None
        """The seed of the draw with the lowest loss so far."""
        self.best_loss = math.inf
        self._generator = np.random.default_rng(seed)
        self._draw: int | None = None
        self._losses = _Losses()

    def on_train_begin(self, logs: Any = None) -> None:  # noqa: ARG002
        """Find how many steps there are.

        Raises:
            ModelError: it cannot be known, or another ``fit`` had this callback.
        """
        if self.schedule is not None:
            raise ModelError(
                "a MaskSchedule is good for one training", hint="make a new one for the next fit"
            )
        steps = self.params.get("steps")
        if not steps:
            raise ModelError(
                "fit does not know how many steps an epoch has, and the masks' schedule needs it",
                hint="give fit steps_per_epoch",
            )
        self._steps_per_epoch = int(steps)
        total = int(self.params["epochs"]) * self._steps_per_epoch
        self.schedule = PolynomialSchedule(total, **self._given)
        self._update(0)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
        """Keras' own mean of the loss begins anew."""
        self._epoch = epoch
        self._losses.new_epoch()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Take the loss of a step that was done, and change the masks where it is time to.

        Args:
            batch: of the epoch, from 0.
            logs: of Keras, with ``loss``: the mean of this epoch until now.
        """
        loss = (logs or {}).get("loss")
        self._losses.mean(loss, batch + 1)
        self._update(self._epoch * self._steps_per_epoch + batch + 1)

    def on_train_end(self, logs: Any = None) -> None:  # noqa: ARG002
        """Set the final masks, where training ended before the schedule did."""
        self.freeze()

    def freeze(self) -> None:
        """Mask the model at its targets with the best draw, for good."""
        if self.frozen:
            return
        self._judge()
        if self.best_draw is None:  # the schedule left no room for a search
            self.best_draw = self._new_draw()
        self.masks.draw(self.best_draw)
        self._draw, self.share, self.frozen = None, 1.0, True

    def _update(self, step: int) -> None:
        """Several steps may have been done since the last call (``steps_per_execution``)."""
        schedule = self.schedule
        if schedule is None or self.frozen:
            return
        first = 0 if step == 0 else self.steps_done + 1
        self.steps_done = step
        if step >= schedule.last_step:
            self.freeze()
        elif any(schedule.updates_at(number) for number in range(first, step + 1)):
            self._judge()
            self._draw = self._new_draw()
            self.share = schedule.share_at(step)
            self.masks.draw(self._draw, self.share)

    def _new_draw(self) -> int:
        return int(self._generator.integers(2**31))

    def _judge(self) -> None:
        mean = self._losses.since_last()
        if self._draw is not None and mean is not None and mean < self.best_loss:
            self.best_loss, self.best_draw = mean, self._draw


class _Losses:
    """The mean loss since a draw, out of Keras' means since the epoch began."""

    def __init__(self) -> None:
        self._latest: Any = None
        self._steps = 0
        self._sum, self._count = 0.0, 0
        self._epoch_sum, self._epoch_steps = 0.0, 0

    def new_epoch(self) -> None:
        self._take()
        self._latest, self._steps = None, 0
        self._epoch_sum, self._epoch_steps = 0.0, 0

    def mean(self, loss: Any, steps: int) -> None:
        """The mean over the first ``steps`` steps of the epoch; not waited for until it counts."""
        self._latest, self._steps = loss, steps

    def since_last(self) -> float | None:
        """The mean since the last time that it was asked for."""
        self._take()
        mean = self._sum / self._count if self._count else None
        self._sum, self._count = 0.0, 0
        return mean

    def _take(self) -> None:
        if self._latest is None:
            return
        total = float(self._latest) * self._steps
        self._sum += total - self._epoch_sum
        self._count += self._steps - self._epoch_steps
        self._epoch_sum, self._epoch_steps = total, self._steps
        self._latest = None
