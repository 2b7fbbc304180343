"""``timing-host.md`` and ``timing-host.json``: estimates beside times of this machine."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from toolchain.dev.results_page import write_results
from toolchain.dev.timing.page import Judged, Part, Summary, errors_table, table

NAME = "timing-host"


class HostResults(Part):
    """The document."""

    created: datetime
    qemu: str
    cpu: str
    """As the kernel calls it."""
    core: str
    """As LLVM calls it."""
    clock_mhz: int
    """While it was measured."""
    rounds: int
    coefficients: dict[str, float]
    """Of the fit on all rows."""
    summaries: list[Summary]
    ablations: list[Summary]
    """Other models on the same rows, each cross-validated."""
    rows: list[Judged]


def write_page(results: HostResults, out: Path) -> list[Path]:
    """Write the page and the document; returns their paths.

    Raises:
        OutputError: the folder cannot be written.
    """
    return write_results(NAME, page(results), results, out)


def page(results: HostResults) -> str:
    """The page, in Markdown."""
    values = ", ".join(f"{name} {value:.3g}" for name, value in results.coefficients.items())
    lines = [
        "# Estimated times beside times of this machine",
        "",
        f"Written by `python -m toolchain.dev.timing host` on {results.created:%Y-%m-%d}, on "
        f"{results.cpu} at {results.clock_mhz} MHz, with {results.qemu}. Boards are not at hand, "
        "so their estimates are held against [published times](timing-model.md). Here the same "
        "method is held against times that were measured: our runner on x86-64, one thread. "
        "Traces and caches are those of boards. The core is llvm-mca's "
        f"`{results.core}`, in place of our own pipelines. It lets no load wait for a store, so an "
        "accumulator that goes through the stack is given a store's and a load's cycles here. QEMU "
        "plays no AVX-512 and no AVX-VNNI, so the runner was built without them, for both. Errors "
        "are of rows whose family of networks took no part in the fit. A time is the shortest of "
        f"{results.rounds} medians, measured in turn.",
        "",
        "## Errors",
        "",
        *errors_table("rows", ((one.name, one) for one in results.summaries)),
        "",
        f"Coefficients, fitted on all rows: {values}.",
        "",
        "## Other models",
        "",
        *errors_table("model", ((one.name, one) for one in results.ablations)),
        "",
        "## Rows",
        "",
        *table(
            ["network", "type", "measured ms", "estimated ms", "error"],
            (
                [
                    one.network, one.precision, f"{one.ms:.4g}", f"{one.estimated_ms:.4g}",
                    f"{one.error:+.0%}",
                ]
                for one in results.rows
            ),
        ),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"
