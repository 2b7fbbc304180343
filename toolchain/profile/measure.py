"""Profile models on a board: run the runner on each, and record what the board is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import toolchain
from toolchain.board.connection import Connection
from toolchain.board.invoke import BoardRunner, Settings
from toolchain.build.bundle import Bundle
from toolchain.failures import Failures
from toolchain.hardware.board_file import Board
from toolchain.profile.document import BoardRecord, Failure, Measurement, Profile
from toolchain.profile.facts import BoardFacts, Vitals, read_facts, read_load, read_vitals
from toolchain.profile.operators import TimedRow, live_share, macs_computed, timed_rows, trace
from toolchain.profile.runner_output import RunnerOutput, parse_output
from toolchain.profile.stability import busy, doubts, unsteady
from toolchain.profile.turns import (
    SECONDS,
    TURNS,
    merged,
    runs_of_a_turn,
    runs_of_turns,
    turn_of,
)
from toolchain.progress import Progress, Stage
from toolchain.tflite_file.graph import Model, read_model
from toolchain.tflite_file.layers import find_layers, totals

_MAX_PASSES = 3
"""How often all turns are taken before the spread of times is accepted."""
_EMULATED_RUNS = 3
"""Counts do not vary, and runs are slow."""
_FIRST_RUNS = 3
"""Of the process that tells how long a run takes; not among the samples."""


@dataclass
class _Entry:
    """One model on one runtime."""

    runner: BoardRunner
    model: Model
    sha256: str
    outputs: list[RunnerOutput] = field(default_factory=list)
    """A turn each."""
    survey: RunnerOutput | None = None
    """Of a process that tells what each convolution skips."""
    run_us: float = 0.0
    failed: bool = False

    @cached_property
    def is_masked(self) -> bool:
        return any(layer.mask for layer in find_layers(self.model))

    @property
    def label(self) -> str:
        return Path(self.model.path).stem

    @property
    def timed_us(self) -> float:
        return sum(sum(one.timing.samples_us) for one in self.outputs if one.timing)

    @property
    def merged(self) -> RunnerOutput:
        return merged(self.outputs)

    @property
    def unsteady(self) -> bool:
        timing = self.merged.timing
        turns = [turn_of(output) for output in self.outputs]
        return timing is not None and unsteady(timing, turns)


@dataclass
class Session:
    """A profile in the making: what has been measured so far, and what went wrong.

    Args:
        connection: the board.
        board: its file.
        runner: the runtime on that board.
        report: is told of the stages.
        settings: runs, warm-up, threads, per-operator times. With ``runs`` of 0 a model is run for
            three seconds at least.
        stock: if given, each model is also measured on this runtime.
    """

    connection: Connection
    board: Board
    runner: BoardRunner
    report: Progress
    settings: Settings
    stock: Bundle | None = None
    failures: Failures = field(default_factory=Failures)

    def __post_init__(self) -> None:
        self._facts: BoardFacts | None = None
        self._entries: list[_Entry] = []
        self._load: list[float] = []
        self._reference: str | None = None

    def measure(self, models: Sequence[Path], *, reference: Path | None = None) -> None:
        """Measure models; on a board whose times mean something they take turns.

        A model that fails is left out, and told by ``failures``. Whatever else ends the work is
        told there, too, and leaves what was measured before.

        Args:
            models: the first is the one that the others are compared with.
            reference: another such one, which could not be read.
        """
        self._reference = str(reference or models[0])
        with self.failures.kept():
            self._facts = read_facts(self.connection, emulated=self.board.connection == "emulator")
            runners = [self.runner]
            if self.stock is not None:
                runners.append(self.runner.beside(self.stock))
            found: list[tuple[Model, str]] = []
            for pushed in self.runner.push_each(models, self.failures):
                with self.failures.of(str(pushed.local)):
                    found.append((read_model(pushed.local), pushed.sha256))
            self._entries = [_Entry(runner, *each) for runner in runners for each in found]
            if self._facts.emulated:
                self._one_by_one()
            else:
                self._in_turns()

    def profile(self) -> Profile | None:
        """What was measured; ``None`` if nothing was."""
        if self._facts is None:
            return None
        after = Vitals()
        failures = Failures()
        with failures.kept():  # the board may be gone
            after = read_vitals(self.connection)
        measured = [entry for entry in self._entries if entry.outputs and not entry.failed]
        if not measured:
            return None
        measurements = [self._record(entry, self._facts, after) for entry in measured]
        reference_failed = str(measured[0].model.path) != self._reference
        failed = [Failure(model=name, error=error.what) for name, error in self.failures.items]
        return Profile(
            tool=toolchain.__version__,
            created=datetime.now(UTC),
            board=BoardRecord(
                name=self.board.name, title=self.board.title, facts=self._facts, after=after
            ),
            runs=self.settings.runs,
            warmup=self.settings.warmup,
            threads=self.settings.threads,
            measurements=_with_operators(measurements, beside_first=not reference_failed),
            failed=failed,
            reference_failed=reference_failed,
            load=self._load,
        )

    def _one_by_one(self) -> None:
        settings = replace(self.settings, runs=self.settings.runs or _EMULATED_RUNS)
        with self.report.stage("profile", total=len(self._entries)) as stage:
            for entry in self._entries:
                self._survey(entry, stage, runs=0)
                self._run(entry, settings, stage)
                stage.advance(1)
            stage.advance(0, "")

    def _in_turns(self) -> None:
        with self.report.stage("profile", total=len(self._entries) * (TURNS + 1)) as stage:
            for entry in self._entries:
                self._survey(entry, stage, runs=_FIRST_RUNS)
                stage.advance(1)
            if self.settings.runs:
                plan = runs_of_turns(self.settings.runs)
                stage.total(len(self._entries) * (len(plan) + 1))
                for runs in plan:
                    self._turn(stage, runs)
            else:
                self._until_steady(stage)
            stage.advance(0, "")

    def _until_steady(self, stage: Stage) -> None:
        for passes in range(_MAX_PASSES):
            if passes:
                stage.total(len(self._entries) * (TURNS * (passes + 1) + 1))
            for _ in range(TURNS):
                self._turn(stage)
            # The first runs may have been the slow ones: then a turn is too short.
            while any(entry.timed_us < SECONDS * 1e6 for entry in self._running):
                for entry in self._running:
                    timing = entry.merged.timing
                    entry.run_us = timing.median_us if timing else entry.run_us
                self._turn(stage)
            # Where others are at work more turns do not help, and the rows say so.
            if busy(self._load, self._cores) or not any(one.unsteady for one in self._running):
                break

    @property
    def _cores(self) -> int | None:
        """Of the board."""
        return sum(self._facts.cores.values()) or None if self._facts else None

    @property
    def _running(self) -> list[_Entry]:
        return [entry for entry in self._entries if not entry.failed]

    def _turn(self, stage: Stage, runs: int | None = None) -> None:
        """One process of each model, after a look at what else the board does."""
        load = read_load(self.connection)
        if load is not None:
            self._load.append(load)
        for entry in self._running:
            own = runs or runs_of_a_turn(entry.run_us)
            self._run(entry, replace(self.settings, runs=own), stage)
            stage.advance(1)

    def _survey(self, entry: _Entry, stage: Stage, *, runs: int) -> None:
        """How long a run takes, and what the runtime skips of each convolution."""
        # What a dense model computes is what masked ones are compared with.
        compared = not entry.runner.bundle.manifest.stock and any(
            other.is_masked for other in self._entries
        )
        per_op = (entry.is_masked or compared) and not (self.settings.per_op and not runs)
        if not runs and not per_op:
            return
        settings = replace(self.settings, runs=runs, per_op=per_op)
        output = self._invoke(entry, settings, stage)
        if output is not None:
            entry.survey = output if per_op else None
            entry.run_us = output.timing.median_us if output.timing else 0.0

    def _run(self, entry: _Entry, settings: Settings, stage: Stage) -> None:
        if entry.failed:
            return
        output = self._invoke(entry, settings, stage)
        if output is not None and output.timing is not None:
            entry.outputs.append(output)

    def _invoke(self, entry: _Entry, settings: Settings, stage: Stage) -> RunnerOutput | None:
        stage.advance(0, entry.label)
        known = len(self.failures.items)
        with self.failures.of(str(entry.model.path)):
            return parse_output(entry.runner.run(entry.model, settings).report)
        entry.failed = len(self.failures.items) > known
        return None

    def _record(self, entry: _Entry, facts: BoardFacts, after: Vitals) -> Measurement:
        layers = find_layers(entry.model)
        sums = totals(layers)
        path = Path(entry.model.path)
        output = entry.merged
        stock = not output.runner.patched
        turns = [] if facts.emulated else [turn_of(one) for one in entry.outputs]
        shaky: list[str] = []
        if output.timing is not None and not facts.emulated:
            shaky = doubts(
                output.timing,
                facts.vitals,
                after,
                turns=turns,
                load=self._load,
                cores=self._cores,
            )
        traces = [trace(layer) for layer in layers]
        told = output.ops or (entry.survey.ops if entry.survey else None)
        return Measurement(
            name=path.stem,
            sha256=entry.sha256,
            macs=sums.macs,
            macs_saved=sums.macs_saved,
            stock=stock,
            output=output,
            doubts=shaky,
            turns=turns,
            layers=traces,
            live_share=1.0 if stock or not sums.masked else live_share(told, traces),
            macs_computed=macs_computed(told, traces),
        )


def _with_operators(measurements: list[Measurement], *, beside_first: bool) -> list[Measurement]:
    """Measurements with their operators beside the first one's, where operators were timed."""
    first = measurements[0]
    found = []
    for item in measurements:
        rows: list[TimedRow] = []
        if item.output.ops is not None:
            dense = None
            if beside_first and item is not first and first.output.ops is not None:
                dense = first.output.ops, first.layers
            rows = timed_rows(dense, (item.output.ops, item.layers))
        found.append(item.model_copy(update={"operators": rows}))
    return found
