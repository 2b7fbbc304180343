"""The events of an ETDump as ExecuTorch's Inspector writes them: CSV, TSV or its printed table.

``Inspector.save_data_to_tsv``, ``Inspector.to_dataframe().to_csv`` and ``print_data_tabular``
(executorch/devtools/inspector/_inspector.py, formerly executorch/sdk) have a row for each event of
a block. Headers have the unit: ``p50 (ms)``.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from pydantic import ValidationError

from toolchain.errors import ModelError
from toolchain.formats.validation import faults
from toolchain.profile.foreign.log_text import Log, name_of_file, number, scaled, shown, tidy
from toolchain.profile.result_document import (
    LONGEST_US,
    ModelResult,
    OperatorResult,
    Result,
    Summary,
    summary_of,
)

MOST_EVENTS = 200_000
MOST_SAMPLES = 5_000_000
"""Of all events of a file."""
CUT = "the file ends in the middle of a row, which is left out"
OTHER_UNIT = (
    "times of delegated operators are left out: together they are longer than the inference, so "
    "that their unit is another"
)
WITH_FIRST = "all inferences that were recorded count: a first, slower one may be among them"

_WHOLE = ("Method::execute", "Execute")
"""Events that are an inference."""
_LOADED = ("Program::load_method", "Method::init")
"""Events before any inference; the first has the second in it."""
_CALL = "OPERATOR_CALL"
"""An operator with what calls it: its own event is another."""
_DELEGATE = "DELEGATE_CALL"
"""A delegate with all its operators."""
_UNITS = {"ns": 1e-3, "us": 1.0, "µs": 1.0, "ms": 1e3, "s": 1e6}
_FIGURES = {"p50": "median_us", "avg": "mean_us", "min": "min_us", "max": "max_us", "p90": "p90_us"}
_SEPARATORS = ("\t", ";", "│", "|", ",")
_HINT = "write it with units: inspector.save_data_to_tsv(file)"
_LONGEST_UNIT_SHARE = 1.5


@dataclass(frozen=True)
class _Event:
    line: int
    block: str
    name: str
    type: str | None
    delegated: bool
    backend: str
    samples: list[float]
    """Microseconds; empty where the file does not have them."""
    figures: dict[str, float]
    """By fields of :class:`Summary`."""
    count: int | None


def recognises(text: str) -> bool:
    """Whether a text begins with the header of the Inspector's table."""
    return _header(text) is not None


def read(log: Log) -> Result:
    """The results of a table of events.

    Raises:
        ModelError: no units, a figure that is none, or no inference in it.
    """
    table = _Table(log)
    events = list(table.events())
    name = name_of_file(log.path)
    loaded = _loaded(events)
    models = [_model(log, name, loaded, block) for block in _blocks(events)]
    if not models:
        raise ModelError(
            f"{log.path}: tells no time of a model: no event is called {' or '.join(_WHOLE)}"
        )
    notes = [CUT] if table.cut else []
    return Result(tool="executorch", file=str(log.path), models=models, notes=notes)


# --- the table ------------------------------------------------------------------------------


def _header(text: str) -> tuple[int, str, list[str]] | None:
    """The header's line, what separates its columns, and their names."""
    for index, line in enumerate(text[:20_000].splitlines()[:20]):
        if "event_name" not in line or "event_block_name" not in line:
            continue
        for separator in _SEPARATORS:
            names = [name.strip().strip('"') for name in line.split(separator)]
            if "event_name" in names and "event_block_name" in names:
                return index, separator, names
    return None


