"""From the finished tasks of a sweep to its document."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import toolchain
from toolchain.sweep.document import (
    BY_MACS,
    Configuration,
    SweepResults,
    SweepRow,
    SweepTime,
    TaskFailed,
    TaskMade,
    pareto_front,
)
from toolchain.sweep.driver import State
from toolchain.sweep.store import Record, Store
from toolchain.sweep.tasks import Task
from toolchain.sweep.work import NETWORK

if TYPE_CHECKING:  # torch is slow to import
    from toolchain.sweep.plan import FileTasks, Network


def results_of(state: State, store: Store) -> SweepResults:
    """What is known so far: of networks whose accuracy is.

    Args:
        state: how far the sweep is.
        store: where its files are.
    """
    rows: list[tuple[SweepRow, str]] = []
    for network in state.plan.networks:
        if (trained := state.done.get(network.train)) is None:
            continue
        for files in network.files or (None,):
            found = _row(state, store, network, trained, files)
            rows += [found] if found else []
    plan = state.plan
    return SweepResults(
        tool=toolchain.__version__,
        name=plan.name,
        tasks=len(plan.tasks),
        done=len(state.done),
        rows=[row for row, _ in rows],
        configurations=configurations(rows),
        search=state.search.results() if state.search else None,
        failed=[
            TaskFailed(
                kind=plan.tasks[key].kind,
                name=plan.tasks[key].name,
                error=error.what,
                left_out=sum(key in _all_needs(plan.tasks, one) for one in state.left_out),
            )
            for key, error in state.failed.items()
        ],
        made=[
            TaskMade(
                key=key,
                kind=task.kind,
                name=task.name,
                host=state.done[key].host,
                seconds=state.done[key].seconds,
                lost=state.lost[key],
            )
            for key, task in plan.tasks.items()
            if key in state.done
        ],
    )


def _all_needs(tasks: Mapping[str, Task], key: str) -> set[str]:
    found, waiting = set[str](), [key]
    while waiting:
        for need in tasks[waiting.pop()].needs:
            if need not in found:
                found.add(need)
                waiting.append(need)
    return found


def _row(
    state: State, store: Store, network: Network, trained: Record, files: FileTasks | None
) -> tuple[SweepRow, str] | None:
    """A row with the hash of its file; ``None`` while it is not converted and evaluated."""
    tasks, task = state.plan.tasks, state.plan.tasks[network.train]
    place, sha256, size, file = store.place(task), trained.files[NETWORK], None, None
    result, accuracy, name = trained.result, trained.result["accuracy"], network.name
    if files is not None:
        converted = state.done.get(files.convert)
        evaluated = state.done.get(files.evaluate) if files.evaluate else None
        if converted is None or (files.evaluate and evaluated is None):
            return None
        name = converted.name
        path = store.place(tasks[files.convert]) / f"{name}.tflite"
        file, sha256 = _within(path, store), converted.files[path.name]
        size = converted.result["bytes"]
        accuracy = evaluated.result["accuracy"] if evaluated else accuracy
    row = SweepRow(
        name=name,
        configuration=network.configuration,
        grid=network.grid,
        seed=network.recipe.training.seed,
        type=files.type if files else None,
        accuracy=accuracy,
        trained_accuracy=result["accuracy"],
        evaluated=bool(files and files.evaluate),
        macs=result["macs"],
        macs_kept=result["macs_kept"],
        parameters=result["parameters"],
        bytes=size,
        checkpoint=_within(place / NETWORK, store),
        file=file,
        times=_times(state, files) if files else [],
        **vars(network.labels),
    )
    return row, sha256


def _within(path: Path, store: Store) -> Path:
    return path.relative_to(store.folder)


def _times(state: State, files: FileTasks) -> list[SweepTime]:
    found = []
    kinds: tuple[tuple[Literal["estimated", "measured"], Mapping[str, str]], ...] = (
        ("estimated", files.estimates),
        ("measured", files.measurements),
    )
    for kind, keys in kinds:
        for board, key in keys.items():
            if (record := state.done.get(key)) is not None:
                said = {name: record.result[name] for name in _TIMED}
                said["doubts"] = record.result.get("doubts", [])
                found.append(SweepTime(board=board, kind=kind, **said))
    return found


_TIMED = ("title", "threads", "ms", "low_ms", "high_ms", "instructions")


def configurations(rows: Sequence[tuple[SweepRow, str]]) -> list[Configuration]:
    """Rows that differ in their seed alone, as one each, with the fronts that they are on.

    Args:
        rows: each with the hash of its file.
    """
    alike: dict[tuple[str, str | None], list[tuple[SweepRow, str]]] = {}
    for row in rows:
        alike.setdefault((row[0].configuration, row[0].type), []).append(row)
    several = len({kind for _, kind in alike}) > 1
    found = [
        _configuration(f"{name}-{kind}" if several else name, group)
        for (name, kind), group in alike.items()
    ]
    on = fronts(found)
    return [one.model_copy(update={"fronts": on[index]}) for index, one in enumerate(found)]


def _configuration(name: str, group: Sequence[tuple[SweepRow, str]]) -> Configuration:
    rows = [row for row, _ in group]
    first, accuracies = rows[0], [row.accuracy for row in rows]
    times = {(one.kind, one.board): one for row in reversed(rows) for one in row.times}
    every = [(one, each) for one in times for row in rows for each in row.times if _of(each) == one]
    return Configuration(
        name=name,
        grid=first.grid,
        model=first.model,
        policy=first.policy,
        sparsity=first.sparsity,
        pruned=first.pruned,
        type=first.type,
        seeds=[row.seed for row in rows],
        accuracy=statistics.fmean(accuracies),
        spread=statistics.stdev(accuracies) if len(accuracies) > 1 else None,
        macs=first.macs,
        macs_kept=statistics.fmean(row.macs_kept for row in rows),
        sha256=group[0][1],
        times=[
            one.model_copy(
                update={
                    name: _mean(getattr(each, name) for of, each in every if of == key)
                    for name in ("ms", "low_ms", "high_ms", "instructions")
                }
            )
            for key, one in sorted(times.items())
        ],
        fronts=[],
    )


def _of(time: SweepTime) -> tuple[str, str]:
    return (time.kind, time.board)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def fronts(found: Sequence[Configuration]) -> list[list[str]]:
    """For each configuration the boards on whose Pareto front it is; without times, by MACs."""
    on: list[list[str]] = [[] for _ in found]
    boards = dict.fromkeys((one.kind, one.board) for each in found for one in each.times if one.ms)
    costs = {
        f"{board} ({kind})": [_ms(one, kind, board) for one in found] for kind, board in boards
    }
    for name, values in (costs or {BY_MACS: [one.macs_kept for one in found]}).items():
        known = [
            (value, one.accuracy, index)
            for index, (value, one) in enumerate(zip(values, found, strict=True))
            if value is not None
        ]
        for _, _, index in pareto_front(known, lambda each: each[0], lambda each: each[1]):
            on[index].append(name)
    return on


def _ms(one: Configuration, kind: str, board: str) -> float | None:
    return next((time.ms for time in one.times if _of(time) == (kind, board)), None)
