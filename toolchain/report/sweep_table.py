"""What ``deploy sweep`` shows: how far it is, what its tasks are, and what came out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from toolchain.foreign_text import harmless
from toolchain.profile import figures
from toolchain.report.fitting import FIRST, NAME, Column, fitted_table, note
from toolchain.report.layers import count
from toolchain.sweep.document import (
    Configuration,
    SearchResults,
    SweepResults,
    SweepTime,
    TrialResult,
)

_LATEST = 6
"""Ended tasks that the live table shows."""
_BEST = 10
"""Best trials of a search that are told with what was chosen for them."""


def counts_table(counts: Mapping[str, Mapping[str, int]], width: int = 200) -> RenderableType:
    """A row for each kind of task: how many there are, and how many are in each state.

    Args:
        counts: of each state, by the kind.
        width: columns that there are.
    """
    states = list(next(iter(counts.values()), {"tasks": 0}))
    columns = [Column("task", list(counts), NAME, right=False)]
    for rank, state in enumerate(states):
        cells = [str(of[state]) if of[state] or state == "tasks" else "-" for of in counts.values()]
        total = str(sum(of[state] for of in counts.values()))
        columns.append(Column(state, cells, FIRST + rank, footer=total))
    return fitted_table(columns, width)


def live_table(
    counts: Mapping[str, Mapping[str, int]], where: str, latest: Sequence[str], width: int = 200
) -> RenderableType:
    """What stands on the terminal while a sweep is at work.

    Args:
        counts: as in :func:`counts_table`.
        where: tasks are done.
        latest: a line for each task that has ended, the newest last.
        width: columns that there are.
    """
    lines = [Text(line, no_wrap=True, overflow="ellipsis") for line in latest[-_LATEST:]]
    return Group(counts_table(counts, width), *lines, note(where))


def results_table(results: SweepResults, width: int = 200) -> RenderableType:
    """A row for each configuration: its accuracy, what it costs, and whether it is on a front.

    Args:
        results: of the sweep.
        width: columns that there are.
    """
    found = sorted(results.configurations, key=lambda one: -one.accuracy)
    parts: list[RenderableType] = []
    if found:
        parts.append(fitted_table(_columns(found), width))
    if any(one.fronts for one in found):
        parts.append(note("* on the Pareto front: no other is both faster and more accurate."))
    parts += [
        Text(f"{one.kind} {one.name}: {one.error}", style="red")
        + Text(f"; {one.left_out} tasks need it" if one.left_out else "")
        for one in results.failed
    ]
    if results.search is not None:
        parts += [Text(line) for line in search_lines(results.search)]
    parts.append(Text(f"{results.done} of {results.tasks} tasks are done"))
    return Group(*parts)


def search_lines(search: SearchResults) -> list[str]:
    """How far a search is, and its best trials.

    Args:
        search: of a sweep.
    """
    failed = sum(one.error is not None for one in search.tried)
    said = f"search: {len(search.tried)} of {search.trials} trials have ended"
    lines = [said + (f", {failed} of them without a result" if failed else "")]
    best = [one for one in search.tried if one.best]
    if not best and len(search.tried) > failed:
        lines.append(f"no trial keeps to the limits: {limits(search)}")
    lines += [f"best: {one.configuration}: {trial_line(one)}" for one in best[:_BEST]]
    if len(best) > _BEST:
        lines.append(f"and {len(best) - _BEST} more, which sweep.json marks")
    return lines


def limits(search: SearchResults) -> str:
    """What the trials of a search have to keep to; empty where there is nothing."""
    parts = [] if search.most_ms is None else [f"at most {search.most_ms:g} ms"]
    parts += [] if search.most_macs is None else [f"at most {search.most_macs:g} MACs"]
    return ", ".join(parts)


def trial_line(trial: TrialResult) -> str:
    """What came out of a trial, and what was chosen for it; or why nothing came out."""
    chosen = ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in trial.parameters.items()
    )
    if trial.error is not None:
        return harmless(f"{trial.error} ({chosen})")
    values = trial.values
    parts = [f"{values['accuracy']:.2%}"]
    parts += [figures.microseconds(1e3 * values["ms"])] if "ms" in values else []
    parts += [f"{count(round(values['macs']))} MACs"]
    return harmless(f"{', '.join(parts)} ({chosen})")


def _columns(found: Sequence[Configuration]) -> list[Column]:
    several = any(len(one.seeds) > 1 for one in found)
    columns = [
        Column("configuration", [one.name for one in found], NAME, right=False),
        Column("seeds", [str(len(one.seeds)) for one in found] if several else [], 6),
        Column("accuracy", [_accuracy(one) for one in found], FIRST),
        Column("MACs\nkept", [count(round(one.macs_kept)) for one in found], 4),
    ]
    boards = dict.fromkeys((time.kind, time.board) for one in found for time in one.times)
    for kind, board in boards:
        times = [_time(one, kind, board) for one in found]
        stars = [" *" if f"{board} ({kind})" in one.fronts else "  " for one in found]
        cells = [_said(time) + star for time, star in zip(times, stars, strict=True)]
        columns.append(Column(f"{board},\n{kind}", cells, 2))
    if not boards:
        marks = ["*" if one.fronts else "" for one in found]
        columns.append(Column("front", marks if any(marks) else [], 5))
    return [column for column in columns if any(column.cells)]


def _accuracy(one: Configuration) -> str:
    spread = "" if one.spread is None else f" ± {100 * one.spread:.2f}"
    return f"{100 * one.accuracy:.2f}{spread} %"


def _time(one: Configuration, kind: str, board: str) -> SweepTime | None:
    return next((time for time in one.times if (time.kind, time.board) == (kind, board)), None)


def _said(time: SweepTime | None) -> str:
    if time is None:
        return "-"
    if time.ms is not None:
        return figures.microseconds(1e3 * time.ms)
    return f"{figures.count(time.instructions)} instructions"
