"""The table of operators on a terminal."""

from __future__ import annotations

from rich.console import Group
from rich.table import Table
from rich.text import Text

from toolchain.bench.operators import GOAL, OperatorRow, OperatorTable


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
