"""``deploy push``: the runtime and models are brought to a board."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolchain.board.push import Pushed
from toolchain.failures import Failures
from toolchain.operations.session import BoardSession
from toolchain.tflite_file.graph import read_model
from toolchain.tflite_file.untrained import is_untrained


@dataclass(frozen=True)
class PushOptions:
    """What is brought beside the runtime."""

    models: tuple[Path, ...] = ()
    """Files that can be read."""


@dataclass(frozen=True)
class PushResult:
    """What lies on a board now."""

    board: str
    """What it is called."""
    files: tuple[Pushed, ...]
    """Those of the runtime, then the models that could be brought."""
    untrained: frozenset[Path]
    """The models whose masks are for measuring: no training knew of them."""
    failed: tuple[dict[str, str], ...] = ()
    """Models that could not be brought, each with its ``error``."""

    def document(self) -> dict[str, Any]:
        """What ``--json`` prints."""
        return {
            "board": self.board,
            "files": [
                {
                    "file": str(item.local),
                    "remote": item.remote,
                    "bytes": item.size,
                    "sha256": item.sha256,
                    "sent": item.sent,
                    "untrained": item.local in self.untrained,
                }
                for item in self.files
            ],
            "failed": list(self.failed),
        }


def push(session: BoardSession, options: PushOptions, failures: Failures) -> PushResult:
    """Bring the runner, the delegate and models to a board; what is there already stays.

    Args:
        session: of the board.
        options: which models.
        failures: is told of those that could not be brought, and of what ended the work.
    """
    untrained = frozenset(model for model in options.models if is_untrained(read_model(model)))
    files = list[Pushed]()
    with failures.kept(), session.runner() as runner:
        files += runner.pushed
        files += runner.push_each(options.models, failures)
    return PushResult(session.name, tuple(files), untrained, tuple(failures.rows()))