class _Table:
    def __init__(self, log: Log) -> None:
        self._log = log
        header = _header(log.text)
        if header is None:
            raise ModelError(f"{log.path}: has no header with event_block_name and event_name")
        self._first, self._separator, self._names = header
        self._scales = self._units()
        self._samples = 0
        self.cut = False
        """Whether the last row was cut, and left out."""

    def events(self) -> Iterator[_Event]:
        """The rows below the header."""
        for index, (line, row, ended) in enumerate(self._rows()):
            if len(row) < len(self._names) and not ended:
                self.cut = True
                return
            if len(row) != len(self._names):
                raise self._log.fault(
                    line, f"{len(row)} columns instead of {len(self._names)}, as the header has"
                )
            if not ended and self._names[-1] in self._scales:
                self.cut = True  # its last figure may be cut
                return
            if index >= MOST_EVENTS:
                raise self._log.fault(line, f"more than {MOST_EVENTS} events")
            yield self._event(line, dict(zip(self._names, row, strict=True)))

    def _units(self) -> dict[str, float]:
        """Microseconds of each column's unit, by the column's whole name."""
        line = self._first + 1
        found: dict[str, float] = {}
        for name in self._names:
            if name in (*_FIGURES, "p10"):
                raise self._log.fault(line, f"{name} has no unit", hint=_HINT)
            unit = re.fullmatch(r"(\w{1,8}) \((.{1,20})\)", name)
            if not unit or unit[1] not in (*_FIGURES, "p10"):
                continue
            if unit[2] not in _UNITS:
                raise self._log.fault(line, f"{shown(unit[2])} is no unit of time", hint=_HINT)
            found[name] = _UNITS[unit[2]]
        if not found:
            raise self._log.fault(line, "no column has times", hint=_HINT)
        return found

    def _rows(self) -> Iterator[tuple[int, list[str], bool]]:
        """A row's line, its fields, and whether a line end follows."""
        lines = self._log.text.split("\n")
        ended = not lines[-1]
        body = "\n".join(lines[self._first + 1 :])
        if self._separator in "│|":
            for number_, line in enumerate(lines[self._first + 1 :], self._first + 2):
                row = [field.strip() for field in line.split(self._separator)]
                framed = all(re.fullmatch(r"[-=:+]*", field) for field in row)
                if self._separator in line and not framed and (ended or number_ < len(lines)):
                    yield number_, row, True
            return
        before = csv.field_size_limit(len(body) + 1)
        try:
            reader = csv.reader(io.StringIO(body.replace("\r\n", "\n")), delimiter=self._separator)
            for row in reader:
                place = self._first + 1 + reader.line_num
                if row:
                    yield place, row, ended or place < len(lines)
        except csv.Error as error:
            raise self._log.fault(self._first + 1 + reader.line_num, str(error)) from error
        finally:
            csv.field_size_limit(before)

    def _event(self, line: int, row: Mapping[str, str]) -> _Event:
        figures: dict[str, float] = {}
        for column, scale in self._scales.items():
            text = row[column].strip()
            if not text:
                continue  # an event that has no time, as one of debugging
            value = number(text)
            if value is None or value * scale > LONGEST_US:
                raise self._log.fault(line, f"{column}: {shown(text)} is no time")
            if key := _FIGURES.get(column.partition(" ")[0]):
                figures[key] = scaled(value, scale)
        scale = next(iter(self._scales.values()))
        samples = self._list(line, row.get("raw", ""), scale)
        starts = row.get("start_time", "")
        count = len(samples) or (starts.count(",") + 1 if re.search(r"\d", starts) else None)
        kinds = ", ".join(re.findall(r"'([^']{1,200})'", row.get("op_types", "")[:2000]))
        return _Event(
            line=line,
            block=row["event_block_name"].strip(),
            name=row["event_name"].strip(),
            type=tidy(kinds) or None,
            delegated=row.get("is_delegated_op", "").strip().lower() == "true",
            backend=tidy(row.get("delegate_backend_name", "")),
            samples=samples,
            figures=figures,
            count=count,
        )

    def _list(self, line: int, text: str, scale: float) -> list[float]:
        """The samples of ``raw``: a list as Python writes it, of its own numbers or numpy's."""
        inside = re.fullmatch(r"\[(.*)\]", text.strip(), re.S)
        if not inside:
            return []
        found: list[float] = []
        for part in re.split(r"[\s,]+", inside[1].strip()):
            if not part:
                continue
            plain = re.sub(r"^(?:np\.)?float\d\d\((.*)\)$", r"\1", part[:80])
            value = number(plain)
            if value is None or value * scale > LONGEST_US:
                raise self._log.fault(line, f"raw: {shown(part)} is no time")
            found.append(scaled(value, scale))
        self._samples += len(found)
        if self._samples > MOST_SAMPLES:
            raise self._log.fault(line, f"more than {MOST_SAMPLES} samples")
        return found


