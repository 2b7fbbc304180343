"""The sparsity that a time asks for: ``30% less time`` on a board, by estimates of its core.

Nothing of it was trained. What is estimated is the network with masks of one draw, converted. Its
weights do not change how long it takes, but for those that are zero, as residual branches begin:
what they multiply is not computed. So they get random values first.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from toolchain.errors import ModelError
from toolchain.profile.estimator import Estimator
from toolchain.progress import Progress
from toolchain.storage.scratch import temporary_folder

if TYPE_CHECKING:  # the base installation has none
    from torch import Tensor, nn

MOST = 0.7
"""The largest sparsity that is tried: beyond it little is left of a network."""
_STEP = 0.05
_TARGET = re.compile(r"\s*(\d{1,2}(?:\.\d+)?)\s*%\s*(?:less(?:\s+(?:time|latency))?)?\s*")


class TimedSparsity(BaseModel):
    """What a network would take at a sparsity."""

    model_config = ConfigDict(frozen=True)

    sparsity: float
    ms: float
    low_ms: float
    """Nine of ten times are expected between this ..."""
    high_ms: float
    """... and this."""


def parse_target(text: str) -> float:
    """The share of the time to save: 0.3 of ``30% less time``.

    Raises:
        ValueError: it says no such thing.
    """
    found = _TARGET.fullmatch(text)
    share = float(found[1]) / 100 if found else 0.0
    if not share:
        raise ValueError(f"takes a share of the time, as '30% less time', not '{text}'")
    return share


def sparsity_for(
    less: float, time_of: Callable[[float], TimedSparsity]
) -> tuple[TimedSparsity, list[TimedSparsity]]:
    """The smallest sparsity, in steps of 0.05, whose estimate saves a share of the dense time.

    Times are taken to go down evenly for a first guess; steps up and down from it find the place.

    Args:
        less: the share of the time to save, above 0 and below 1.
        time_of: estimates a sparsity; 0 is the dense network. It is asked once for each.

    Returns:
        What was chosen, and all that was asked, the dense network first.

    Raises:
        ModelError: not even :data:`MOST` saves as much; says what it saves.
    """
    known: dict[int, TimedSparsity] = {}

    def asked(steps: int) -> TimedSparsity:
        if steps not in known:
            known[steps] = time_of(round(steps * _STEP, 2))
        return known[steps]

    most = round(MOST / _STEP)
    dense, fewest = asked(0).ms, asked(most).ms
    goal = (1 - less) * dense
    if fewest > goal:
        raise ModelError(
            f"masks on {MOST:.0%} of the pixels save {1 - fewest / dense:.0%} of the time by the "
            f"estimate, and {less:.0%} is wanted",
            hint="ask for less, mask more layers with --kernels all, or take a smaller network",
        )
    steps = min(max(math.ceil(most * (dense - goal) / (dense - fewest)), 1), most)
    while asked(steps).ms > goal:
        steps += 1
    while steps > 1 and asked(steps - 1).ms <= goal:
        steps -= 1
    return asked(steps), [known[one] for one in sorted(known)]


def estimated_time(
    estimator: Estimator,
    network_at: Callable[[float], nn.Module],
    example: Tensor,
    progress: Progress,
) -> Callable[[float], TimedSparsity]:
    """A function that estimates a network at a sparsity.

    Args:
        estimator: of the board.
        network_at: the network with masks of a sparsity, in eval mode.
        example: an image ``[1, C, H, W]``.
        progress: where each conversion and trace is shown.

    Raises:
        ModelError: the network cannot be converted.
        BoardError, MissingToolError: as :meth:`toolchain.profile.estimator.Estimator.models`.
    """
    from toolchain.convert.conversion import lower_unchecked
    from toolchain.zoo.libraries import liven

    def time_of(sparsity: float) -> TimedSparsity:
        with (
            progress.stage(f"estimate a sparsity of {sparsity:g}", 2) as stage,
            temporary_folder() as folder,
        ):
            path = folder / f"s{round(100 * sparsity)}.tflite"
            network = network_at(sparsity)
            liven(network, example)
            lower_unchecked(network, example, path)
            stage.advance()
            found = estimator.models([path])
            stage.advance()
        assert found is not None  # noqa: S101 (without failures a fault is raised)
        one = found.models[0]
        return TimedSparsity(sparsity=sparsity, ms=one.ms, low_ms=one.low_ms, high_ms=one.high_ms)

    return time_of
