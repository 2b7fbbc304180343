"""A history as series: all runs of one model on one board, on one runtime, with as many threads.

A line of a history has the figures of several models. Here they are sorted the other way: what can
be followed over time stands together.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

import toolchain
from toolchain.errors import ModelError
from toolchain.formats.json_text import without_lone_bytes
from toolchain.hints import did_you_mean
from toolchain.profile.history import Figures, Run, read
from toolchain.tflite_file.untrained import marked

SHOWN = 20
"""Runs of a series that are shown where no number is given."""
_NAMED = 20
"""Names that an error lists."""


@dataclass(frozen=True, slots=True)
class Point:
    """One run of a series."""

    id: str
    """Of the run, as its line of the history has it."""
    created: datetime
    tool: str
    """Version of this toolchain."""
    sha256: str
    """Of the model's file."""
    other_file: bool
    """Whether that is another file than in the run before."""
    bytes: int | None
    """Of the model's file."""
    median_us: float | None
    """Of all timed runs. Under emulation it means nothing."""
    interval_us: tuple[float, float] | None
    """Where the median is likely to lie; ``None`` for too few turns."""
    p95_us: float | None
    instructions: float | None
    """Of an inference: the median."""
    peak_rss_kib: int | None
    doubts: list[str]
    """Why its times may be unstable; empty if they seem sound."""
    ratio: float | None
    """The figure over that of the run before; ``None`` where one of the two is not known."""
    saved: str | None
    """The folder of ``--save``, where there is one."""


@dataclass(frozen=True, slots=True)
class Series:
    """The runs of one model on one board, on one runtime, with as many threads."""

    board: str
    title: str
    """Of the board, in its latest run."""
    emulated: bool
    model: str
    """Its name; a second one of that name in the same runs has a number: ``s20 #2``."""
    stock: bool
    """Whether the runtime is the unpatched one."""
    threads: int
    figure: Literal["median_us", "instructions"]
    """What is followed: instructions on an emulated board, else the median time."""
    runs: int
    """How many there are."""
    first: datetime
    """When the first one was."""
    last: datetime
    """When the latest one was."""
    latest: float | None
    """The figure of the latest run."""
    ratio: float | None
    """The latest figure over that of the run before."""
    ratio_to_median: float | None
    """The latest figure over the median of all earlier ones."""
    doubtful: bool
    """Whether the latest figure is not to be relied on. Instructions of an emulated board are."""
    points: list[Point]
    """The runs, the newest last; no more than ``--last`` says."""
    untrained: bool = False
    """Whether the files say that their masks are for measuring: no training knew of them."""

    def value(self, point: Point) -> float | None:
        """The figure of a run, in microseconds or instructions."""
        return point.instructions if self.emulated else point.median_us

    def in_doubt(self, point: Point) -> bool:
        """Whether the figure of a run is not to be relied on."""
        return bool(point.doubts) and not self.emulated

    @property
    def label(self) -> str:
        """What sets it apart from others of the same board."""
        model = marked(self.model, untrained=self.untrained)
        runtime = " (stock runtime)" if self.stock else ""
        return f"{model}{runtime}, {self.threads} thread{'s'[: self.threads != 1]}"

    def cut(self, last: int | None) -> Series:
        """The same with its newest runs alone; with all for ``None``."""
        return self if last is None else replace(self, points=self.points[-last:])


class Trends(BaseModel):
    """What ``deploy history --json`` prints."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    schema_version: Annotated[Literal[1], Field(alias="schema")] = 1
    tool: str
    """Version of this toolchain."""
    history: str
    """The file."""
    runs: int
    """Runs in it, each of one model or more."""
    skipped: int
    """Lines that are none of a history: torn, garbled, or of a later version."""
    series: list[Series]
    """Those that were asked for, by board, model, runtime and threads."""


class _Key(NamedTuple):
    """What the runs of a series have in common, in the order in which series are listed."""

    board: str
    emulated: bool
    model: str
    stock: bool
    threads: int
    untrained: bool


class _Entry(NamedTuple):
    run: Run
    figures: Figures


def read_trends(path: Path, last: int | None = None) -> Trends:
    """All series of a history.

    Runs of a series are in the order of their dates, those of one date in that of the file.

    Args:
        path: of the history.
        last: how many points each series gets, the newest; all for ``None``.

    Raises:
        ModelError: no such file, or it cannot be read.
    """
    found: dict[_Key, list[_Entry]] = {}
    count = 0
    with closing(read(path)) as runs:
        for run in runs:
            count += 1
            for name, figures in zip(_names(run), run.models, strict=True):
                threads = figures.threads or run.threads
                key = _Key(
                    run.board.name, run.board.emulated, name, figures.stock, threads,
                    figures.untrained,
                )  # fmt: skip
                found.setdefault(key, []).append(_Entry(run, figures))
        skipped = runs.skipped
    return Trends(
        tool=toolchain.__version__,
        history=without_lone_bytes(str(path)),
        runs=count,
        skipped=skipped,
        series=[_series(key, found[key], last) for key in sorted(found)],
    )


def moment(when: datetime) -> datetime:
    """A date in UTC; one at the very ends of the calendar, which has none there, as it stands."""
    try:
        return when.astimezone(UTC)
    except OverflowError:
        return when.replace(tzinfo=UTC)


def _names(run: Run) -> list[str]:
    """Names of a run's models; one that was measured again in the same way gets a number."""
    names = [one.name for one in run.models]
    if len(set(names)) == len(names):
        return names
    taken, seen = set(names), Counter[tuple[str, bool, int]]()
    for index, one in enumerate(run.models):
        key = one.name, one.stock, one.threads or run.threads
        seen[key] += 1
        number = seen[key]
        if number > 1:
            while f"{one.name} #{number}" in taken:
                number += 1
            names[index] = f"{one.name} #{number}"
    return names


