"""How sparsity grows during training."""

from __future__ import annotations

from dataclasses import dataclass

from toolchain.errors import DeployError


@dataclass(frozen=True)
class PolynomialSchedule:
    """From no masks to the targets by polynomial decay of what is left, between two points.

    At the point ``p`` of the way from the first step to the last, 0 to 1, each layer's sparsity is
    the share ``1 - (1 - p) ** power`` of its target: it grows fast at first, slowly at the end.

    Raises:
        DeployError: a value is out of range, or masks would be final before they begin to grow.
    """

    total_steps: int
    """Optimizer steps of the whole training."""
    begin: float = 0.1
    """Where sparsity begins to grow, a fraction of ``total_steps``."""
    end: float = 0.9
    """Where it has reached the target, a fraction of ``total_steps``."""
    frequency: int = 100
    """Masks change every so many steps."""
    power: float = 2.0
    settle: int = 200
    """Steps that are left to get used to the final masks, whatever ``end`` says; half of the
    training where that is less."""
    begin_step: int | None = None
    """In place of ``begin``: the step itself. A step after the run is its end."""
    end_step: int | None = None
    """In place of ``end``, likewise."""

    def __post_init__(self) -> None:
        by_step = self.begin_step is not None or self.end_step is not None
        faults = {
            f"{self.total_steps} steps of training are too few": self.total_steps < 1,
            f"begin {self.begin:g} and end {self.end:g} are not 0 <= begin <= end <= 1": not (
                0 <= self.begin <= 1 and 0 <= self.end <= 1 and (self.begin <= self.end or by_step)
            ),
            f"frequency {self.frequency} is not at least 1": self.frequency < 1,
            f"power {self.power:g} is not above 0": not self.power > 0,
            f"settle {self.settle} is not at least 0": self.settle < 0,
            "a step to begin or end at is below 0": (self.begin_step or 0) < 0
            or (self.end_step or 0) < 0,
        }
        wrong = [text for text, is_wrong in faults.items() if is_wrong]
        if wrong:
            raise DeployError("sparsity schedule: " + "; ".join(wrong))
        self._check_order()

    def _check_order(self) -> None:
        """A step that is given stands beside a share that is not, and the two may cross."""
        begin, end = self.first_step, self._asked_end
        if begin == self.total_steps or begin <= end:  # a run that is too short has no such fault
            return
        given = self.begin_step is not None, self.end_step is not None
        raise DeployError(
            f"sparsity schedule: masks are to be final at step {end}"
            + ("" if given[1] else f" (end {self.end:g} of {self.total_steps} steps)")
            + f", before they begin to grow at step {begin}"
            + ("" if given[0] else f" (begin {self.begin:g} of {self.total_steps} steps)"),
            hint="give begin_step and end_step, the second not before the first",
        )

    @property
    def _asked_end(self) -> int:
        return int(self.end * self.total_steps) if self.end_step is None else self.end_step

    @property
    def first_step(self) -> int:
        """The first step that may mask pixels."""
        if self.begin_step is not None:
            return min(self.begin_step, self.total_steps)
        return int(self.begin * self.total_steps)

    @property
    def last_step(self) -> int:
        """The step from which on the masks are final.

        It is ``end_step``, or ``end`` of all steps, or earlier for the sake of ``settle``, but not
        before :attr:`first_step`.
        """
        left = min(self.settle, self.total_steps // 2)
        return max(self.first_step, min(self._asked_end, self.total_steps - left))

    @property
    def steps_left(self) -> int:
        """Steps after the one from which on the masks are final."""
        return self.total_steps - self.last_step

    def share_at(self, step: int) -> float:
        """The share of the targets that a step, counted from 0, asks for."""
        if step < self.first_step:
            return 0.0
        if step >= self.last_step:
            return 1.0
        way = (step - self.first_step) / (self.last_step - self.first_step)
        return float(1 - (1 - way) ** self.power)

    def updates_at(self, step: int) -> bool:
        """Whether the masks change at this step: every ``frequency`` steps, and at the last."""
        if self.first_step <= step < self.last_step:
            return (step - self.first_step) % self.frequency == 0
        return step == self.last_step
