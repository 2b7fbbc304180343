"""Whether repeated measurements agree well enough to be believed.

The spread is the median absolute deviation (MAD), which a few outliers do not move. What turns say
of each other comes on top: runs of one process may agree, and the next process be slower.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean, median

from toolchain.profile.bootstrap import LEAST_TURNS
from toolchain.profile.facts import Vitals
from toolchain.profile.protocol import TURNS
from toolchain.profile.rank_statistics import median_slope, trend_p_value
from toolchain.profile.runner_output import Timing
from toolchain.profile.turns import Interval, Turn

MAX_SPREAD = 0.05
"""MAD over median above which a time may be unstable; of an interval, its half over its middle."""
MIN_RUNS = LEAST_TURNS
"""In turns of their own; with fewer, spread says nothing."""
HOT_C = 80.0
"""From here on firmware of a Raspberry Pi slows its cores down."""
_CLOCK_SLACK = 0.02
"""A frequency of the same clock is read a little different each time."""
MAX_LOAD = 0.25
"""Cores that others may keep busy, for each core of the board; half a core at most."""
MAX_STRAYS = 0.1
"""The share of turns that may be far from the others."""
_TREND = 0.02
"""By how much of its median a time may rise or fall from the first turn to the last."""


def spread(timing: Timing) -> float:
    """MAD over median."""
    return timing.mad_us / timing.median_us if timing.median_us > 0 else 0.0


def unsteady(timing: Timing, turns: Sequence[Turn] = (), interval: Interval | None = None) -> bool:
    """Whether the runs, or the turns, differ too much from each other."""
    return spread(timing) > MAX_SPREAD or _wide(interval) or bool(_strays(turns))


def doubts(
    timing: Timing,
    states: Sequence[Vitals],
    *,
    turns: Sequence[Turn] = (),
    interval: Interval | None = None,
    load: Sequence[float] = (),
    cores: int | None = None,
) -> list[str]:
    """Why a time may be unstable, each with what to do about it; empty if it seems sound.

    Args:
        timing: of all runs.
        states: of the board, in the order in which it was asked: before, between and after turns.
        turns: what the processes measured.
        interval: where the median lies.
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
    elif unsteady(timing, turns, interval):
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
    return found + state_doubts(states)


def state_doubts(states: Sequence[Vitals]) -> list[str]:
    """What of a board's state makes times doubtful, and what to do about it.

    Args:
        states: in the order in which the board was asked.
    """
    return [*_held_back(states), *_clock_changes(states), *_lost(states)]


def _held_back(states: Sequence[Vitals]) -> list[str]:
    found: list[str] = []
    told = [state.throttled for state in states if state.throttled]
    now = dict.fromkeys(name for one in told for name in one.now)
    fresh = dict.fromkeys(
        name
        for before, after in pairwise(told)
        for name in after.since_boot
        if name not in before.since_boot and name not in now
    )
    if now or fresh:
        found.append(
            f"the board was held back ({', '.join([*now, *fresh])}): cool it, or use a stronger "
            "power supply"
        )
    hottest = max((one.temperature_c for one in states if one.temperature_c is not None), default=0)
    if hottest >= HOT_C and not now:
        found.append(
            f"the board was at {hottest:.0f} °C, where firmware slows cores down: cool it, and "
            "measure it again"
        )
    return found


def _clock_changes(states: Sequence[Vitals]) -> list[str]:
    found: list[str] = []
    governors = list(dict.fromkeys(state.governor for state in states if state.governor))
    if len(governors) > 1:
        found.append(
            f"the frequency governor changed from '{governors[0]}' to '{governors[1]}' while it "
            "was measured: set 'performance' on the board, and measure it again"
        )
    elif governors and governors != ["performance"]:
        found.append(f"the frequency governor is '{governors[0]}': set 'performance' on the board")
    clocks = [state.frequency_khz for state in states if state.frequency_khz]
    if governors == ["performance"] and clocks and min(clocks) < (1 - _CLOCK_SLACK) * max(clocks):
        found.append(
            f"the clock changed between {min(clocks) / 1e3:,.0f} and {max(clocks) / 1e3:,.0f} MHz "
            "while it was measured: cool the board, look at its power supply, and measure it again"
        )
    sources = list(dict.fromkeys(state.clock_source for state in states if state.clock_source))
    if len(sources) > 1:
        found.append(
            f"the kernel's clock source changed from '{sources[0]}' to '{sources[1]}': see dmesg "
            "on the board, start it again, and measure it again"
        )
    return found


_TOLD = {
    "governor": "frequency governor",
    "frequency_khz": "clock",
    "temperature_c": "temperature",
    "throttled": "throttling",
    "clock_source": "clock source",
}


def _lost(states: Sequence[Vitals]) -> list[str]:
    """What a board told at first, and then no more: whether it changed nobody knows."""
    lost = [
        name
        for field, name in _TOLD.items()
        if any(
            getattr(before, field) is not None and getattr(after, field) is None
            for before, after in pairwise(states)
        )
    ]
    if not lost:
        return []
    return [
        f"the board no longer told its {', '.join(lost)} while it was measured: see dmesg on the "
        "board, start it again, and measure it again"
    ]


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