def _series(key: _Key, entries: list[_Entry], last: int | None) -> Series:
    entries.sort(key=lambda entry: entry.run.created)
    values = [_value(figures, emulated=key.emulated) for _, figures in entries]
    earlier = [value for value in values[:-1] if value is not None]
    begin = 0 if last is None else max(0, len(entries) - last)
    points = [
        _point(entry, before, emulated=key.emulated)
        for entry, before in zip(
            entries[begin:], [None, *entries][begin : len(entries)], strict=True
        )
    ]
    newest = points[-1]
    return Series(
        **key._asdict(),
        title=entries[-1].run.board.title,
        figure="instructions" if key.emulated else "median_us",
        runs=len(entries),
        first=entries[0].run.created,
        last=newest.created,
        latest=values[-1],
        ratio=newest.ratio,
        ratio_to_median=_ratio(values[-1], statistics.median(earlier) if earlier else None),
        doubtful=bool(newest.doubts) and not key.emulated,
        points=points,
    )


def _point(entry: _Entry, before: _Entry | None, *, emulated: bool) -> Point:
    run, figures = entry
    earlier = None if before is None else _value(before.figures, emulated=emulated)
    return Point(
        id=run.id,
        created=run.created,
        tool=run.tool,
        sha256=figures.sha256,
        other_file=before is not None and before.figures.sha256 != figures.sha256,
        bytes=figures.bytes,
        median_us=figures.median_us,
        interval_us=figures.interval_us,
        p95_us=figures.p95_us,
        instructions=figures.instructions,
        peak_rss_kib=figures.peak_rss_kib,
        doubts=figures.doubts,
        ratio=_ratio(_value(figures, emulated=emulated), earlier),
        saved=run.saved,
    )


def _value(figures: Figures, *, emulated: bool) -> float | None:
    return figures.instructions if emulated else figures.median_us


def _ratio(value: float | None, before: float | None) -> float | None:
    return value / before if value is not None and before else None


# --- what is asked for -----------------------------------------------------------------------


def choose(
    series: Sequence[Series],
    path: Path,
    *,
    board: str | None = None,
    models: Sequence[str] = (),
    threads: Sequence[int] = (),
    stock: bool | None = None,
) -> list[Series]:
    """The series that are asked for, in the order of the models.

    Args:
        series: all of them.
        path: of the history, for messages.
        board: its name; any if ``None``, as with the others.
        models: names as ``Series.model`` has them, or of their ``.tflite`` files.
        threads: numbers of them, one of which is there at least.
        stock: whether the runtime is the unpatched one.

    Raises:
        ModelError: there is none; says what there is.
    """
    left, where = list(series), ""
    if board is not None:
        left = _those(left, lambda one: one.board, [board], f"{path}: has no board '{board}'")
        where = f" on board '{board}'"
    if models:
        known = {one.model for one in left}
        wanted = list(dict.fromkeys(_name_of(name, known) for name in models))
        for name in wanted:
            _those(left, lambda one: one.model, [name], f"{path}: has no model '{name}'{where}")
        left = [one for name in wanted for one in left if one.model == name]
        where = f" of {', '.join(wanted)}{where}"
    if threads:
        counts = " or ".join(map(str, threads))
        said = f"{path}: has no run{where} with {counts} thread{'s'[: counts != '1']}"
        left = _those(left, lambda one: one.threads, threads, said)
    if stock is not None:
        runtimes = {True: "stock", False: "patched"}
        said = f"{path}: has no run{where} on the {runtimes[stock]} runtime"
        left = _those(left, lambda one: runtimes[one.stock], [runtimes[stock]], said)
    return left


def _name_of(typed: str, known: set[str]) -> str:
    file = Path(typed)
    return file.stem if typed not in known and file.suffix == ".tflite" else typed


def _those(
    series: Sequence[Series], key: Callable[[Series], object], wanted: Sequence[object], said: str
) -> list[Series]:
    """Those whose key is wanted; an error that begins with ``said`` if there are none."""
    found = [one for one in series if key(one) in wanted]
    if not found:
        names = list(dict.fromkeys(str(key(one)) for one in series))
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        there = f"there are: {', '.join(names[:_NAMED])}{more}"
        raise ModelError(said, hint=did_you_mean(str(wanted[0]), names, there))
    return found
