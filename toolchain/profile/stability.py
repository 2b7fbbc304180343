"""Whether repeated measurements agree well enough to be believed.

The spread is the median absolute deviation (MAD), which a few outliers do not move.
"""

from __future__ import annotations

from toolchain.profile.facts import Vitals
from toolchain.profile.runner_output import Timing

MAX_SPREAD = 0.05
"""MAD over median above which a time may be unstable."""
MIN_RUNS = 5
"""With fewer runs, spread says nothing."""


def spread(timing: Timing) -> float:
    """MAD over median."""
    return timing.mad_us / timing.median_us if timing.median_us > 0 else 0.0


def unsteady(timing: Timing) -> bool:
    """Whether the runs differ too much from each other."""
    return spread(timing) > MAX_SPREAD


def doubts(timing: Timing, before: Vitals, after: Vitals) -> list[str]:
    """Why a time may be unstable, each with what to do about it; empty if it seems sound."""
    found: list[str] = []
    if timing.runs < MIN_RUNS:
        found.append(f"only {timing.runs} runs: use --runs {MIN_RUNS} or more")
    elif unsteady(timing):
        found.append(
            f"the spread is {spread(timing):.0%} of the median: use more --runs, and end other "
            "programs on the board"
        )
    elif timing.max_us > 3 * timing.median_us:
        found.append("a run took three times the median: use more --runs")
    if after.throttled and after.throttled.now:
        found.append(f"the board is held back now ({', '.join(after.throttled.now)}): cool it, or "
                     "use a stronger power supply")  # fmt: skip
    if before.governor not in (None, "performance"):
        found.append(
            f"the frequency governor is '{before.governor}': set 'performance' on the board"
        )
    return found
