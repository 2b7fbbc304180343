"""``sweep.json``: what came out of a sweep, a row for each file and one for each configuration."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from toolchain.errors import ModelError
from toolchain.formats.json_text import parse_json
from toolchain.formats.text_file import read_text
from toolchain.sweep.tasks import Kind

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
    doubts: list[str]
    """Why a measured time may not be relied on."""


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


class TrialResult(_Part):
    """A trial of the search."""

    number: int
    """From 0."""
    configuration: str | None
    """Of its networks; that of an earlier trial for which the same was chosen. ``None`` where no
    recipe came out."""
    parameters: dict[str, bool | int | float | str]
    """What was chosen."""
    values: dict[str, float]
    """Means over its seeds: ``accuracy`` from 0 to 1, ``macs``, and ``ms`` where that counts. Empty
    where it could not be done."""
    within_limits: bool
    best: bool
    """Whether no other trial within the limits beats it in all objectives; with one objective it
    is the first of the best."""
    error: str | None
    """Why it could not be done."""


class SearchResults(_Part):
    """The search of a sweep: its settings, and the trials that have ended."""

    sampler: str
    seed: int
    at_once: int
    trials: int
    """That were asked for."""
    objectives: list[str]
    most_ms: float | None
    most_macs: float | None
    board: str | None
    """Whose milliseconds count."""
    time: Literal["estimated", "measured"] | None
    type: str | None
    """Whose accuracy and milliseconds count; ``None`` where nothing was converted."""
    tried: list[TrialResult]


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
    search: SearchResults | None = None
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


def pareto_front(
    items: Iterable[_One], cost: Callable[[_One], float], accuracy: Callable[[_One], float]
) -> list[_One]:
    """Those that no other one beats in both cost and accuracy, the cheapest first."""
    front: list[_One] = []
    for one in sorted(items, key=lambda one: (cost(one), -accuracy(one))):
        if not front or accuracy(one) > accuracy(front[-1]):
            front.append(one)
    return front
