"""``deploy verify``: a board's outputs beside the stock interpreter's on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolchain.board.verify import DEFAULT_STEPS, Here, Verification, computed_here
from toolchain.board.verify import verify as verify_model
from toolchain.build.bundle import bundle_path
from toolchain.failures import Failures
from toolchain.hardware.board_file import Board
from toolchain.hints import command
from toolchain.operations.result import FailedModel, failed_models, rows
from toolchain.operations.session import BoardSession, Purpose


@dataclass(frozen=True)
class VerifyOptions:
    """What is compared, and how near it has to be."""

    models: tuple[Path, ...]
    """Files that the runtime can run."""
    inputs: int = 3
    """How many random inputs."""
    tolerance: float = 1e-5
    """Difference that is borne, as a part of each output's and channel's scale."""
    steps: float = DEFAULT_STEPS
    """The same for quantised outputs, in quantisation steps."""
    seed: int = 0
    """Of the random inputs."""
    threads: int | None = None
    """As the board's file says if ``None``."""


@dataclass(frozen=True)
class VerifyResult:
    """How far a board's outputs are from the host's."""

    board: str
    """What it is called."""
    models: tuple[Verification, ...]
    """Those that both could run."""
    failed: tuple[FailedModel, ...] = ()
    """Models that are too far or could not be run."""

    def document(self) -> dict[str, Any]:
        """What ``--json`` prints."""
        return {
            "board": self.board,
            "models": [item.document() for item in self.models],
            "failed": rows(self.failed),
        }

    def notes(self) -> list[str]:
        """What the host itself does not agree about."""
        return [line for item in self.models for line in item.notes()]


def verify(
    session: BoardSession,
    options: VerifyOptions,
    failures: Failures,
    here: Here = computed_here,
) -> VerifyResult:
    """Compare a board's outputs with the stock TFLite interpreter's on this machine.

    Args:
        session: of the board.
        options: which models, and how near they have to be.
        failures: is told of those that are too far or could not be run, and of what ended the work.
        here: computes on this machine.
    """
    board, results = session.board, list[Verification]()
    purpose = Purpose.of("verify", options.models, shared=True)
    with failures.kept(), session.runner(purpose) as runner:
        for model in options.models:
            with failures.of(str(model)):
                results.append(
                    verify_model(
                        runner,
                        model,
                        inputs=options.inputs,
                        seed=options.seed,
                        tolerance=options.tolerance,
                        steps=options.steps,
                        threads=options.threads or board.threads,
                        here=here,
                    )
                )
    for item in results:
        with failures.of(item.model):
            item.require(narrow_down(board, item, options.threads))
    return VerifyResult(session.name, tuple(results), failed_models(failures))


def narrow_down(board: Board, done: Verification, threads: int | None = None) -> str:
    """What to run to learn what a board's difference comes from."""
    again = ["verify", done.model, "--inputs", done.inputs, "--seed", done.seed]
    again += ["--tolerance", f"{done.tolerance:g}", "--steps", f"{done.step_tolerance:g}"]
    again += ["--threads", threads] if threads else []
    if board.connection != "local":
        build = command("build", "--board", "host")
        return (
            "to see whether this machine's build of the runtime does the same on the same inputs, "
            f"run: {build} && {command(*again, '--board', 'host')}"
        )
    build = command("build", "--board", board.given, "--stock")
    stock = bundle_path(board, stock=True)
    return (
        "to see whether a runtime without patches does the same on the same inputs, "
        f"run: {build} && {command(*again, '--board', board.given, '--bundle', stock)}"
    )
