"""Whether repeated measurements agree well enough to be believed.

The spread is the median absolute deviation (MAD), which a few outliers do not move. What turns say
of each other comes on top: runs of one process may agree, and the next process be slower.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, median

from toolchain.profile.facts import Vitals
from toolchain.profile.rank_statistics import median_slope, trend_p_value
from toolchain.profile.runner_output import Timing
from toolchain.profile.turns import TURNS, Interval, Turn, median_interval

MAX_SPREAD = 0.05
"""MAD over median above which a time may be unstable; of an interval, its half over its middle."""
MIN_RUNS = 8
"""In turns of their own; with fewer, spread says nothing."""
MAX_LOAD = 0.25
"""Cores that others may keep busy, for each core of the board; half a core at most."""
MAX_STRAYS = 0.1
"""The share of turns that may be far from the others."""
_TREND = 0.02
"""By how much of its median a time may rise or fall from the first turn to the last."""


def spread(timing: Timing) -> float:
    """MAD over median."""
    return timing.mad_us / timing.median_us if timing.median_us > 0 else 0.0


def unsteady(timing: Timing, turns: Sequence[Turn] = ()) -> bool:
    """Whether the runs, or the turns, differ too much from each other."""
    return spread(timing) > MAX_SPREAD or _wide(time_interval(turns)) or bool(_strays(turns))


def time_interval(turns: Sequence[Turn]) -> Interval | None:
    """Where a model's median time is likely to lie; ``None`` for too few turns."""
    return median_interval([turn.median_us for turn in turns])


def doubts(
    timing: Timing,
    before: Vitals,
    after: Vitals,
    *,
    turns: Sequence[Turn] = (),
    load: Sequence[float] = (),
    cores: int | None = None,
) -> list[str]:
    """Why a time may be unstable, each with what to do about it; empty if it seems sound.

    Args:
        timing: of all runs.
        before: the board's vitals when its facts were read.
        after: those when all was measured.
        turns: what the processes measured.
        load: cores that others kept busy, in pauses between turns.
        cores: of the board.
    """
    found: list[str] = []
    if timing.runs < MIN_RUNS:
        found.append(
            f"only {timing.runs} runs: use --runs {TURNS} or more, or none, for as many as it takes"
        )
    elif len(turns) < MIN_RUNS:
        found.append(f"only {len(turns)} turns: measure it again")
    elif unsteady(timing, turns):
        interval = time_interval(turns)
        width = max(spread(timing), interval.width if interval else 0.0)
        what = f"times differ by {width:.0%}"
        if width <= MAX_SPREAD:
            what = f"{_strays(turns)} of {len(turns)} turns took {MAX_SPREAD:.0%} more or less"
        found.append(f"{what}: end other programs on the board, and measure it again")
    if trend := _trend([turn.median_us for turn in turns]):
        found.append(
            f"times {'rose' if trend > 0 else 'fell'} by {abs(trend):.0%} while it was measured: "
            "let the board come to rest, and measure it again"
        )
    if busy(load, cores):
        found.append(
            f"other programs kept {fmean(load):.1f} cores busy: end them, and measure it again"
        )
    if after.throttled and after.throttled.now:
        found.append(f"the board is held back now ({', '.join(after.throttled.now)}): cool it, or "
                     "use a stronger power supply")  # fmt: skip
    if before.governor not in (None, "performance"):
        found.append(
            f"the frequency governor is '{before.governor}': set 'performance' on the board"
        )
    return found


def busy(load: Sequence[float], cores: int | None) -> bool:
    """Whether other programs kept more of a board's cores busy than times bear."""
    return bool(load) and fmean(load) > min(0.5, MAX_LOAD * (cores or 1))


def _strays(turns: Sequence[Turn]) -> int:
    """How many turns are far from the others; 0 for so few that chance may have made them."""
    if not turns:
        return 0
    middle = median(turn.median_us for turn in turns)
    far = sum(abs(turn.median_us - middle) > MAX_SPREAD * middle for turn in turns)
    return far if far > MAX_STRAYS * len(turns) else 0


def _wide(interval: Interval | None) -> bool:
    return interval is not None and interval.width > MAX_SPREAD


def _trend(figures: Sequence[float]) -> float | None:
    """What figures rose by from the first to the last, as a part; ``None`` for no clear trend."""
    if len(figures) < MIN_RUNS or len(set(figures)) == 1:
        return None
    if trend_p_value(figures) > 0.01:
        return None
    middle = float(sorted(figures)[len(figures) // 2])
    rise = median_slope(figures) * (len(figures) - 1)
    return rise / middle if middle and abs(rise / middle) > _TREND else None
