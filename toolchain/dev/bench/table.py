"""The tables of the bench on a terminal."""

from __future__ import annotations

from rich.console import Group
from rich.table import Table
from rich.text import Text

from toolchain.dev.bench.compare import Comparison
from toolchain.dev.bench.operators import OperatorTable
from toolchain.dev.bench.results import BenchResults
from toolchain.profile.operator_reasons import GOAL, UNEXPLAINED
from toolchain.profile.operators import OperatorRow


def operator_table(table: OperatorTable) -> Group:
    """Every operator, dense beside masked, the sums, and a sentence for each that falls short."""
    shown = Table(title=f"{table.masked_model} over {table.dense_model}", title_justify="left")
    for heading in ("", "operator", "kind", "shape", "tile"):
        shown.add_column(heading, no_wrap=True)
    for heading in ("kept", "dense", "masked", "outside", "ratio", "ideal", "of ideal", "lost"):
        shown.add_column(heading, justify="right", no_wrap=True)
    for row in table.rows:
        shown.add_row(*_cells(row, table.masked), style=_style(row))
    other = table.masked - sum(row.masked for row in table.rows)
    shown.add_section()
    shown.add_row(
        "", "outside of operators", "", "", "", "",
        f"{table.dense - sum(row.dense for row in table.rows):,}", f"{other:,}",
        "", "", "", "", "",
    )  # fmt: skip
    shown.add_row(
        "", "all", "", "", "", "", f"{table.dense:,}", f"{table.masked:,}", "",
        f"{table.speedup:.3f}", f"{table.ideal:.3f}", f"{table.speedup / table.ideal:.3f}", "",
        style="bold",
    )  # fmt: skip
    reasons = [
        Text(
            f"{row.index:3} {row.name}: {row.reason}",
            style="red" if row in table.unexplained else "",
        )
        for row in table.rows
        if row.reason
    ]
    return Group(shown, Text(f"below {GOAL} of the ideal, or added:", style="bold"), *reasons)


def _cells(row: OperatorRow, total: int) -> list[str]:
    tile = row.masked_tile
    ratio, of_ideal = row.speedup, row.of_ideal
    return [
        str(row.index),
        row.name if row.shape else "-",
        row.kind,
        row.shape,
        f"{tile.mr}" if tile else "",
        f"{row.kept}/{row.pixels}" if row.pixels is not None else "",
        f"{row.dense:,}" if row.dense else "-",
        f"{row.masked:,}" if row.masked else "-",
        f"{row.masked_outside / row.masked:.0%}" if row.masked and row.shape else "",
        f"{ratio:.3f}" if ratio else "",
        f"{row.dense / row.ideal:.3f}" if row.ideal else "",
        f"{of_ideal:.3f}" if of_ideal else "",
        f"{(row.masked - row.ideal) / total:+.2%}",
    ]


def _style(row: OperatorRow) -> str:
    return "yellow" if row.reason else ""


def results_table(results: BenchResults) -> Group:
    """Every case: instructions, ratio, ideal, time."""
    shown = Table(title=f"{results.core}, and this machine", title_justify="left")
    for heading in ("network", "type", "s", "threads"):
        shown.add_column(heading, no_wrap=True)
    for heading in ("instructions", "ratio", "ideal", "unexplained", "ms", "ratio in time"):
        shown.add_column(heading, justify="right", no_wrap=True)
    for case in results.cases:
        ratio, timed = results.speedup(case), case.timed
        unexplained = sum(UNEXPLAINED in (row.reason or "") for row in case.operators)
        shown.add_row(
            case.network,
            case.dtype,
            f"{case.sparsity:g}",
            str(case.threads),
            f"{case.counted.instructions:,}" if case.counted else "-",
            f"{ratio:.3f}" if ratio else "-",
            f"{case.ideal:.3f}",
            str(unexplained) if case.operators else "",
            f"{timed.us.median / 1000:.2f}" if timed else "-",
            f"{timed.speedup.median:.3f} ({timed.speedup.low:.3f} to {timed.speedup.high:.3f})"
            if timed
            else "-",
        )
    return Group(shown, *(Text(f"not measured: {one}", style="red") for one in results.missing))


def comparison_table(found: Comparison) -> Group:
    """Every figure that changed, the worse ones first."""
    lines: list[Table | Text] = []
    if found.changes:
        shown = Table(title="changed", title_justify="left")
        for heading in ("case", "figure"):
            shown.add_column(heading)
        for heading in ("before", "after", "change", ""):
            shown.add_column(heading, justify="right", no_wrap=True)
        for change in sorted(found.changes, key=lambda change: not change.worse):
            number = ".3f" if change.before < 100 else ",.0f"
            shown.add_row(
                change.case,
                change.figure,
                f"{change.before:{number}}",
                f"{change.after:{number}}",
                f"{change.relative:+.2%}",
                "worse" if change.worse else "better",
                style="red" if change.worse else "green",
            )
        lines.append(shown)
    lines += [Text(f"only in the older: {case}") for case in found.only_before]
    lines += [Text(f"only in the newer: {case}") for case in found.only_after]
    worse = len(found.worse)
    lines.append(
        Text(
            f"{found.compared} figures compared: {worse} worse, {len(found.changes) - worse} better"
        )
    )
    return Group(*lines)
