"""What of a result can be compared: figures of each model, whichever tool measured them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from toolchain.errors import ModelError
from toolchain.profile import history
from toolchain.profile.document import Measurement, Profile
from toolchain.profile.energy import Source
from toolchain.profile.export.profiled_models import unique_names
from toolchain.profile.facts import BoardFacts, Vitals
from toolchain.profile.result_document import ModelResult, OperatorResult, Result
from toolchain.profile.stability import state_doubts
from toolchain.profile.turns import Interval, samples_of_turns
from toolchain.tflite_file.runner_facts import RunnerVersions

Unit = Literal["us", "KiB", "B", "ms", "J", ""]
"""``""`` is a count."""


@dataclass(frozen=True)
class Figure:
    """One figure of one model."""

    value: float
    unit: Unit
    turns: tuple[float, ...] = ()
    """The same of each process, in their order; empty where nobody kept them."""
    exact: bool = False
    """Whether it repeats to the last digit but for ``compare.LEAST_COUNTED``."""
    interval: Interval | None = None
    """Where an energy or a median time is likely to lie; ``None`` where nobody kept it."""


@dataclass(frozen=True)
class Setup:
    """Under which conditions a result was measured; what is not known is ``None``."""

    board: str | None = None
    core: str | None = None
    clock_mhz: float | None = None
    emulated: bool | None = None


@dataclass(frozen=True)
class Subject:
    """One model on one runtime, measured."""

    model: str
    """Its file's name, with what sets it apart from others of the same result."""
    setup: Setup
    figures: dict[str, Figure]
    """``median``, ``mean``, ``p95``, ``instructions``, ``memory``, ``size``, ``energy by
    PMIC`` or by meter, which see other parts of a board; ``estimate on BOARD``."""
    operators: dict[str, Figure] = field(default_factory=dict)
    """The time of each, by its name in the file."""
    sha256: str | None = None
    runtime: str | None = None
    threads: int | None = None
    doubts: tuple[str, ...] = ()
    """Why its times are not to be relied on."""
    state_doubts: tuple[str, ...] = ()
    """Those of the board's state: another clock, heat. Models that took turns in one session bear
    all others, since noise that meets both alike is what their test is made for."""


def subjects_of(profile: Profile) -> list[Subject]:
    """The measurements of a profile of our own, in their order."""
    return [_subject(profile, item, name) for name, item in _named(profile)]


def _named(profile: Profile) -> Iterator[tuple[str, Measurement]]:
    return zip(unique_names(profile), profile.measurements, strict=True)


def _subject(profile: Profile, item: Measurement, name: str) -> Subject:
    facts = profile.board.facts
    return Subject(
        model=name,
        setup=_setup(
            profile.board.name,
            facts,
            governor=facts.vitals.governor,
            frequency_khz=facts.vitals.frequency_khz,
        ),
        figures=dict(_figures(profile, item)),
        operators={} if facts.emulated else _operators(item),
        sha256=item.sha256,
        runtime=_runtime(item.output.runner, stock=not item.output.runner.patched),
        threads=profile.threads_of(item),
        doubts=tuple(item.doubts),
        state_doubts=tuple(state_doubts(_states(profile, item))),
    )


def _states(profile: Profile, item: Measurement) -> list[Vitals]:
    """The board's states that a measurement's turns met, in their order."""
    met = [state for turn in item.turns for state in (turn.before, turn.after) if state]
    last = profile.board.after
    # Where energy was measured it is of after those runs; where the board had gone it says nothing.
    is_of_turns = last != Vitals() and not any(
        one.energy or one.no_energy for one in profile.measurements
    )
    return [profile.board.facts.vitals, *met, *([last] if is_of_turns else [])]


def _setup(
    name: str, board: BoardFacts | history.Board, *, governor: str | None, frequency_khz: int | None
) -> Setup:
    # A governor that lowers the clock of a board at rest says nothing of the one it computes at.
    clock = frequency_khz if governor == "performance" else None
    clock = clock or board.max_frequency_khz
    return Setup(
        board=name,
        core=" + ".join(board.cores) or None,
        clock_mhz=clock / 1000 if clock else None,
        emulated=board.emulated,
    )


def _runtime(runner: RunnerVersions | history.Runtime, *, stock: bool) -> str:
    own = "stock" if stock else "Tileskip"
    return f"{own} {runner.version}, XNNPACK {runner.xnnpack}, {runner.compiler}"


def _figures(profile: Profile, item: Measurement) -> Iterator[tuple[str, Figure]]:
    output, emulated = item.output, profile.by_instructions
    if output.timing is not None and not emulated:
        turns = samples_of_turns(output.timing.samples_us, item.turns)
        median = _of_turns(output.timing.samples_us, turns, np.median)
        yield "median", replace(median, interval=item.spread.interval if item.spread else None)
        yield "mean", _of_turns(output.timing.samples_us, turns, np.mean)
        yield "p95", _of_turns(output.timing.samples_us, turns, _p95)
    if item.instructions is not None:
        counts = tuple(turn.instructions for turn in item.turns if turn.instructions is not None)
        yield "instructions", Figure(item.instructions, "", counts, exact=emulated)
    if output.peak_rss_kib is not None:
        peaks = tuple(float(turn.peak_rss_kib) for turn in item.turns if turn.peak_rss_kib)
        yield "memory", Figure(float(output.peak_rss_kib), "KiB", peaks)
    yield "size", Figure(float(output.model.bytes), "B", exact=True)
    if item.energy is not None:
        energy = Figure(item.energy.energy_j, "J", interval=item.energy.interval_j)
        yield _energy_name(item.energy.source), energy
    for estimate in profile.estimates:
        for one in estimate.models:
            if one.sha256 == item.sha256 and estimate.threads == profile.threads_of(item):
                yield f"estimate on {estimate.board}", Figure(one.ms, "ms", exact=True)


