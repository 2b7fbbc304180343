"""``deploy history``: what a history of ``deploy profile`` has, as tables and as a plot."""

from __future__ import annotations

import functools
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolchain.cli.command_help import App
from toolchain.cli.options import JsonOption, thread_counts, wrong_use
from toolchain.cli.output import note, show

if TYPE_CHECKING:  # pydantic is slow to import, and help needs none of it
    from toolchain.profile.series import Series, Trends

commands = App()
_LEFT_OUT = 5
"""Series that a plot left out which are named."""


@commands.example(
    "deploy history",
    "deploy history s20 --board rpi4 --last 50",
    "deploy history dense s20 --plot history.svg",
)
def history(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL",
            help="Names of models, as the table without any has them: their runs are shown.",
        ),
    ] = None,
    board: Annotated[
        str | None, typer.Option("--board", "-b", metavar="NAME", help="Only runs on this board.")
    ] = None,
    threads: Annotated[
        str | None,
        typer.Option(
            "--threads",
            "-t",
            metavar="N",
            help="Only runs with so many threads; several numbers as 1,2,4 or 1-4.",
        ),
    ] = None,
    stock: Annotated[
        bool | None,
        typer.Option(
            "--stock/--patched",
            help="Only runs on the unpatched runtime, or only those on the patched one.",
        ),
    ] = None,
    last: Annotated[
        int | None,
        typer.Option(
            "--last",
            min=1,
            metavar="N",
            help="Only so many runs of each model, the latest.",
            show_default="20; in a plot: all",
        ),
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option(
            "--history",
            metavar="FILE",
            help="The history.",
            show_default="where deploy profile keeps it",
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE", help="Draw it: .png, .svg or .pdf."),
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Show how what `deploy profile` measured has changed: a row for each model, or for each run.

    Without a model, each series of runs has a row: those of one model on one board, with as many
    threads. A change is no verdict: `deploy compare` says whether it may be chance.
    """
    from toolchain.failures import Failures
    from toolchain.profile.history import default_path
    from toolchain.profile.series import SHOWN
    from toolchain.report import history_table

    counts = thread_counts(threads)
    if last is not None and not (models or plot or json_output):
        raise wrong_use("--last", "is how many runs of a model are shown; name one, or give --plot")
    path = log or default_path()
    found = _read(path, log, plot, last if plot else last or SHOWN)
    chosen = _choose(found.series, path, models or [], board, counts, stock)
    failures = Failures()
    left_out: list[Series] = []
    if plot:
        from toolchain.report.history_plot import plot_history

        with failures.of_output(plot):
            left_out = plot_history(chosen, plot, path)
    shown = found.model_copy(update={"series": [one.cut(last or SHOWN) for one in chosen]})
    tables = [functools.partial(history_table.series_table, shown.series)]
    if models:
        tables = [functools.partial(history_table.runs_table, one) for one in shown.series]
    show(shown, *tables, json_output=json_output)
    if not json_output and found.skipped:
        count = found.skipped
        lines = f"{count:,} lines are" if count > 1 else "1 line is"
        note(
            f"{path}: {lines} left out: torn, garbled, or of a later version of this program",
            style="yellow",
        )
    if left_out:
        _tell_left_out(plot, left_out)
    failures.require()


def _read(path: Path, given: Path | None, plot: Path | None, last: int | None) -> Trends:
    """The series of a history, after a look at the place that a plot goes to.

    Args:
        path: of the history.
        given: what ``--history`` says.
        plot: where a plot is to be written.
        last: how many points each series gets.

    Raises:
        ModelError: there is no history, or nothing in it; the hint adds to it.
        OutputError: the plot cannot be written.
    """
    from toolchain.errors import ModelError
    from toolchain.formats.input_file import check_readable
    from toolchain.profile.series import read_trends

    try:
        check_readable(path, ModelError)
    except ModelError as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise
        hint = error.hint or _how_to_add(given)
        raise ModelError(f"{path}: there is no history", hint=hint) from error
    if plot:
        from toolchain.report.profile_plot import check_plot_path

        check_plot_path(plot, inputs=[path])
    found = read_trends(path, last)
    if not found.series:
        count = found.skipped
        lines = f": {count:,} line{'s'[: count > 1]} of it {'are' if count > 1 else 'is'} none"
        raise ModelError(
            f"{path}: there is no run in it{lines if count else ''}", hint=_how_to_add(given)
        )
    return found


def _how_to_add(given: Path | None) -> str:
    """A line that adds to a history: of a model that lies here, where there is one."""
    from toolchain.hints import command

    models: list[str] = []
    with suppress(OSError):
        models = sorted(file.name for file in Path().glob("[!-]*.tflite"))[:1]
    words = [*models, *(["--history", given] if given else [])] if models else ["--help"]
    return f"deploy profile adds a run each time; run: {command('profile', *words)}"


def _choose(
    series: list[Series],
    path: Path,
    models: list[str],
    board: str | None,
    threads: list[int],
    stock: bool | None,
) -> list[Series]:
    from toolchain.profile.series import choose
    from toolchain.report.fitting import printable

    known = {one.model for one in series}
    as_shown = {printable(name): name for name in known}  # what a user copies from a table
    names = [name if name in known else as_shown.get(name, name) for name in models]
    return choose(series, path, board=board, models=names, threads=threads, stock=stock)


def _tell_left_out(plot: Path | None, left_out: list[Series]) -> None:
    names = [f"{one.label} on {one.board}" for one in left_out[:_LEFT_OUT]]
    more = len(left_out) - len(names)
    listed = "; ".join(names) + (f"; and {more} more" if more else "")
    note(
        f"{plot} is without what has no figure, or no room: {listed}; name models to draw them",
        style="yellow",
    )
