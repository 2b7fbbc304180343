"""The energy of an inference: a board's mean power while it runs, times the time of one.

Reading the power of a board takes time of its cores, so it is done in a process of its own, after
all that is timed. The board is left alone for some seconds, and its idle power read; then the model
runs for some seconds, and of the readings those count that were surely taken while timed runs went
on. The time is the median of those same runs: the readings make some of them longer, and the median
does not move.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from toolchain.board.pmic import Reading
from toolchain.profile.rank_statistics import student_quantile
from toolchain.profile.runner_output import RunnerOutput, Timing
from toolchain.profile.turns import CONFIDENCE, Interval

LEAST_READINGS = 8
"""Fewer tell no power."""
LEAST_RUNS = 20
MOST_RUNS = 200_000
"""Each is kept as a sample by the runner."""
IDLE_S = 3.0
"""For which the power of a board that does nothing is read."""
RUN_S = 5.0
"""Of timed runs while power is read."""
_SETTLING_S = 0.5
"""Left out of the idle time: the command that reads has only just begun."""
_BLOCKS = 16
"""Readings one after the other resemble each other: means of so many stretches are compared."""

Source = Literal["pmic", "meter"]
SCOPES: dict[Source, str] = {
    "pmic": "the board's PMIC: its own rails, without USB and converters' losses",
    "meter": "the readings of --meter",
}


class Energy(BaseModel):
    """What an inference takes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Source
    """``pmic``: the board's own rails, without what USB ports draw and converters lose; ``meter``:
    whatever the meter is connected to."""
    energy_j: float
    """Joules: ``power_w`` times ``median_us``."""
    interval_j: Interval
    """Where it is likely to lie, by how much power differed."""
    above_idle_j: float | None
    """The same of the power above ``idle_w``; ``None`` where that is not known."""
    power_w: float
    """Watts: the mean while timed runs went on."""
    idle_w: float | None
    """The mean before them; ``None`` for too few readings."""
    median_us: float
    """The median time of those runs, in microseconds; reading power makes some of them longer."""
    runs: int
    """How many there were."""
    readings: int
    """Of ``power_w``."""
    idle_readings: int
    """Of ``idle_w``."""
    unreadable: int
    """Answers of the PMIC, or lines of the meter's program, that were no reading."""


@dataclass(frozen=True)
class Taken:
    """What was read before and while a model ran; all times are of one clock, in seconds."""

    readings: list[Reading]
    unreadable: int
    idle: tuple[float, float]
    """When the board was left alone."""
    process: tuple[float, float]
    """Within which the process began and ended."""
    margin_s: float
    """Left out where something begins, and where it ends: a reading may be late."""
    report: str
    """The runner's JSON."""


def runs_for(seconds: float, median_us: float) -> int:
    """How many runs take so many seconds."""
    return min(MOST_RUNS, max(LEAST_RUNS, math.ceil(seconds * 1e6 / max(median_us, 1.0))))


def surely_timed(output: RunnerOutput, process: tuple[float, float]) -> tuple[float, float]:
    """Between when timed runs surely went on, whatever else took time in a process.

    They began at the earliest when the model was loaded and had run once, and as often as it warmed
    up, and ended at the latest with the process.

    Args:
        output: of the process.
        process: when it began at the earliest, and had ended at the latest.

    Returns:
        Begin and end, in that order unless so much time is unaccounted for that nothing is sure.
    """
    timing = output.timing
    if timing is None:
        return process[1], process[0]
    before = output.init_us + output.first_run_us + timing.warmup * timing.min_us
    timed = sum(timing.samples_us) / 1e6
    return process[1] - timed, process[0] + before / 1e6 + timed


def energy_of(source: Source, taken: Taken, output: RunnerOutput) -> Energy | str:
    """The energy of an inference; the reason why it cannot be told.

    Args:
        source: where readings come from.
        taken: the readings.
        output: of the process that ran meanwhile.
    """
    timing = output.timing
    found = timed_watts(taken, output)
    if timing is None or len(found) < LEAST_READINGS:
        return _too_few(len(found), taken, timing)
    settling = max(_SETTLING_S, taken.margin_s)
    # A clock of hundredths: what was read in the one in which the program began may be of it.
    idle_end = math.nextafter(taken.idle[1], -math.inf)
    idle = _within(taken.readings, taken.idle[0] + settling, idle_end)
    idle_w = fmean(idle) if len(idle) >= LEAST_READINGS else None
    power, seconds = fmean(found), timing.median_us / 1e6
    half = _half_width(found)
    return Energy(
        source=source,
        energy_j=power * seconds,
        interval_j=Interval(low=(power - half) * seconds, high=(power + half) * seconds),
        above_idle_j=None if idle_w is None else (power - idle_w) * seconds,
        power_w=power,
        idle_w=idle_w,
        median_us=timing.median_us,
        runs=timing.runs,
        readings=len(found),
        idle_readings=len(idle),
        unreadable=taken.unreadable,
    )


def timed_watts(taken: Taken, output: RunnerOutput) -> list[float]:
    """The readings that surely fall into timed runs, in watts."""
    begin, end = surely_timed(output, taken.process)
    return _within(taken.readings, begin + taken.margin_s, end - taken.margin_s)


def _within(readings: Sequence[Reading], begin: float, end: float) -> list[float]:
    return [one.watts for one in readings if begin <= one.begin and one.end <= end]


def _half_width(watts: Sequence[float]) -> float:
    """Half of the interval of a mean, by Student's distribution of the means of stretches."""
    means = [float(part.mean()) for part in np.array_split(watts, min(_BLOCKS, len(watts)))]
    error = float(np.std(means, ddof=1)) / math.sqrt(len(means))
    return student_quantile(CONFIDENCE, len(means) - 1) * error


def _too_few(count: int, taken: Taken, timing: Timing | None) -> str:
    timed = sum(timing.samples_us) / 1e6 if timing else 0.0
    reason = (
        f"{count} readings of its power in {timed:.1f} s of runs, {LEAST_READINGS} are needed at "
        "least"
    )
    return reason + (f"; {taken.unreadable} more were no reading" if taken.unreadable else "")
