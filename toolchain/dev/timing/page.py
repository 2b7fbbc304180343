"""``timing-model.md`` and ``timing-model.json``: how far estimates are from published times."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from toolchain.dev.results_page import write_results
from toolchain.dev.timing.cross_validation import Errors, Estimate, errors
from toolchain.dev.timing.published import Precision, Runtime
from toolchain.errors import DataError
from toolchain.formats.json_text import parse_json
from toolchain.formats.text_file import read_text
from toolchain.hardware.facts import Core, core_facts

NAME = "timing-model"


class Part(BaseModel):
    """Of a document."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Judged(Part):
    """A time and its estimate."""

    network: str
    precision: Precision
    ms: float
    estimated_ms: float

    @property
    def error(self) -> float:
        """Relative; above 0 the estimate is too long."""
        return self.estimated_ms / self.ms - 1


class RowEstimate(Judged):
    """A published time and its estimate."""

    runtime: str
    width: int
    height: int
    threads: int
    threads_said: bool


class Summary(Part):
    """Errors of several rows."""

    name: str
    """Which rows, or which model."""
    rows: int
    median: float
    ninth_decile: float
    worst: float
    worst_network: str


class Section(Part):
    """The rows of one board at one clock, of one table."""

    board: str
    core: Core
    clock_mhz: int
    published: date | None
    runtime: Runtime
    fitted: bool
    """Whether each row was estimated by a fit on the other families of the same section; else all
    were estimated by coefficients of another section."""
    coefficients: dict[str, float]
    """Of the fit on all its rows, or those that were applied."""
    summaries: list[Summary]
    """By type and threads."""
    ablations: list[Summary]
    """Other models on the same rows with one thread, each cross-validated."""
    rows: list[RowEstimate]


class Results(Part):
    """The document."""

    created: datetime
    qemu: str
    sections: list[Section]
    pairs: int
    """Of rows on one board at one clock whose times differ by more than 1.3."""
    pairs_right: int
    """Those whose estimates have the same order."""
    left_out: dict[str, int]
    """Rows by the reason why they are not used."""


def load_results(path: Path) -> Results:
    """Read a document.

    Raises:
        DataError: no such file, or it is none; names the first fault.
    """
    return parse_json(
        Results,
        read_text(path, DataError),
        DataError,
        f"{path}: holds no estimates beside published times",
        hint="python -m toolchain.dev.timing page DATA writes one",
    )


def row_estimate(one: Estimate) -> RowEstimate:
    """An estimate as the document has it."""
    row = one.row
    return RowEstimate(
        runtime=row.runtime,
        network=row.network,
        precision=row.precision,
        width=row.width,
        height=row.height,
        threads=row.threads,
        threads_said=row.threads_said,
        ms=row.ms,
        estimated_ms=one.ms,
    )


def summaries(estimates: Sequence[Estimate]) -> list[Summary]:
    """Errors by threads, and by type: whether multiplications are of integers."""
    found = []
    for threads in sorted({one.row.threads for one in estimates}):
        for whole in (False, True):
            chosen = [
                one
                for one in estimates
                if one.row.threads == threads and (one.row.precision == "int8") == whole
            ]
            if chosen:
                name = f"{chosen[0].row.precision}, {_threads(threads)}"
                found.append(summary(name, errors(chosen)))
    return found


def summary(name: str, found: Errors) -> Summary:
    """Errors as the document has them."""
    return Summary(
        name=name,
        rows=found.rows,
        median=found.median,
        ninth_decile=found.ninth_decile,
        worst=found.worst,
        worst_network=found.worst_row.title,
    )


def write_page(results: Results, out: Path) -> list[Path]:
    """Write the page and the document; returns their paths.

    Raises:
        OutputError: the folder cannot be written.
    """
    return write_results(NAME, page(results), results, out)


def page(results: Results) -> str:
    """The page, in Markdown."""
    lines = [
        "# Estimated times beside published ones",
        "",
        f"Written by `python -m toolchain.dev.timing` on {results.created:%Y-%m-%d}, with "
        f"{results.qemu}. Nothing here was measured on a board. Errors are those of rows whose "
        "family of networks took no part in the fit, unless a section says otherwise. The form of "
        "the model (windows of 50,000 instructions, memory behind the core with one thread and "
        "after it with several, what a line costs L1D, the A72's core cycles scaled) was chosen by "
        "these same errors, so that they are somewhat too low. Fits are to convolutional "
        "networks; a transformer is estimated by them, and counts among the errors.",
        "",
        "## Errors",
        "",
        *errors_table(
            "rows",
            (
                (f"{_title(section)}, {one.name}", one)
                for section in results.sections
                for one in section.summaries
            ),
        ),
        "",
        f"Of {results.pairs} pairs of rows on one board and clock that differ by more than 1.3 "
        f"times, {results.pairs_right} are in the right order "
        f"({results.pairs_right / max(results.pairs, 1):.1%}).",
        "",
    ]
    for section in results.sections:
        lines += [*_section(section), ""]
    lines += [
        "## Rows that are not used",
        "",
        *table(
            ["rows", "why"], ([str(count), reason] for reason, count in results.left_out.items())
        ),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _section(section: Section) -> Iterator[str]:
    yield f"## {_title(section)}"
    yield ""
    values = ", ".join(f"{name} {value:.3g}" for name, value in section.coefficients.items())
    yield f"Coefficients: {values}. " + (
        "They are of the fit on all rows."
        if section.fitted
        else "They were fitted on other rows, and nothing was fitted here."
    )
    if section.ablations:
        yield ""
        yield from errors_table("model, one thread", ((one.name, one) for one in section.ablations))
    yield ""
    yield from table(
        ["network", "type", "input", "threads", "published ms", "estimated ms", "error"],
        (
            [
                one.network,
                one.precision,
                f"{one.width}x{one.height}",
                f"{one.threads}" if one.threads_said else f"{one.threads} (not said)",
                f"{one.ms:.4g}",
                f"{one.estimated_ms:.4g}",
                f"{one.error:+.0%}",
            ]
            for one in section.rows
        ),
    )


def _title(section: Section) -> str:
    core = core_facts(section.core).name
    dated = f", {section.published:%B %Y}" if section.published else ""
    return f"{core} at {section.clock_mhz} MHz ({section.board}), {section.runtime}{dated}"


def _threads(number: int) -> str:
    return "1 thread" if number == 1 else f"{number} threads"


def errors_table(first: str, rows: Iterable[tuple[str, Summary]]) -> Iterator[str]:
    """A table of errors; the first column is called ``first``."""
    return table(
        [first, "number", "median", "90th percentile", "worst", "worst network"],
        (
            [
                name,
                str(one.rows),
                f"{one.median:.1%}",
                f"{one.ninth_decile:.1%}",
                f"{one.worst:.1%}",
                one.worst_network,
            ]
            for name, one in rows
        ),
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A table in Markdown, line by line."""
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for cells in rows:
        yield f"| {' | '.join(cells)} |"
