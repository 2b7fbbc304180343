"""The table of ``deploy doctor``: what is wrong, a row each, and below it what mends that.

Sentences are folded in their column. Commands are not: they stand below the table, each on a line
of its own, so that they can be copied.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from toolchain.doctor.finding import Diagnosis, Finding
from toolchain.report.fitting import note

STYLES = {"fault": "red", "warning": "yellow", "unknown": "magenta", "ok": "green"}
_AREAS = {"host": "here", "ssh": "ssh", "board": "board"}
_WIDEST = 72
"""Columns in which a sentence reads well."""
_LEAST = 24
"""Columns that sentences have at least, before the columns beside them are left out."""


@dataclass(frozen=True)
class _Row:
    """Findings of one state and place that say the same."""

    where: str
    checks: tuple[str, ...]
    first: Finding


def doctor_table(
    diagnosis: Diagnosis, width: int = 200, *, everything: bool = False
) -> RenderableType:
    """What was found, faults first.

    Args:
        diagnosis: all findings.
        width: columns that there are.
        everything: whether what is fine has a row, too; else it is counted.
    """
    states = (
        ("fault", "warning", "unknown", "ok") if everything else ("fault", "warning", "unknown")
    )
    told = [(_AREAS[one.area], one) for one in diagnosis.findings if one.state in states]
    parts = [Text(_title(diagnosis), style="bold"), *findings_parts(told, width)]
    parts += [Text("")] * bool(told)
    parts.append(_summary(diagnosis, everything=everything))
    return Group(*parts)


def findings_parts(
    told: Sequence[tuple[str, Finding]], width: int = 200, *, where: str = "where"
) -> list[RenderableType]:
    """A table of findings, a row each, and below it what mends them.

    Args:
        told: each with where it was found, in order.
        width: columns that there are.
        where: the heading of the column that says where.
    """
    rows = _rows(told)
    parts: list[RenderableType] = []
    fixes = list(dict.fromkeys(row.first.fix for row in rows if row.first.fix))
    if rows:
        parts.append(_table(rows, fixes, width, where))
    if fixes:
        parts += [Text(""), Text("What mends it:", style="bold")]
        by_fix = {row.first.fix: row.first for row in rows}
        parts += [_fix(number, by_fix[fix], len(fixes)) for number, fix in enumerate(fixes, 1)]
    return parts


def _title(diagnosis: Diagnosis) -> str:
    return "This machine" + (f", and board {diagnosis.board}" if diagnosis.board else "")


def _rows(told: Sequence[tuple[str, Finding]]) -> list[_Row]:
    """Findings in order; what several could not be asked for is said once."""
    rows: list[_Row] = []
    for where, one in told:
        last = rows[-1] if rows else None
        alike = last is not None and (one.state, where, one.what, one.fix) == (
            last.first.state, last.where, last.first.what, last.first.fix,
        )  # fmt: skip
        if last is not None and alike and one.state == "unknown":
            rows[-1] = _Row(where, (*last.checks, one.check), last.first)
        else:
            rows.append(_Row(where, (one.check,), one))
    return rows


def _table(rows: Sequence[_Row], fixes: Sequence[str], width: int, where: str) -> Table:
    numbers = [str(fixes.index(row.first.fix) + 1) if row.first.fix else "" for row in rows]
    columns: dict[str, list[str]] = {
        "state": [row.first.state for row in rows],
        where: [row.where for row in rows],
        "check": [row.checks[0] if len(row.checks) == 1 else "" for row in rows],
        "fix": numbers if fixes else [],
    }
    # What matters least gives way first: a sentence mostly says where, and what was looked at.
    for name in ("where", "check", "fix"):
        if name in columns and _beside(columns) + _LEAST > width:
            columns.pop(name)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("state", where, "check"):
        if name in columns:
            table.add_column(name, no_wrap=True)
    table.add_column("finding", overflow="fold", max_width=_WIDEST)
    if "fix" in columns and fixes:
        table.add_column("fix", justify="right", no_wrap=True)
    for index, row in enumerate(rows):
        state = row.first.state
        cells = [Text(state, style=STYLES[state])]
        cells += [Text(columns[name][index]) for name in (where, "check") if name in columns]
        cells.append(Text(_sentence(row)))
        if "fix" in columns and fixes:
            cells.append(Text(numbers[index]))
        table.add_row(*cells)
    return table


def _beside(columns: dict[str, list[str]]) -> int:
    """Columns of the terminal that stand beside the sentences."""
    widths = [max(map(cell_len, (name, *cells))) for name, cells in columns.items() if cells]
    return sum(widths) + 2 * len(widths)


def _sentence(row: _Row) -> str:
    if len(row.checks) == 1:
        return row.first.what
    return f"{row.first.what}: {', '.join(row.checks)}"


def _fix(number: int, finding: Finding, count: int) -> RenderableType:
    """A command on a line of its own, whatever its length; advice is folded."""
    digits = f"{number:>{len(str(count))}}  "
    if finding.runs:
        return Text.assemble(
            digits, "run: ", (finding.fix or "", "cyan"), no_wrap=True, overflow="ignore"
        )
    grid = Table.grid(padding=0)
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(Text(digits), Text(finding.fix or ""))
    return grid


def _summary(diagnosis: Diagnosis, *, everything: bool) -> Text:
    counts = {state: len(diagnosis.of_state(state)) for state in ("fault", "warning", "unknown")}
    fine = len(diagnosis.of_state("ok"))
    words = [
        _counted(counts["fault"], "fault", "faults"),
        _counted(counts["warning"], "warning", "warnings"),
        f"{counts['unknown']} not asked" if counts["unknown"] else "",
        f"{fine} fine" + ("" if everything or not fine else " (--all shows them)"),
    ]
    return note(", ".join(filter(None, words)))


def _counted(count: int, one: str, more: str) -> str:
    return f"no {more}" if not count else f"{count} {one if count == 1 else more}"
