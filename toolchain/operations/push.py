"""``deploy push``: the runtime and models are brought to a board."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolchain.board.push import Pushed
from toolchain.failures import Failures
from toolchain.operations.result import FailedModel, failed_models, rows
from toolchain.operations.session import BoardSession
from toolchain.tflite_file.graph import read_model
from toolchain.tflite_file.untrained import is_untrained


@dataclass(frozen=True)
class PushOptions:
    """What is brought beside the runtime."""

    models: tuple[Path, ...] = ()
    """Files that can be read."""


@dataclass(frozen=True)
class PushedFile:
    """One file that is on a board now."""

    file: Path
    """It, on this machine."""
    remote: str
    """Its path on the board."""
    bytes: int
    """Its size."""
    sha256: str
    """Of its content, on both sides."""
    sent: bool
    """Whether it had to be sent; else it was there."""
    untrained: bool = False
    """Whether it is a model that says that its masks are for measuring."""


@dataclass(frozen=True)
class PushResult:
    """What lies on a board now."""

    board: str
    """What it is called."""
    files: tuple[PushedFile, ...]
    """Those of the runtime, then the models that could be brought."""
    failed: tuple[FailedModel, ...] = ()
    """Models that could not be brought."""

    def document(self) -> dict[str, Any]:
        """What ``--json`` prints."""
        return {
            "board": self.board,
            "files": [{**vars(item), "file": str(item.file)} for item in self.files],
            "failed": rows(self.failed),
        }


def push(session: BoardSession, options: PushOptions, failures: Failures) -> PushResult:
    """Bring the runner, the delegate and models to a board; what is there already stays.

    Args:
        session: of the board.
        options: which models.
        failures: is told of those that could not be brought, and of what ended the work.
    """
    untrained = {model for model in options.models if is_untrained(read_model(model))}
    files = list[PushedFile]()

    def note(pushed: Iterable[Pushed]) -> None:
        files.extend(
            PushedFile(
                item.local, item.remote, item.size, item.sha256, item.sent, item.local in untrained
            )
            for item in pushed
        )

    with failures.kept(), session.runner() as runner:
        note(runner.pushed)
        note(runner.push_each(options.models, failures))
    return PushResult(session.name, tuple(files), failed_models(failures))
