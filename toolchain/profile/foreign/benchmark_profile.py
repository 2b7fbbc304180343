"""The tables of operators that TensorFlow Lite's ``benchmark_model`` prints, as text and as CSV.

Their source is TensorFlow's ``StatsCalculator`` (tensorflow/tsl/util/stats_calculator.cc): a header
that names columns, then a row for each operator. The type comes first and the name last; both may
have spaces and commas, so a row is told by the numbers between them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from toolchain.profile.foreign.log_text import (
    Line,
    Log,
    number,
    scaled,
    shown,
    tidy,
    whole_number,
)
from toolchain.profile.result_document import LONGEST_US, OperatorResult

MOST_OPERATORS = 20_000
"""Of a model."""
SUMMED = "operators are summed by type: the file has no table of them in the order of execution"
_TITLE = re.compile(r"\s*={5,} (.{1,60}?) ={5,}\s*")
_HEADER = re.compile(r"\s*(?:\[node type\]|node type,)", re.I)
_TIME = ("avg ms", "avg_ms")
_CALLS, _SHARE, _TYPED_SHARE = "times called", "%", "avg %"
_FIGURE = re.compile(r"[-+]?(?:[\d.,]+(?:[eE][+-]?\d+)?|nan|inf)", re.I)
_Table = Literal["Run Order", "Summary by node type", ""]
_Part = Literal["start", "runs", "inside"]


class OperatorTables:
    """Reads tables line by line, and keeps the operators of the timed inferences.

    Tables of the start (delegates that take the graph, tensors that are allocated), of subgraphs
    and of a delegate's inside are passed by: their time is part of an operator's of the graph.

    Args:
        log: the file, for errors.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._part: _Part = "runs"
        self._table: _Table = ""
        self._columns: list[str] = []
        self._separator: str | None = None
        self._in_order: list[OperatorResult] = []
        self._by_type: list[OperatorResult] = []
        self.cut = False
        """Whether the last row was cut, and left out."""

    @property
    def operators(self) -> list[OperatorResult]:
        """In the order of execution; by type where that is all that there is."""
        return self._in_order or self._by_type

    @property
    def summed(self) -> bool:
        """Whether operators of one type are one row."""
        return bool(self._by_type) and not self._in_order

    def take(self, line: Line) -> bool:
        """Whether a line is of a table, or tells which one follows.

        Raises:
            ModelError: a row with a figure that is none, or too many of them.
        """
        text = line.text
        if self._heading(text):
            self._columns = []
            return True
        if _HEADER.match(text):
            self._columns, self._separator = _columns(text)
            return True
        if not self._columns:
            return False
        if not text.strip():
            self._columns = []
            return True
        return self._row(line)

    def _heading(self, text: str) -> bool:
        if "Profiling Info for Benchmark Initialization" in text:
            self._part, self._table = "start", ""
        elif "Profiling Info for Regular Benchmark Runs" in text:
            self._part, self._table = "runs", ""
        elif text.startswith("Delegate internal:") or re.match(r"Subgraph \(index: \d+\) p", text):
            self._part, self._table = "inside" if self._part != "start" else "start", ""
        elif text.startswith("Primary graph profile:"):
            self._part = "runs" if self._part != "start" else "start"
        elif title := _TITLE.fullmatch(text[:200]):
            known: dict[str, _Table] = {
                "Run Order": "Run Order", "Summary by node type": "Summary by node type",
            }  # fmt: skip
            self._table = known.get(title[1], "")
        else:
            return False
        return True

    def _row(self, line: Line) -> bool:
        fields = _fields(line.text, self._separator)
        found = _figures(fields, self._columns)
        if not line.ended:
            self.cut = True  # wherever it ends, a figure or the name may be cut
            return True
        if found is None:
            if self._separator == "\t" and line.text.startswith("\t"):
                raise self._log.fault(line.number, f"{shown(line.text.strip())} is no row of the "
                                      "table that it stands in")  # fmt: skip
            return False
        kept = {"Run Order": self._in_order, "Summary by node type": self._by_type}.get(self._table)
        if kept is None or self._part != "runs":
            return True
        if len(kept) >= MOST_OPERATORS:
            raise self._log.fault(line.number, f"more than {MOST_OPERATORS} operators in a model")
        kept.append(self._operator(line, len(kept), fields, found))
        return True

    def _operator(
        self, line: Line, index: int, fields: Sequence[str], found: tuple[int, dict[str, str]]
    ) -> OperatorResult:
        first, figures = found
        csv = self._separator == ","
        kind, name = (
            # In names a CSV has tabs for commas.
            tidy((self._separator or " ").join(part).replace("\t", "," if csv else " "))
            for part in (fields[:first], fields[first + len(figures) :])
        )
        time = next((figures[key] for key in _TIME if key in figures), "")
        mean_ms = number(time)
        if mean_ms is None or mean_ms * 1e3 > LONGEST_US:
            raise self._log.fault(line.number, f"{shown(time)} is no time of an operator")
        share = number(figures.get(_SHARE, figures.get(_TYPED_SHARE, "")).rstrip("%"))
        calls = whole_number(figures.get(_CALLS, ""))
        return OperatorResult(
            index=index,
            name=name or None,
            type=kind or None,
            mean_us=scaled(mean_ms, 1e3),
            share=None if share is None else round(share / 100, 9),
            calls=calls,
        )


def _columns(text: str) -> tuple[list[str], str | None]:
    """The columns between type and name, and what separates fields; ``None`` is spaces."""
    if "[" in text:
        names = [name.strip().lower() for name in re.findall(r"\[([^\[\]]{1,40})\]", text)]
        separator = "\t" if "\t" in text.strip() else None
    else:
        names = [name.strip().lower() for name in text.split(",")]
        separator = ","
    return [name for name in names[1:] if name != "name"], separator


def _fields(text: str, separator: str | None) -> list[str]:
    if separator is None:
        return text.split()
    fields = text.split(separator)
    return fields[1:] if separator == "\t" and not fields[0].strip() else fields


def _figures(fields: Sequence[str], columns: Sequence[str]) -> tuple[int, dict[str, str]] | None:
    """Where a row's figures begin, and which they are by column."""
    for first in range(1, len(fields) - len(columns) + 1):
        part = [field.strip() for field in fields[first : first + len(columns)]]
        if all(_fits(figure, column) for figure, column in zip(part, columns, strict=True)):
            return first, dict(zip(columns, part, strict=True))
    return None


def _fits(figure: str, column: str) -> bool:
    percent = figure.endswith("%")
    return percent == column.endswith("%") and bool(_FIGURE.fullmatch(figure.rstrip("%")))