def _energy_name(source: Source) -> str:
    return {"pmic": "energy by PMIC", "meter": "energy by meter"}[source]


def subjects_of_result(result: Result) -> list[Subject]:
    """The models of another tool's result, in their order."""
    board = result.board
    setup = Setup(board.name, board.core, board.clock_mhz, board.emulated)
    names = [one.name for one in result.models]
    return [
        Subject(
            model=f"{one.name} #{names[: index + 1].count(one.name)}"
            if one.name in names[:index]
            else one.name,
            setup=setup,
            figures=dict(_told(one)),
            operators=_told_operators(one.operators),
            sha256=one.sha256,
            runtime=one.runtime,
            threads=one.threads or result.threads,
        )
        for index, one in enumerate(result.models)
    ]


def subject_of_history(found: history.Found, model: str) -> Subject:
    """What a history keeps of a model.

    Args:
        found: its line.
        model: what it is to be called.
    """
    run, kept = found.run, found.figures
    board = run.board
    figures: dict[str, Figure] = {}
    if kept.median_us is not None and not board.emulated:
        figures["median"] = Figure(kept.median_us, "us", tuple(kept.turns_us))
    if kept.p95_us is not None and not board.emulated:
        figures["p95"] = Figure(kept.p95_us, "us")
    if kept.instructions is not None:
        figures["instructions"] = Figure(kept.instructions, "", exact=board.emulated)
    if kept.peak_rss_kib is not None:
        figures["memory"] = Figure(float(kept.peak_rss_kib), "KiB")
    if kept.bytes is not None:
        figures["size"] = Figure(float(kept.bytes), "B", exact=True)
    if kept.energy_j is not None and kept.energy_source is not None:
        figures[_energy_name(kept.energy_source)] = Figure(kept.energy_j, "J")
    return Subject(
        model=model,
        setup=_setup(board.name, board, governor=board.governor, frequency_khz=board.frequency_khz),
        figures=figures,
        sha256=kept.sha256,
        runtime=_runtime(run.runtime, stock=kept.stock),
        threads=kept.threads or run.threads,
        doubts=tuple(kept.doubts),
    )


def baseline_of(profile: Profile, log: Path) -> list[Subject]:
    """The latest earlier figures of each model of a profile, on the same board.

    Args:
        profile: what they are the baseline of; its own line in the history is none.
        log: the history.

    Raises:
        ModelError: the history cannot be read, or has none of the models.
    """
    own = history.run_of(profile)
    newest = history.latest_of_each(log, board=profile.board.name, before=own.id)
    found = [
        subject_of_history(newest[kind], label)
        for label, kind in zip(unique_names(profile), history.kinds(own), strict=True)
        if kind in newest
    ]
    if not found:
        raise ModelError(
            f"{log}: has no earlier run of these models on {profile.board.name}",
            hint="deploy profile adds a run to the history each time",
        )
    return found


def _told(one: ModelResult) -> Iterator[tuple[str, Figure]]:
    whole = [turn for turn in one.turns if turn]
    for name, value, make in (
        ("median", one.summary.median_us, np.median),
        ("mean", one.summary.mean_us, np.mean),
        ("p95", one.summary.p95_us, _p95),
    ):
        if value is not None:
            yield name, Figure(value, "us", tuple(float(make(turn)) for turn in whole))
    if one.instructions is not None:
        yield "instructions", Figure(one.instructions, "")
    if one.peak_memory_kib is not None:
        yield "memory", Figure(one.peak_memory_kib, "KiB")
    if one.model_bytes is not None:
        yield "size", Figure(float(one.model_bytes), "B", exact=True)


def _told_operators(operators: Sequence[OperatorResult]) -> dict[str, Figure]:
    found: dict[str, Figure] = {}
    for one in operators:
        us = one.median_us if one.median_us is not None else one.mean_us
        if one.name and us:
            found.setdefault(one.name, Figure(us, "us"))
    return found


def _of_turns(
    samples: Sequence[float],
    turns: Sequence[Sequence[float]],
    figure: Callable[[Sequence[float]], object],
) -> Figure:
    whole = sum(map(len, turns)) == len(samples) and all(turns)
    each = tuple(float(figure(turn)) for turn in turns) if whole else ()  # type: ignore[arg-type]
    return Figure(float(figure(samples)), "us", each)  # type: ignore[arg-type]


def _p95(samples: Sequence[float]) -> float:
    return float(np.percentile(samples, 95))


def _operators(item: Measurement) -> dict[str, Figure]:
    found: dict[str, Figure] = {}
    turns = [turn.ops_us for turn in item.turns]
    for index, row in enumerate(item.operators):
        each = [ops[index] for ops in turns if ops is not None and index < len(ops)]
        # Earlier versions told whole microseconds: an operator of none has no ratio.
        known = tuple(each) if len(each) == len(turns) and all(us > 0 for us in each) else ()
        if row.masked > 0:
            found.setdefault(row.name, Figure(row.masked, "us", known))
    return found
