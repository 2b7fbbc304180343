"""``deploy profile``: what models take on a board."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from toolchain.board.invoke import Settings, load_bundle
from toolchain.failures import Failures
from toolchain.operations.session import BoardSession, Purpose
from toolchain.profile.document import Profile
from toolchain.profile.estimator import Estimating, estimates_for
from toolchain.profile.measure import Session
from toolchain.profile.power_sources import PowerSource
from toolchain.profile.protocol import Limits


@dataclass(frozen=True)
class ProfileOptions:
    """What is measured, and how long."""

    models: tuple[Path, ...]
    """Files that the runtime can run."""
    reference: Path | None = None
    """What the others are compared with, which may be one that could not be read; the first of
    ``models`` if ``None``."""
    stock_bundle: Path | None = None
    """Another runtime, to measure on it, too."""
    runs: int | None = None
    """Timed runs; as many as it takes if ``None``."""
    warmup: int | None = None
    """Runs before them, in each turn; until times have settled if ``None``."""
    threads: tuple[int, ...] = ()
    """Each number is measured with; as the board's file says if there is none."""
    per_op: bool = False
    """Whether every layer is timed."""
    limits: Limits = field(default_factory=Limits)
    """What ends the waiting and the measuring."""
    power: PowerSource | None = None
    """What reads the board's power, where energy is to be measured."""
    estimate: bool = True
    """Whether on an emulated board times are estimated of the boards whose core it plays."""


def profile(
    session: BoardSession,
    options: ProfileOptions,
    failures: Failures,
    estimating: Estimating = estimates_for,
) -> Profile | None:
    """Measure models on a board; on a real one they take turns.

    Args:
        session: of the board.
        options: which models, and how.
        failures: is told of models that failed, and of what ended the work.
        estimating: estimates times for the boards that an emulated one plays.

    Returns:
        What was measured; ``None`` if nothing was.

    Raises:
        BundleError: there is no ``stock_bundle``.
    """
    board, progress = session.board, session.progress
    stock = load_bundle(board, options.stock_bundle, stock=True) if options.stock_bundle else None
    counts = options.threads or (board.threads,)
    settings = Settings.measuring(
        board, threads=counts[0], runs=options.runs, warmup=options.warmup, per_op=options.per_op
    )
    measured = None
    with failures.kept(), session.runner(Purpose.of("profile", options.models)) as runner:
        measuring = Session(
            session.connection, board, runner, progress, settings, stock, failures,
            threads=counts, limits=options.limits, settle=options.warmup is None,
            power=options.power,
        )  # fmt: skip
        measuring.measure(options.models, reference=options.reference)
        measured = measuring.profile()
    if measured is None:
        return None
    if options.estimate and board.connection == "emulator" and failures.stopped is None:
        with failures.kept():
            found = estimating(session.bundle, options.models, board, progress)
            measured = measured.model_copy(update={"estimates": found})
    return measured
