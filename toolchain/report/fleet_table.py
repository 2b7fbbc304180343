"""What was done on many boards, in one table: a line a board and model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from toolchain.operations.fleet import Task, named
from toolchain.operations.push import PushResult
from toolchain.operations.verify import VerifyResult
from toolchain.profile.document import Profile
from toolchain.profile.estimate_document import Estimate
from toolchain.profile.figures import count, memory, ratio
from toolchain.report.estimate_table import milliseconds
from toolchain.report.fitting import NAME, Column, fitted_table, note
from toolchain.report.profile_table import EMULATED, median_cell, profile_notes, ratio_cell
from toolchain.report.verify_table import verdict_cell
from toolchain.tflite_file.untrained import marked


def pushed_table(tasks: Sequence[Task[PushResult]], width: int = 200) -> RenderableType:
    """How many files each board got.

    Args:
        tasks: a board each.
        width: columns that there are.
    """
    rows = []
    for task in tasks:
        files = task.result.files if task.result else ()
        sent = [item for item in files if item.sent]
        size = memory(sum(item.bytes for item in sent) / 1024) if sent else ""
        figures = (str(len(sent)), size, str(len(files) - len(sent))) if files else ("",) * 3
        rows.append(_Row(task.name, "", figures, end_cell(task)))
    return _table(rows, [("files\nsent", 1), ("sent", 3), ("were\nthere", 2)], width)


def verified_table(tasks: Sequence[Task[VerifyResult]], width: int = 200) -> RenderableType:
    """How far each board's worst output of each model is from this machine's.

    Args:
        tasks: a board each.
        width: columns that there are.
    """
    rows = []
    for task in tasks:
        own = []
        for item in task.result.models if task.result else ():
            far, steps = item.worst.difference, item.worst.steps
            share = f"{far.relative_diff:.2g}" if steps is None else ""
            figures = f"{far.max_abs_diff:.3g}", share, "" if steps is None else f"{steps:.3g}"
            label = marked(Path(item.model).name, untrained=item.untrained)
            own.append(_Row(task.name, label, figures, verdict_cell(item)))
        failed = [one.model for one in task.result.failed] if task.result else []
        known = {item.model for item in task.result.models} if task.result else set()
        own += _not_done(task, [model for model in failed if model not in known])
        rows += _with_end(task, own, explained=bool(failed))
    headings = [("largest\ndifference", 3), ("of its\nscale", 2), ("steps", 2)]
    return _table(rows, headings, width, last="verdict")


def profiled_table(tasks: Sequence[Task[Profile]], width: int = 200) -> RenderableType:
    """What each model takes on each board.

    Args:
        tasks: a board each.
        width: columns that there are.
    """
    rows, notes = [], list[str]()
    for task in tasks:
        own = []
        if found := task.result:
            alone = len(found.measurements) == 1
            for item in found.measurements:
                time = "" if found.by_instructions else median_cell(item)
                counted = "" if item.instructions is None else count(item.instructions)
                times_as_fast = "" if alone else ratio_cell(found, item)
                figures = time, times_as_fast, counted
                own.append(_Row(task.name, found.label(item), figures, Text()))
            own += _not_done(task, [one.model for one in found.failed])
            notes += _doubts(task.name, found)
        rows += _with_end(task, own, explained=bool(found and found.failed))
    found_ones = [task.result for task in tasks if task.result]
    if any(len(one.measurements) > 1 for one in found_ones):
        first = "Times as fast: beside the first model, on the same board."
        notes.insert(0, first)
    if any(one.by_instructions for one in found_ones):
        notes.append(EMULATED)
    headings = [("median ± MAD", 1), ("times as\nfast", 2), ("instructions\nan inference", 3)]
    return Group(_table(rows, headings, width), *(note(line) for line in notes))


def estimated_table(tasks: Sequence[Task[Estimate]], width: int = 200) -> RenderableType:
    """What each model would take on each board.

    Args:
        tasks: a board each.
        width: columns that there are.
    """
    rows = []
    for task in tasks:
        own = []
        if found := task.result:
            for item in found.models:
                between = f"{milliseconds(item.low_ms)} to {milliseconds(item.high_ms)}"
                fast = ratio(found.speedup(item)) if len(found.models) > 1 else ""
                figures = milliseconds(item.ms), between, fast
                own.append(_Row(task.name, item.label, figures, Text()))
            own += _not_done(task, [row["model"] for row in found.failed])
        rows += _with_end(task, own, explained=bool(found and found.failed))
    headings = [("estimated\nms", 1), ("nine of ten\nbetween", 3), ("times as\nfast", 2)]
    return Group(_table(rows, headings, width), note("Estimated, not measured."))


@dataclass(frozen=True)
class _Row:
    board: str
    model: str
    figures: tuple[str, ...]
    end: Text
    """The verdict, or why there are no figures."""


def _table(
    rows: Sequence[_Row], headings: Sequence[tuple[str, int]], width: int, *, last: str = "result"
) -> RenderableType:
    columns = [
        Column("board", [row.board for row in rows], NAME, right=False),
        Column("model", [row.model for row in rows], NAME, right=False),
        *(
            Column(heading, [row.figures[index] for row in rows], rank)
            for index, (heading, rank) in enumerate(headings)
        ),
        Column(last, [row.end for row in rows], 1, right=False),
    ]
    return fitted_table([one for one in columns if any(map(str, one.cells))], width)


def end_cell(task: Task[Any]) -> Text:
    """How the work on a board ended."""
    if task.error is None:
        return Text("done", style="green")
    if isinstance(task.error, KeyboardInterrupt):
        return Text("interrupted", style="yellow")
    return Text("failed", style="red")


def _not_done(task: Task[Any], models: Sequence[str]) -> Iterator[_Row]:
    """Models of which there are no figures."""
    for model in models:
        yield _Row(task.name, Path(model).name, ("",) * 3, Text("failed", style="red"))


def _with_end(task: Task[Any], rows: list[_Row], *, explained: bool) -> list[_Row]:
    """A board's lines, and one for what they do not show: that it failed, or has no model."""
    if rows and (task.error is None or explained):
        return rows
    return [*rows, _Row(task.name, "", ("",) * 3, end_cell(task))]


def _doubts(name: str, profile: Profile) -> Iterator[str]:
    """What to know about a board's figures before relying on them."""
    for line in profile_notes(profile):
        if line.startswith(("? ", "No ratios")):
            mark = "? " if line.startswith("? ") else ""
            yield f"{mark}{named(name, line.removeprefix('? '))}"
