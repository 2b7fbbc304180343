"""``deploy gain``: what masks would gain on a model, before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from toolchain.board.invoke import Settings as RunnerSettings
from toolchain.board.invoke import load_bundle
from toolchain.errors import BoardConfigError
from toolchain.failures import Failures
from toolchain.operations.session import BoardSession, Purpose
from toolchain.profile.document import Profile
from toolchain.profile.estimate_document import Estimate
from toolchain.profile.estimator import Estimator
from toolchain.profile.gain import Maskable, Settings, write_copies
from toolchain.profile.gain_document import Gain
from toolchain.profile.measure import Session
from toolchain.profile.protocol import Limits
from toolchain.storage.scratch import temporary_folder


@dataclass(frozen=True)
class GainOptions:
    """Which copies are made, and how their times are told."""

    masks: tuple[Settings, ...]
    """Those of each copy; the same layers in all."""
    measure: bool = False
    """Whether they are measured on the board, rather than estimated."""
    threads: int | None = None
    """As the board's file says if ``None``."""
    max_time: float | None = None
    """Seconds that each is measured at most."""
    per_op: bool = False
    """Whether every operator is timed."""


def gain(
    session: BoardSession, source: Maskable, options: GainOptions, failures: Failures
) -> Gain | None:
    """Lay masks on copies of a model, and tell what they take on a board.

    Args:
        session: of the board, which is connected to only to measure.
        source: the model.
        options: which copies.
        failures: is told of what failed, and of what ended the work.

    Returns:
        What was found; ``None`` if nothing was.
    """
    found: Estimate | Profile | None = None
    with temporary_folder() as folder, failures.kept():
        copies = write_copies(source, options.masks, folder)
        models = [source.path, *(path for path, _ in copies)]
        if options.measure:
            found = _measured(session, options, models, failures)
        else:
            found = _estimated(session, options, models)
    if found is None:
        return None
    records = [record for _, record in copies]
    return source.document(session.board, options.masks[0], records, found)


def _estimated(
    session: BoardSession, options: GainOptions, models: Sequence[Path]
) -> Estimate | None:
    """What models would take on a board that is not here."""
    board = session.board
    bundle = load_bundle(board, session.access.bundle)
    try:
        estimator = Estimator(bundle, board, threads=options.threads or board.threads)
    except BoardConfigError as error:
        hint = f"{error.hint}; " if error.hint else ""
        raise BoardConfigError(
            error.what, hint=f"{hint}to measure on the board itself, add --measure"
        ) from error
    return estimator.models(models, None, session.progress)


def _measured(
    session: BoardSession, options: GainOptions, models: Sequence[Path], failures: Failures
) -> Profile | None:
    """What a file and its copies take on a board, in turns; copies do not stay there."""
    limits = Limits() if options.max_time is None else Limits(max_time_s=options.max_time)
    settings = RunnerSettings.measuring(
        session.board, threads=options.threads, per_op=options.per_op
    )
    with session.runner(Purpose.of("gain", models)) as runner:
        measuring = Session(
            session.connection, session.board, runner, session.progress, settings, None, failures,
            limits=limits, settle=True,
        )  # fmt: skip
        measuring.measure(models)
        for copy in models[1:]:
            runner.remove_model(copy)
        return measuring.profile()
