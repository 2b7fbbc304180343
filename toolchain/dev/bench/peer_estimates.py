"""Estimated times of runtimes on boards that are not there.

Ours is traced as users have it estimated. The others run in Debian's Python for aarch64, whose call
is in the time; the inference before the one that is traced has filled the caches.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, PositiveInt

from toolchain.build.bundle import Bundle
from toolchain.dev.bench import peer_worker
from toolchain.dev.bench.arm_python import arm_python
from toolchain.hardware.board_file import known_caches, known_clock, load_board
from toolchain.profile.estimator import Estimator, timed_core
from toolchain.progress import Progress
from toolchain.timing.core_table import core_table
from toolchain.timing.model import model_of
from toolchain.timing.pipeline import TablePipeline
from toolchain.timing.windows import windows_of

WARM_RUNS = 2
"""Marked inferences, the last of which is traced."""


class PeerEstimate(BaseModel):
    """One inference on one board, with one thread."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    board: str
    ms: float
    low_ms: float
    """Nine of ten times are expected between this ..."""
    high_ms: float
    """... and this."""
    instructions: PositiveInt


def estimate_ours(bundle: Bundle, model: Path, board: str) -> PeerEstimate:
    """Our runner.

    Args:
        bundle: with which it runs.
        model: a converted file.
        board: the name of its file.

    Raises:
        BoardError: QEMU or the runner failed.
    """
    found = Estimator(bundle, load_board(board), threads=1).models([model])
    assert found is not None  # noqa: S101 (there is a file, and its fault is raised)
    one = found.models[0]
    return PeerEstimate(
        board=board,
        ms=one.ms,
        low_ms=one.low_ms,
        high_ms=one.high_ms,
        instructions=one.instructions,
    )


def estimate_peer(
    requirement: str,
    settings: Mapping[str, Any],
    files: Mapping[str, Path],
    board: str,
    *,
    progress: Progress | None = None,
) -> PeerEstimate:
    """Another runtime.

    Args:
        requirement: its package: ``ncnn==1.0.20261020``.
        settings: for ``peer_worker.py``, with paths as the guest has them.
        files: what it reads, by their names in the guest's folder.
        board: the name of its file.
        progress: where downloads are announced.

    Raises:
        SourceError: Python or the runtime cannot be had for aarch64.
        BoardError: it failed.
    """
    the_board = load_board(board)
    core, caches = timed_core(the_board), known_caches(the_board)
    ready = arm_python(requirement, progress=progress).guest(
        Path(peer_worker.__file__), json.dumps({**settings, "marked": WARM_RUNS}), files=files
    )
    pipeline = TablePipeline(core_table(core))
    windows = windows_of(ready.trace(core, caches), pipeline, has_l3=caches.l3 is not None)
    model, clock = model_of(core), known_clock(the_board)
    ms = float(model.cycles(windows, clock).total.sum()) / (1e3 * clock)
    low, high = model.interval.around(ms, threads=1)
    return PeerEstimate(
        board=board,
        ms=ms,
        low_ms=low,
        high_ms=high,
        instructions=int(windows.instructions.sum()),
    )
