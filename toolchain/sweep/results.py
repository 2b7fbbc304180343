"""What came out of a sweep: a row for each file, and configurations that no other one beats."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

import toolchain
from toolchain.errors import ModelError
from toolchain.formats.json_text import parse_json
from toolchain.formats.text_file import read_text
from toolchain.sweep.driver import State
from toolchain.sweep.plan import FileTasks, Network
from toolchain.sweep.store import Record, Store
from toolchain.sweep.tasks import Kind, Task
from toolchain.sweep.work import NETWORK

_One = TypeVar("_One")
BY_MACS = "multiply-accumulates"
"""What stands for time where a sweep has none."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class SweepTime(_Part):
    """How long an inference takes on one board."""

    board: str
    title: str
    kind: Literal["estimated", "measured"]
    threads: int
    ms: float | None
    """``None`` on an emulated board, which has no time."""
    low_ms: float | None
    """Of an estimate: nine of ten times are expected from here ..."""
    high_ms: float | None
    """... to here. Of a measurement: where its median is likely to lie."""
    instructions: float | None


class SweepRow(_Part):
    """One network of one type; without ``[convert]`` one network."""

    name: str
    configuration: str
    """The name without the seed."""
    grid: str
    model: str
    policy: str | None
    """``None`` for a network without masks."""
    sparsity: float
    """The target."""
    layers: str | None
    """Patterns of the layers that may be masked."""
    pruned: float
    """The share of channels that were removed."""
    seed: int
    type: str | None
    """``None`` for a network that was not converted."""
    accuracy: float
    """0 to 1: of the converted file where the sweep has ``[evaluate]``, else of the training."""
    trained_accuracy: float
    """0 to 1, of the training."""
    evaluated: bool
    """Whether ``accuracy`` is the file's."""
    macs: int
    """Multiply-accumulates of one image, without masks."""
    macs_kept: int
    parameters: int
    bytes: int | None
    """Of the file."""
    checkpoint: Path
    """In the folder of the sweep."""
    file: Path | None
    """Likewise."""
    times: list[SweepTime]


class Configuration(_Part):
    """Networks that differ in their seed alone, of one type."""

    name: str
    grid: str
    model: str
    policy: str | None
    sparsity: float
    pruned: float
    type: str | None
    seeds: list[int]
    accuracy: float
    """Mean over the seeds, 0 to 1."""
    spread: float | None
    """Standard deviation over the seeds; ``None`` for one."""
    macs: int
    macs_kept: float
    """Mean over the seeds."""
    sha256: str
    """Of the first seed's file, or checkpoint."""
    times: list[SweepTime]
    """Means over the seeds that have one."""
    fronts: list[str]
    """Boards, or multiply-accumulates, for which no other configuration is both faster and more
    accurate."""


class TaskMade(_Part):
    """How a finished task came about; no result depends on it."""

    key: str
    kind: Kind
    name: str
    host: str
    seconds: float
    lost: int
    """How often a worker has died at it, since the sweep was last begun."""


class TaskFailed(_Part):
    """A task that cannot be done."""

    kind: Kind
    name: str
    error: str
    left_out: int
    """Tasks that need it."""


class SweepResults(_Part):
    """``sweep.json``: what came out of a sweep."""

    schema_version: Literal[1] = Field(default=1, alias="schema")
    tool: str
    name: str
    """Of the sweep's file."""
    tasks: int
    done: int
    rows: list[SweepRow]
    configurations: list[Configuration]
    failed: list[TaskFailed]
    made: list[TaskMade]


def load_results(path: Path) -> SweepResults:
    """Read ``sweep.json``.

    Raises:
        ModelError: no such file, or it is none; names the first fault.
    """
    text = read_text(path, ModelError)
    said = f"{path}: is no result of a sweep"
    return parse_json(SweepResults, text, ModelError, said, hint="deploy sweep writes it")


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


def pareto_front(
    items: Iterable[_One], cost: Callable[[_One], float], accuracy: Callable[[_One], float]
) -> list[_One]:
    """Those that no other one beats in both cost and accuracy, the cheapest first."""
    front: list[_One] = []
    for one in sorted(items, key=lambda one: (cost(one), -accuracy(one))):
        if not front or accuracy(one) > accuracy(front[-1]):
            front.append(one)
    return front
