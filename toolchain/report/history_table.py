"""What ``deploy history`` shows: a row for each series of a history, or one for each run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from rich.console import Group, RenderableType
from rich.text import Text

from toolchain.profile import figures
from toolchain.profile.series import Point, Series, moment
from toolchain.report.fitting import FIRST, NAME, Column, fitted_table, note, printable
from toolchain.tflite_file.untrained import marked

_DIGITS = 8
"""Of a hash that are shown."""
_DOUBTS = 3
"""Doubtful runs whose doubts are told, the newest ones."""


def series_table(series: Sequence[Series], width: int = 200) -> RenderableType:
    """One row for each series: how many runs, from when to when, and what the latest one says.

    Args:
        series: in order.
        width: columns that there are.
    """
    by_instructions = {one.emulated for one in series}
    figure = " or\n".join(
        name for emulated, name in ((False, "median"), (True, "instructions"))
        if emulated in by_instructions
    )  # fmt: skip
    runtimes = ["stock" if one.stock else "patched" for one in series]
    columns = [
        Column("board", [one.board for one in series], NAME, right=False),
        Column(
            "model",
            [marked(one.model, untrained=one.untrained) for one in series],
            NAME,
            right=False,
        ),
        Column("runtime", runtimes, FIRST, right=False),
        Column("threads", [str(one.threads) for one in series], FIRST),
        Column("runs", [f"{one.runs:,}" for one in series], 4),
        Column("first\n(UTC)", [_day(one.first) for one in series], 6),
        Column("latest\n(UTC)", [_day(one.last) for one in series], 3),
        Column(figure, [_figure(one, one.latest, doubtful=one.doubtful) for one in series], FIRST),
        Column("to run\nbefore", [_change(one.ratio) for one in series], FIRST),
        Column("to\nmedian", [_change(one.ratio_to_median) for one in series], 2),
    ]  # fmt: skip
    if not any(one.stock for one in series):
        columns = [column for column in columns if column.heading != "runtime"]
    parts = [fitted_table(columns, width)]
    if any(one.doubtful for one in series):
        parts.append(note("? may be unstable: deploy history MODEL says why."))
    return Group(*parts)


def runs_table(one: Series, width: int = 200) -> RenderableType:
    """One row for each run of a series, the newest last.

    Args:
        one: the series; those of its runs that are to be shown.
        width: columns that there are.
    """
    points = one.points
    when = [_minute(point.created) for point in points]
    counts = [figures.count(point.instructions) for point in points]
    counted = any(point.instructions is not None for point in points)
    instructions = Column("instructions", counts if counted else [], FIRST if one.emulated else 7)
    change = Column("change", [_change(point.ratio) for point in points], 2)
    columns = [
        Column("date (UTC)", when, NAME, right=False),
        Column("run", [point.id[:_DIGITS] for point in points], 8, right=False),
        Column("tool", [point.tool for point in points], 9, right=False),
    ]
    if one.emulated:
        columns += [instructions, change]
    else:
        columns += [
            Column("median", [_median(one, point) for point in points], FIRST),
            change,
            Column("median\nlies in", [_interval(point) for point in points], 4),
            Column("p95", [_time(point.p95_us) for point in points], 6),
            instructions,
        ]
    columns += [
        Column("peak\nmemory", [figures.memory(point.peak_rss_kib) for point in points], 5),
        Column("other\nfile", _files(points), 3, right=False),
    ]
    columns = [column for column in columns if any(column.cells)]
    title = printable(f"{one.label}, on {one.title} ({one.board})")
    return Group(fitted_table(columns, width, title=title), *map(note, _notes(one)))


def _notes(one: Series) -> Iterator[str]:
    shown = len(one.points)
    if shown < one.runs:
        yield f"The latest {shown:,} of {one.runs:,} runs; --last {one.runs} shows all."
    if one.emulated:
        yield "Emulated: times mean nothing and are left out; the change is that of instructions."
    doubtful = [point for point in one.points if one.in_doubt(point)]
    for point in doubtful[-_DOUBTS:]:
        yield f"? {_minute(point.created)}: may be unstable: {'; '.join(point.doubts)}."
    if len(doubtful) > _DOUBTS:
        yield f"? {len(doubtful) - _DOUBTS} more; --json says why."


def _files(points: Sequence[Point]) -> list[str]:
    """The hash of the model's file where that is another one than in the run before."""
    return [point.sha256[:_DIGITS] if point.other_file else "" for point in points]


def _figure(one: Series, value: float | None, *, doubtful: bool) -> str | Text:
    if value is None:
        return "-"
    text = figures.count(value) if one.emulated else figures.microseconds(value)
    return Text(f"{text} ?", style="yellow") if doubtful else text


def _median(one: Series, point: Point) -> str | Text:
    return _figure(one, point.median_us, doubtful=one.in_doubt(point))


def _interval(point: Point) -> str:
    ends = point.interval_us
    return " to ".join(map(figures.microseconds, ends)) if ends else ""


def _time(us: float | None) -> str:
    return "" if us is None else figures.microseconds(us)


def _change(ratio: float | None) -> str:
    return "" if ratio is None else figures.change(ratio)


def _day(when: datetime) -> str:
    return f"{moment(when):%Y-%m-%d}"


def _minute(when: datetime) -> str:
    return f"{moment(when):%Y-%m-%d %H:%M}"
