"""Profile models on a board: run the runner on each, and record what the board is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import toolchain
from toolchain.board.config import Board
from toolchain.board.connection import Connection
from toolchain.board.invoke import BoardRunner, Settings
from toolchain.build.bundle import Bundle
from toolchain.cache import sha256_file
from toolchain.model.graph import Model, read_model
from toolchain.model.layers import find_layers, totals
from toolchain.profile.document import BoardRecord, Measurement, Profile
from toolchain.profile.facts import BoardFacts, read_facts, read_vitals
from toolchain.profile.runner_output import RunnerOutput, parse_output
from toolchain.profile.stability import MIN_RUNS, doubts, unsteady
from toolchain.progress import Progress

_MAX_ROUNDS = 3
"""How often a model is measured, each time with twice the runs, before its spread is accepted."""


def profile(
    connection: Connection,
    board: Board,
    models: Sequence[Path],
    runner: BoardRunner,
    report: Progress,
    *,
    settings: Settings,
    stock: Bundle | None = None,
) -> Profile:
    """Measure models, one after the other.

    On a real board a model whose times spread too much is measured again with twice the runs, at
    most twice. Under emulation the first round stands: there, instruction counts are the result.

    Args:
        connection: the board.
        board: its file.
        models: the first is the one that the others are compared with.
        runner: the runtime on that board.
        report: is told of the stages.
        settings: runs, warm-up, threads, per-operator times.
        stock: if given, each model is also measured on this runtime.

    Raises:
        ModelError: a model cannot be read, loaded or run.
        BoardError: something failed on the board.
    """
    parsed = [read_model(path) for path in models]
    facts = read_facts(connection, emulated=board.connection == "emulator")
    runners = [runner]
    if stock is not None:
        runners.append(BoardRunner(connection, board, stock, report))
    runner.push_models(models)
    measurements: list[Measurement] = []
    with report.stage("profile", total=len(runners) * len(parsed)) as stage:
        for current in runners:
            for model in parsed:
                stage.advance(0, Path(model.path).stem)
                output = _measure(current, model, settings, facts)
                measurements.append(_record(connection, model, output, facts))
                stage.advance(1)
        stage.advance(0, "")
    return Profile(
        tool=toolchain.__version__,
        created=datetime.now(UTC),
        board=BoardRecord(
            name=board.name, title=board.title, facts=facts, after=read_vitals(connection)
        ),
        runs=settings.runs,
        warmup=settings.warmup,
        threads=settings.threads,
        measurements=measurements,
    )


def _measure(
    runner: BoardRunner, model: Model, settings: Settings, facts: BoardFacts
) -> RunnerOutput:
    for _ in range(_MAX_ROUNDS):
        output = parse_output(runner.run(model, settings).report)
        timing = output.timing
        if facts.emulated or timing is None or timing.runs < MIN_RUNS or not unsteady(timing):
            break
        settings = replace(settings, runs=2 * settings.runs)
    return output


def _record(
    connection: Connection,
    model: Model,
    output: RunnerOutput,
    facts: BoardFacts,
) -> Measurement:
    sums = totals(find_layers(model))
    path = Path(model.path)
    shaky: list[str] = []
    if output.timing is not None and not facts.emulated:
        shaky = doubts(output.timing, facts.vitals, read_vitals(connection))
    return Measurement(
        name=path.stem,
        sha256=sha256_file(path),
        macs=sums.macs,
        macs_saved=sums.macs_saved,
        stock=not output.runner.patched,
        output=output,
        doubts=shaky,
    )
