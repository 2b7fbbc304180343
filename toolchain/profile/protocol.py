"""How a board is measured: when to begin, in which order, and when it is enough.

What goes wrong with published figures, and what is done about each:

======================================  =========================================================
a board that is hot, or busy            it is waited for, ``Limits.max_temp_c``, ``max_wait_s``
the first runs are slow                 a process of its own tells how many are left out
a process is fast or slow as a whole    a model is measured in many processes: turns
the board is slower for a while         models take turns, ``A B`` then ``B A``, begun by a coin
too few runs, or too many               turns go on until the median's interval is narrow
a clock that changes meanwhile          the board's state is read between any two turns
======================================  =========================================================

:mod:`toolchain.profile.significance` says what the order is good for,
:mod:`toolchain.profile.stability` what makes a figure doubtful.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from toolchain import interrupts
from toolchain.profile.facts import Vitals
from toolchain.progress import Stage

TURNS = 20
"""Of a model, at least: ten blocks of two rounds, which tell a difference among 25 figures."""
SECONDS = 3.0
"""Of timed runs in ``TURNS`` turns, for each model."""
MAX_RUNS = 10_000
"""Of a turn: enough for models of some microseconds, and few enough to keep every sample."""
FIRST_RUNS = 3
"""Of the process that tells how long a run takes; not among the samples."""
_SETTLING_RUNS = 200
_SETTLING_SECONDS = 1.0
MAX_WARMUP = 50
"""Runs before the timed ones, of each process."""
_SETTLED = 0.01
"""By this part, or by three deviations, a run that has settled is above those after it."""
_POLL_S = 2.0


@dataclass(frozen=True)
class Limits:
    """What ends the waiting and the measuring."""

    precision: float = 0.01
    """Half of a median's interval, as a part of it: turns go on until it is no wider."""
    max_time_s: float = 60.0
    """For each model: then its turns end, however wide its interval is."""
    max_temp_c: float = 65.0
    """A board that is warmer is waited for. Firmware of a Raspberry Pi slows it down from 80, on
    a 3B+ from 60."""
    max_wait_s: float = 30.0
    """Then a board is measured however warm or busy it is, and its figures are doubtful."""


def rounds(models: int, seed: int) -> Iterator[list[int]]:
    """The order of the models in each round, for ever: one by chance, then the same from behind.

    Args:
        models: how many.
        seed: of the chance.
    """
    chance = random.Random(seed)  # noqa: S311 (no secret)
    while True:
        order = list(range(models))
        chance.shuffle(order)
        yield order
        yield order[::-1]


def runs_of_turns(runs: int) -> list[int]:
    """A number of runs, as evenly as can be in ``TURNS`` turns, or in as many as there are runs."""
    turns = min(runs, TURNS)
    return [runs // turns + (index < runs % turns) for index in range(turns)]


def runs_of_a_turn(median_us: float) -> int:
    """How many runs a turn of a model has, so that ``TURNS`` turns take ``SECONDS``."""
    wanted = SECONDS * 1e6 / TURNS
    return min(MAX_RUNS, max(1, math.ceil(wanted / max(median_us, 1.0))))


def runs_to_settle(median_us: float) -> int:
    """How many runs are looked at to see when times have settled; not among the samples."""
    fit = int(_SETTLING_SECONDS * 1e6 / max(median_us, 1.0))
    return min(_SETTLING_RUNS, max(4, fit))


def settled_after(samples_us: Sequence[float]) -> int | None:
    """After how many runs of a process the times no longer fall.

    The last half of the runs says what times are like, if they no longer fall there. Those before
    it have settled from the first one on that is no farther above than chance takes a run.

    Args:
        samples_us: of a process without warm-up runs, in their order.

    Returns:
        ``None`` where they may still fall, so that more runs are needed to tell.
    """
    if len(samples_us) < 4:
        return None
    half = len(samples_us) // 2
    late = samples_us[half:]
    if median(late[: len(late) // 2]) > _highest(late[len(late) // 2 :]):
        return None
    limit = _highest(late)
    slow = [index for index, one in enumerate(samples_us[:half]) if one > limit]
    if not slow:
        return 0
    return slow[-1] + 1 if slow[-1] + 1 < half else None


def _highest(samples_us: Sequence[float]) -> float:
    """Up to where a time is one of these but for chance."""
    middle = median(samples_us)
    spread = 1.4826 * median(abs(one - middle) for one in samples_us)
    return middle + max(_SETTLED * middle, 3 * spread)


def wait_until_calm(
    read_vitals: Callable[[], Vitals],
    is_busy: Callable[[], bool],
    limits: Limits,
    stage: Stage,
    *,
    pause: Callable[[float], None] = interrupts.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> str | None:
    """Wait until a board is cool, not held back, and has nothing else to do.

    Args:
        read_vitals: asks the board for its state.
        is_busy: whether other programs keep its cores busy; takes a moment.
        limits: how warm it may be, and how long is waited at most.
        stage: is told what is waited for.
        pause: waits for so many seconds.
        clock: in seconds.

    Returns:
        What it is like after the longest wait: ``still at 71.0 °C``; ``None`` once it is calm.
    """
    end = clock() + limits.max_wait_s
    while True:
        reason = _not_calm(read_vitals(), limits) or ("still busy" if is_busy() else None)
        if reason is None or clock() >= end:
            return reason
        stage.advance(0, f"waits: {reason.removeprefix('still ')}")
        pause(min(_POLL_S, max(0.0, end - clock())))


def _not_calm(vitals: Vitals, limits: Limits) -> str | None:
    if vitals.temperature_c is not None and vitals.temperature_c > limits.max_temp_c:
        return f"still at {vitals.temperature_c:.1f} °C"
    if vitals.throttled and vitals.throttled.now:
        return f"still held back ({', '.join(vitals.throttled.now)})"
    return None
