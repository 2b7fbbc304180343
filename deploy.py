"""The command line: parse, call, print.

Every command lives here and does three things: it reads its options, calls the toolchain, and
prints what came back, as a table or with ``--json`` as one JSON document on standard output.
Progress, notes and errors go to standard error.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import rich.console
import rich.progress
import rich.table
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


@app.command()
def build(
    board: Annotated[str, typer.Option("--board", "-b", help="Board name or file.")] = "qemu",
    stock: Annotated[bool, typer.Option("--stock", help="Leave the patches out.")] = False,
    out_dir: Annotated[
        Path | None, typer.Option("--out", help="Bundle folder; build/BOARD by default.")
    ] = None,
    jobs: Annotated[int | None, typer.Option("--jobs", "-j", min=1, help="Compilers.")] = None,
    sources: Annotated[
        Path | None,
        typer.Option("--sources", exists=True, file_okay=False, help="Archives at hand."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Compile and link the programs again.")
    ] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print the manifest.")] = False,
) -> None:
    """Fetch, patch, cross-compile: leave a board's runner and libraries in build/BOARD."""
    from toolchain.board.config import load_board
    from toolchain.build import bundle

    made = bundle.build(
        load_board(board),
        stock=stock,
        out=out_dir,
        sources=sources,
        jobs=jobs,
        force=force,
        progress=TerminalProgress(),
    )
    if json_output:
        document = {"path": str(made.path), **made.manifest.model_dump(mode="json", by_alias=True)}
        print(json.dumps(document, indent=2))
        return
    table = rich.table.Table(title=f"{made.path}", title_justify="left")
    for heading in ("file", "KiB", "linked", "glibc"):
        table.add_column(heading, justify="right" if heading in ("KiB", "glibc") else "left")
    for name, record in made.manifest.files.items():
        if record.elf:
            linked = "static" if record.elf.static else "dynamic"
            floor = record.elf.glibc_floor or "any"
            table.add_row(name, f"{record.bytes / 1024:.0f}", linked, floor)
    out.print(table)
    patched = "stock" if made.manifest.stock else "patched"
    out.print(f"{made.manifest.isa}, {made.manifest.march}, {patched}; {made.manifest.compiler}")


# --- emulator --------------------------------------------------------------------------------


# --- push, run, verify, profile --------------------------------------------------------------


if __name__ == "__main__":
    main()
