"""What a fault is, and where it is tried."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import click
import typer

from toolchain.cli.app import app
from toolchain.errors import DeployError

_Value = TypeVar("_Value")


@dataclass
class Place:
    """Where the tries of one fault happen.

    Args:
        folder: for all of them.
    """

    folder: Path
    stack: ExitStack = field(default_factory=ExitStack)
    """Closed at the end of all tries."""
    _made: dict[str, Any] = field(default_factory=dict)

    def once(self, name: str, make: Callable[[Path], _Value]) -> _Value:
        """What the first try makes and all others use."""
        if name not in self._made:
            folder = self.folder / name
            folder.mkdir()
            self._made[name] = make(folder)
        made: _Value = self._made[name]
        return made

    def fresh(self, number: int) -> Path:
        """An empty folder for one try."""
        folder = self.folder / f"try{number}"
        folder.mkdir()
        return folder


Inject = Callable[[Place, int], str]
"""Injects the fault, the n-th time; what went wrong, or nothing."""


@dataclass(frozen=True)
class Fault:
    """A fault from outside."""

    name: str
    line: int
    """The kind; ``before.json`` has what earlier versions did with the first twelve."""
    tries: int
    test: str
    """The test that holds the same; none where it takes what no test may: many seconds."""
    inject: Inject
    limit_s: float = 60.0
    """Seconds that one try may take, on a busy machine too."""
    cheap: bool = True
    """Whether a few tries of it take seconds: those are part of ``make test``."""


def refused(*words: object) -> DeployError | None:
    """The error that a command of ours ends with, run in this process; ``None`` without one.

    Raises:
        Exception: whatever else leaves the command: a failure.
    """
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            command = typer.main.get_command(app)
            command.main([str(word) for word in words], standalone_mode=False)
    except DeployError as error:
        return error
    except (click.exceptions.ClickException, click.exceptions.Exit):
        return None
    return None


@contextmanager
def told(found: list[str], what: str) -> Iterator[None]:
    """What leaves the block that is no error of ours is a failure."""
    try:
        yield
    except DeployError:
        pass
    except Exception as error:
        found.append(f"{what}: {type(error).__name__}: {error}")
