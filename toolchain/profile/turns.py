"""Models take turns on a board; each turn is a process of its own.

Whatever slows a board for a while then slows all models alike, and where a process comes to lie in
memory, which its times depend on, is drawn anew in each turn. What turns say of each other is
what a difference has to exceed: runs of one turn resemble each other more than those of two.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from toolchain.profile.bootstrap import median_ends
from toolchain.profile.facts import Vitals
from toolchain.profile.runner_output import Instructions, Op, RunnerOutput, Timing

CONFIDENCE = 0.95
"""That a figure lies in its interval."""


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
    before: Vitals | None = None
    """The board's state before the process."""
    after: Vitals | None = None
    """The same after it; the one that the next process of any model found."""


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


def ratios(first: Sequence[float], second: Sequence[float]) -> list[float]:
    """First over second of turns that came one after the other; what one side lacks is left out."""
    return [a / b for a, b in zip(first, second, strict=False) if a > 0 and b > 0]


def samples_of_turns(samples_us: Sequence[float], turns: Sequence[Turn]) -> list[list[float]]:
    """A profile's samples, which are in a row, by turn."""
    ends = itertools.accumulate(turn.runs for turn in turns)
    return [list(samples_us[end - turn.runs : end]) for turn, end in zip(turns, ends, strict=True)]


def time_interval(samples_us: Sequence[float], turns: Sequence[Turn]) -> Interval | None:
    """Where the median of the times of many more turns is likely to lie.

    Returns:
        ``None`` for too few turns, and where they do not tell their runs.
    """
    if not turns or sum(turn.runs for turn in turns) != len(samples_us):
        return None
    ends = median_ends(samples_of_turns(samples_us, turns), CONFIDENCE)
    return ends and Interval(low=ends[0], high=ends[1])


def turn_of(
    output: RunnerOutput, before: Vitals | None = None, after: Vitals | None = None
) -> Turn:
    """What one process measured.

    Args:
        output: of the process.
        before: the board's state before it.
        after: the state after it.

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
        before=before,
        after=after,
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
    timed = [output.per_op for output in outputs if output.per_op is not None]
    if first.per_op is not None and ops is not None:
        per_op = first.per_op.model_copy(
            update={
                "runs": sum(each.runs for each in timed),
                "total_us": sum(op.median_us or 0.0 for op in ops),
                "input_copy_us": _median_of([each.input_copy_us for each in timed]),
                "output_copy_us": _median_of([each.output_copy_us for each in timed]),
            }
        )
    return first.model_copy(
        update={
            "timing": _timing(timings),
            "instructions": _instructions(outputs),
            "init_us": float(np.median([output.init_us for output in outputs])),
            "load_us": _median_of([output.load_us for output in outputs]),
            "first_run_us": float(np.median([output.first_run_us for output in outputs])),
            "peak_rss_kib": int(np.median(peaks)) if peaks else None,
            "per_op": per_op,
            "ops": ops,
            "notes": list(notes),
        }
    )


def _median_of(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None


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