# --- what the events mean -------------------------------------------------------------------


def _loaded(events: Sequence[_Event]) -> float | None:
    """Microseconds until the method was ready."""
    for name in _LOADED:
        for event in events:
            if event.name == name and (us := _middle(event)) is not None:
                return us
    return None


def _blocks(events: Sequence[_Event]) -> Iterator[list[_Event]]:
    """The events of each way through the model; each has one inference."""
    for _, group in groupby(events, lambda event: event.block):
        block = list(group)
        at = [index for index, event in enumerate(block) if event.name in _WHOLE]
        if not at:
            continue
        # Blocks of one name follow each other; the inference ends each, or begins it.
        ends = at[-1] == len(block) - 1
        cuts = [0, *(index + 1 for index in at)] if ends else [0, *at[1:], len(block)]
        for first, last in pairwise(cuts):
            yield block[first:last]


def _model(log: Log, name: str, init_us: float | None, block: Sequence[_Event]) -> ModelResult:
    whole = next(event for event in block if event.name in _WHOLE)
    delegated = any(event.delegated for event in block)
    # Of a delegate and its operators one is listed, never both.
    others = (*_WHOLE, *_LOADED, _CALL, *([_DELEGATE] if delegated else []))
    parts = [event for event in block if event.name not in others]
    foreign = _in_another_unit(whole, parts)
    notes = [OTHER_UNIT] if foreign else []
    if (count := whole.count) is None or count > 1:
        notes.append(WITH_FIRST)
    try:
        return ModelResult(
            name=name,
            runtime=_runtime(block),
            turns=[whole.samples] if whole.samples else [],
            summary=_summary(whole),
            init_us=init_us,
            operators=[
                _operator(index, event, told=not (foreign and event.delegated))
                for index, event in enumerate(parts)
            ],
            notes=notes,
        )
    except ValidationError as error:
        raise log.fault(whole.line, str(faults(error, ModelResult)[0])) from error


def _runtime(block: Sequence[_Event]) -> str:
    backends = dict.fromkeys(event.backend for event in block if event.backend)
    if not backends and any(event.delegated or event.name == _DELEGATE for event in block):
        backends = {"a delegate": None}
    return ", ".join(["ExecuTorch", *backends])


def _summary(event: _Event) -> Summary:
    if event.samples:
        return summary_of(event.samples)
    return Summary.model_validate({"count": event.count, **event.figures})


def _operator(index: int, event: _Event, *, told: bool) -> OperatorResult:
    summary = _summary(event) if told else Summary()
    return OperatorResult(
        index=index,
        name=tidy(event.name) or None,
        type=event.type,
        median_us=summary.median_us,
        mean_us=summary.mean_us,
    )


def _in_another_unit(whole: _Event, parts: Sequence[_Event]) -> bool:
    """Whether delegated operators take longer than what they are a part of."""
    times = [us for event in parts if event.delegated and (us := _middle(event)) is not None]
    inference = _middle(whole)
    return inference is not None and sum(times) > _LONGEST_UNIT_SHARE * inference


def _middle(event: _Event) -> float | None:
    """Microseconds of an event: its mean, or its median."""
    if event.samples:
        return summary_of(event.samples).mean_us
    return event.figures.get("mean_us", event.figures.get("median_us"))
