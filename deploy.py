"""The command line: parse, call, print.

Every command lives here and does three things: it reads its options, calls the toolchain, and
prints what came back, as a table or with ``--json`` as one JSON document on standard output.
Progress, notes and errors go to standard error.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import rich.console
import rich.progress
import typer

from toolchain import progress
from toolchain.errors import DeployError

app = typer.Typer(
    name="deploy",
    help="Take a network with spatial masks from PyTorch to a small ARM board, and measure it there.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
out = rich.console.Console()
err = rich.console.Console(stderr=True)


class TerminalProgress:
    """Progress bars on a terminal; elsewhere a line at each stage's end."""

    @contextmanager
    def stage(self, title: str, total: float | None = None) -> Iterator[progress.Stage]:
        """Show one bar until the stage ends."""
        with rich.progress.Progress(
            rich.progress.TextColumn("{task.description}"),
            rich.progress.BarColumn(),
            rich.progress.TaskProgressColumn(),
            rich.progress.TimeElapsedColumn(),
            rich.progress.TextColumn("[dim]{task.fields[detail]}"),
            console=err,
        ) as bars:
            yield _Bar(bars, bars.add_task(title, total=total, detail=""))

    def note(self, message: str) -> None:
        """Print one line on standard error."""
        err.print(message, highlight=False, markup=False)


class _Bar:
    def __init__(self, bars: rich.progress.Progress, task: rich.progress.TaskID) -> None:
        self._bars, self._task = bars, task

    def advance(self, steps: float = 1, detail: str | None = None) -> None:
        self._bars.advance(self._task, steps)
        if detail is not None:
            self._bars.update(self._task, detail=detail)

    def total(self, steps: float) -> None:
        self._bars.update(self._task, total=steps)


def main() -> None:
    """Run the command line; a :class:`DeployError` becomes its message and its exit code."""
    try:
        app()
    except DeployError as error:
        err.print("[red]error:[/red] ", end="")
        err.print(error.what, markup=False, highlight=False, soft_wrap=True)
        if error.hint:
            err.print(f"  hint: {error.hint}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        err.print("interrupted", markup=False)
        sys.exit(130)


# --- convert, inspect ------------------------------------------------------------------------


# --- build -----------------------------------------------------------------------------------


# --- emulator --------------------------------------------------------------------------------


# --- push, run, verify, profile --------------------------------------------------------------


if __name__ == "__main__":
    main()
