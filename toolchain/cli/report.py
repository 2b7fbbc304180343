"""``deploy report``: a page of what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolchain.cli import bars
from toolchain.cli.command_help import App
from toolchain.cli.options import JsonOption, check_alone, wrong_use
from toolchain.cli.output import show

if TYPE_CHECKING:
    from toolchain.failures import Failures
    from toolchain.progress import Progress
    from toolchain.report.page.view import Report

commands = App()
_PAGE = Path("report.html")


@commands.example(
    "deploy report profile.json --models . --accuracy accuracy.json",
    "deploy report profile.json estimate.json --output report.html --png slides",
)
def report(
    documents: Annotated[
        list[Path],
        typer.Argument(
            help="What deploy profile or deploy estimate writes with --output; or sweep.json.",
            metavar="FILE",
        ),
    ],
    models: Annotated[
        list[Path] | None,
        typer.Option(
            "--models",
            "-m",
            metavar="PATH",
            help="Show the masks of this .tflite file, or of all in this folder; may be repeated.",
        ),
    ] = None,
    accuracy: Annotated[
        list[Path] | None,
        typer.Option(
            "--accuracy",
            "-a",
            metavar="FILE",
            help='Accuracies of models, 0 to 1: {"MODEL": 0.919}, a CSV of model,accuracy, '
            "demo.json, or what deploy train --json prints; may be repeated.",
        ),
    ] = None,
    published: Annotated[
        Path | None,
        typer.Option(
            "--published",
            metavar="FILE.csv",
            help="Times of others to show beside: model,board,threads,type,ms,source.",
        ),
    ] = None,
    title: Annotated[
        str | None,
        typer.Option("--title", help="Of the page.", show_default="the boards' titles"),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE.html",
            help="File to write; - for standard output.",
            show_default="report.html; with --json, --png or --svg: none",
        ),
    ] = None,
    png: Annotated[
        Path | None, typer.Option("--png", metavar="FOLDER", help="Write each chart as PNG, too.")
    ] = None,
    svg: Annotated[
        Path | None, typer.Option("--svg", metavar="FOLDER", help="Write each chart as SVG, too.")
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Make a page of what was measured: one HTML file with charts, which fetches nothing.

    The first model of a file is the one that the others are compared with. With `--json` the
    numbers of the charts are printed.
    """
    from toolchain.failures import Failures
    from toolchain.report.page.summary import report_summary
    from toolchain.storage.files import check_folder, check_writable

    check_alone(output, json_output)
    page_file = output or (None if json_output or png or svg else _PAGE)
    inputs = [*documents, *(accuracy or []), *([published] if published else [])]
    _check_inputs(inputs, models or [])
    if page_file is not None:
        check_writable(page_file, inputs=[*inputs, *(models or [])])
    for folder in (png, svg):
        if folder is not None:
            check_folder(folder)
    if title is not None and not title.strip():
        raise wrong_use("--title", "is empty: leave it away, or give a title")
    failures, written = Failures(), dict[str, str]()
    made = _read(documents, models or [], accuracy or [], published, title)
    if page_file is not None or png is not None or svg is not None:
        written = _draw(made, page_file, png, svg, failures, bars.progress(quiet=json_output))
    show(
        made,
        lambda _width: report_summary(made, written),
        json_output=json_output,
        output=page_file,
    )
    failures.require()


def _check_inputs(files: Sequence[Path], models: Sequence[Path]) -> None:
    from toolchain.errors import ModelError
    from toolchain.formats.input_file import check_readable

    for file in files:
        check_readable(file, ModelError, pipe=True)
    for file in models:
        if not file.is_dir():
            check_readable(file, ModelError)


def _read(
    documents: Sequence[Path],
    models: Sequence[Path],
    accuracy: Sequence[Path],
    published: Path | None,
    title: str | None,
) -> Report:
    from toolchain.report.page.accuracies import load_accuracies
    from toolchain.report.page.documents import make_report, read_document
    from toolchain.report.page.pictures import masks_of, model_files
    from toolchain.report.page.published import load_published

    known: dict[str, float] = {}
    for file in accuracy:
        known |= load_accuracies(file)
    rows = load_published(published) if published else []
    read = [read_document(file, known) for file in documents]
    results = [result for _, found in read for result in found]
    masks, said = masks_of(model_files(models), results)
    return make_report(read, known, masks=masks, mask_notes=said, published=rows, title=title)


def _draw(
    made: Report,
    page_file: Path | None,
    png: Path | None,
    svg: Path | None,
    failures: Failures,
    progress: Progress,
) -> dict[str, str]:
    """Write what was asked for; returns the files, each with what is in it."""
    from toolchain import extras

    extras.require("deploy report", "report")
    from toolchain.report.page.chart_files import drawn
    from toolchain.report.page.charts import charts_of
    from toolchain.report.page.page import render
    from toolchain.storage.files import write_into, write_or_keep

    charts, written = charts_of(made), dict[str, str]()
    if page_file is not None:
        with progress.stage("page"):
            content = render(made, charts)
        with failures.of_output(page_file):
            write_or_keep(page_file, content)
            written[str(page_file)] = f"{len(charts)} charts, {len(content) / 1e6:.1f} MB"
    for folder, kind in ((png, "png"), (svg, "svg")):
        if folder is None:
            continue
        with progress.stage(f"charts as {kind.upper()}", total=len(charts)) as stage:
            contents = {}
            for name, content in drawn(charts, "svg" if kind == "svg" else "png"):
                contents[name] = content
                stage.advance(1, name)
        with failures.of_output(folder):
            for path in write_into(folder, contents):
                written[str(path)] = f"{len(contents[path.name]) / 1e3:.0f} kB"
    return written
