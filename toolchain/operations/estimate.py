"""``deploy estimate``: what models would take on a board that is not here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from toolchain.board.invoke import load_bundle
from toolchain.failures import Failures
from toolchain.hardware.board_file import Board
from toolchain.profile.document import Profile
from toolchain.profile.estimate_document import Estimate
from toolchain.profile.estimator import Estimator
from toolchain.progress import Progress
from toolchain.timing.model import TimingModel


@dataclass(frozen=True)
class EstimateOptions:
    """What is estimated, and for what core."""

    models: tuple[Path, ...]
    """Files that the runtime can run."""
    bundle: Path | None = None
    """The folder of the runtime; ``build/BOARD`` if ``None``."""
    threads: int | None = None
    """As the board's file says if ``None``."""
    clock: int | None = None
    """Of the core, in MHz; as the board's file says if ``None``."""
    calibrate: Profile | None = None
    """What was measured of these models, to fit to."""
    timing_model: TimingModel | None = None
    """A fit of before."""


def estimate(
    board: Board, options: EstimateOptions, progress: Progress, failures: Failures
) -> Estimate | None:
    """Estimate times on a board; the first model is compared with the others.

    Args:
        board: whose core is played.
        options: which models, and how.
        progress: is told how far it is.
        failures: is told of models that failed, and of what ended the work.

    Returns:
        What was estimated; ``None`` if nothing was.

    Raises:
        BoardConfigError: times on this board cannot be estimated.
        BundleError: its runtime is not built.
    """
    estimator = Estimator(
        load_bundle(board, options.bundle),
        board,
        threads=options.threads or board.threads,
        clock_mhz=options.clock,
        timing_model=options.timing_model,
    )
    with failures.kept():
        if options.calibrate is not None:
            estimator.calibrate(options.models, options.calibrate, progress)
        return estimator.models(options.models, failures, progress)
    return None
