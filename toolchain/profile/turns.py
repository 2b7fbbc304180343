"""Models take turns on a board; each turn is a process of its own.

Whatever slows a board for a while then slows all models alike, and where a process comes to lie in
memory, which its times depend on, is drawn anew in each turn. What turns say of each other is
what a difference has to exceed: runs of one turn resemble each other more than those of two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from toolchain.profile.rank_statistics import median_bounds
from toolchain.profile.runner_output import Instructions, Op, RunnerOutput, Timing

TURNS = 15
"""Of a model: the least of which an interval may leave out two at each end."""
SECONDS = 3.0
"""Of timed runs, for each model."""
CONFIDENCE = 0.99
"""That a median lies in its interval, if turns are alike but for chance."""
MAX_RUNS = 10_000
"""Of a turn: enough for models of some microseconds, and few enough to keep every sample."""


class Turn(BaseModel):
    """One process."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    runs: int
    """Timed ones; a profile's ``samples_us`` holds those of all turns in a row."""
    median_us: float
    instructions: float | None = None
    peak_rss_kib: int | None = None
    ops_us: list[float] | None = None
    """The median of each operator, with ``--per-op``."""


class Interval(BaseModel):
    """Where the median of many more turns is likely to lie, see ``CONFIDENCE``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    low: float
    high: float

    @property
    def width(self) -> float:
        """Of half the interval, as a part of its middle."""
        middle = (self.low + self.high) / 2
        return (self.high - self.low) / 2 / middle if middle else 0.0

    def apart(self, other: Interval) -> bool:
        """Whether the two have no number in common."""
        return self.high < other.low or other.high < self.low


def median_interval(figures: Sequence[float]) -> Interval | None:
    """The interval of a median by order statistics, which asks for no distribution.

    Returns:
        ``None`` for fewer than eight figures, which are too few to say.
    """
    bounds = median_bounds(figures, CONFIDENCE)
    return bounds and Interval(low=bounds[0], high=bounds[1])


def ratios(first: Sequence[float], second: Sequence[float]) -> list[float]:
    """First over second of turns that came one after the other; what one side lacks is left out."""
    return [a / b for a, b in zip(first, second, strict=False) if a > 0 and b > 0]


def runs_of_turns(runs: int) -> list[int]:
    """A number of runs, as evenly as can be in ``TURNS`` turns, or in as many as there are runs."""
    turns = min(runs, TURNS)
    return [runs // turns + (index < runs % turns) for index in range(turns)]


def runs_of_a_turn(median_us: float) -> int:
    """How many runs a turn of a model has, so that all turns together take ``SECONDS``."""
    wanted = SECONDS * 1e6 / TURNS
    return min(MAX_RUNS, max(1, math.ceil(wanted / max(median_us, 1.0))))


def turn_of(output: RunnerOutput) -> Turn:
    """What one process measured.

    Raises:
        ValueError: nothing was timed.
    """
    if output.timing is None:
        raise ValueError("nothing was timed")
    counted = output.instructions
    return Turn(
        runs=output.timing.runs,
        median_us=output.timing.median_us,
        instructions=counted.median if counted else None,
        peak_rss_kib=output.peak_rss_kib,
        ops_us=None if output.ops is None else [op.median_us or 0.0 for op in output.ops],
    )


def merged(outputs: Sequence[RunnerOutput]) -> RunnerOutput:
    """The processes of one model as one: all samples in a row, the median of what each has once."""
    first = outputs[0]
    if len(outputs) == 1:
        return first
    timings = [output.timing for output in outputs if output.timing is not None]
    peaks = [output.peak_rss_kib for output in outputs if output.peak_rss_kib is not None]
    notes = dict.fromkeys(note for output in outputs for note in output.notes)
    ops = _ops(outputs)
    per_op = None
    if first.per_op is not None and ops is not None:
        per_op = first.per_op.model_copy(
            update={
                "runs": sum(output.per_op.runs for output in outputs if output.per_op),
                "total_us": sum(op.median_us or 0.0 for op in ops),
            }
        )
    return first.model_copy(
        update={
            "timing": _timing(timings),
            "instructions": _instructions(outputs),
            "init_us": float(np.median([output.init_us for output in outputs])),
            "first_run_us": float(np.median([output.first_run_us for output in outputs])),
            "peak_rss_kib": int(np.median(peaks)) if peaks else None,
            "per_op": per_op,
            "ops": ops,
            "notes": list(notes),
        }
    )


def _timing(timings: Sequence[Timing]) -> Timing:
    samples = np.concatenate([timing.samples_us for timing in timings])
    median = float(np.median(samples))
    return Timing(
        runs=len(samples),
        warmup=timings[0].warmup,
        min_us=float(samples.min()),
        median_us=median,
        mean_us=float(samples.mean()),
        p95_us=float(np.percentile(samples, 95)),
        max_us=float(samples.max()),
        mad_us=float(np.median(np.abs(samples - median))),
        samples_us=[float(sample) for sample in samples],
    )


def _instructions(outputs: Sequence[RunnerOutput]) -> Instructions | None:
    found = [output.instructions for output in outputs if output.instructions is not None]
    if len(found) < len(outputs):
        return None
    counts = [one for each in found for one in each.per_run]
    return Instructions(
        per_run=counts,
        median=float(np.median(counts)) if counts else None,
        init=int(np.median([each.init for each in found])),
    )


def _ops(outputs: Sequence[RunnerOutput]) -> list[Op] | None:
    """Operators by the medians of their turns; ``None`` where turns ran other operators."""
    lists = [output.ops for output in outputs if output.ops is not None]
    if len(lists) < len(outputs) or len({tuple(op.type for op in ops) for ops in lists}) > 1:
        return None
    medians = [
        float(np.median([op.median_us or 0.0 for op in ops])) for ops in zip(*lists, strict=True)
    ]
    total = sum(medians)
    return [
        op.model_copy(update={"median_us": us, "share": us / total if total else None})
        for op, us in zip(lists[0], medians, strict=True)
    ]
