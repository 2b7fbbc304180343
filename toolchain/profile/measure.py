"""Profile models on a board: run the runner on each, and record what the board is."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
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
from toolchain.profile.document import BoardRecord, Failure, Measurement, Profile, Spread
from toolchain.profile.energy import Energy
from toolchain.profile.facts import (
    BoardFacts,
    Vitals,
    clock_mhz,
    read_facts,
    read_load,
    read_vitals,
)
from toolchain.profile.operators import trace
from toolchain.profile.power_sources import PowerSource
from toolchain.profile.protocol import (
    FIRST_RUNS,
    MAX_WARMUP,
    SECONDS,
    TURNS,
    Limits,
    rounds,
    runs_of_a_turn,
    runs_of_turns,
    runs_to_settle,
    settled_after,
    wait_until_calm,
)
from toolchain.profile.runner_output import RunnerOutput, parse_output
from toolchain.profile.stability import busy, doubts
from toolchain.profile.timed_operators import TimedRow, live_share, macs_computed, timed_rows
from toolchain.profile.turns import Turn, merged, time_interval, turn_of
from toolchain.progress import Progress, Stage
from toolchain.tflite_file.graph import Model, read_model
from toolchain.tflite_file.layers import find_layers, totals
from toolchain.tflite_file.untrained import is_untrained
from toolchain.timing.roof import Roof, roof_of_board

_EMULATED_RUNS = 3
"""Counts do not vary, and runs are slow."""


@dataclass
class _Entry:
    """One model on one runtime with a number of threads."""

    runner: BoardRunner
    model: Model
    sha256: str
    threads: int
    warmup: int
    """Runs before the timed ones, of each process."""
    settled: bool = True
    """Whether it is known after how many runs times no longer fall."""
    outputs: list[RunnerOutput] = field(default_factory=list)
    """A turn each."""
    turns: list[Turn] = field(default_factory=list)
    survey: RunnerOutput | None = None
    """Of a process that tells what each convolution skips."""
    run_us: float = 0.0
    failed: bool = False
    energy: Energy | str | None = None
    """Of an inference; why it could not be told; ``None`` if that was not tried."""

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

    def is_precise(self, limits: Limits) -> bool:
        """Whether the interval of its median is as narrow as it is to be."""
        timing = self.merged.timing
        interval = time_interval(timing.samples_us, self.turns) if timing else None
        return interval is not None and interval.width <= limits.precision


@dataclass
class Session:
    """A profile in the making: what has been measured so far, and what went wrong.

    Args:
        connection: the board.
        board: its file.
        runner: the runtime on that board.
        report: is told of the stages.
        settings: runs, warm-up, per-operator times. With ``runs`` of 0 a model is run until its
            median is known well enough.
        stock: if given, each model is also measured on this runtime.
        threads: how many each model is measured with, one number after the other; those of the
            settings if empty.
        limits: what ends the waiting and the measuring where ``runs`` is 0.
        settle: whether warm-up runs are taken until times have settled, in place of those of the
            settings.
        power: if given, the energy of an inference is measured with it, after all that is timed.
    """

    connection: Connection
    board: Board
    runner: BoardRunner
    report: Progress
    settings: Settings
    stock: Bundle | None = None
    failures: Failures = field(default_factory=Failures)
    threads: Sequence[int] = ()
    limits: Limits = field(default_factory=Limits)
    settle: bool = False
    power: PowerSource | None = None

    def __post_init__(self) -> None:
        self._seed = random.SystemRandom().randrange(1 << 32)
        self._not_calm: str | None = None
        self._states: list[Vitals] = []
        self._facts: BoardFacts | None = None
        self._entries: list[_Entry] = []
        self._load: list[float] = []
        self._reference: str | None = None
        self._no_energy = "the work was ended before" if self.power else None

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
            self._look_for_power()
            runners = [self.runner]
            if self.stock is not None:
                runners.append(self.runner.beside(self.stock))
            found: list[tuple[Model, str]] = []
            for pushed in self.runner.push_each(models, self.failures):
                with self.failures.of(str(pushed.local)):
                    found.append((read_model(pushed.local), pushed.sha256))
            self._states = [self._facts.vitals]
            self._entries = [
                _Entry(runner, *each, threads, self.settings.warmup)
                for threads in self.threads or [self.settings.threads]
                for runner in runners
                for each in found
            ]
            if self._facts.emulated:
                self._one_by_one()
            else:
                self._in_turns()
                self._measure_energy()

    def profile(self) -> Profile | None:
        """What was measured; ``None`` if nothing was."""
        if self._facts is None:
            return None
        after = Vitals()
        with Failures().kept():  # the board may be gone
            after = read_vitals(self.connection)
            if all(entry.energy is None for entry in self._entries):
                self._states.append(after)  # else it is of after other runs than the timed ones
        measured = [entry for entry in self._entries if entry.outputs and not entry.failed]
        if not measured:
            return None
        measurements = [self._record(entry, self._facts) for entry in measured]
        reference_failed = str(measured[0].model.path) != self._reference
        failed = [Failure(model=name, error=error.what) for name, error in self.failures.items]
        return Profile(
            tool=toolchain.__version__,
            created=datetime.now(UTC),
            board=BoardRecord(
                name=self.board.name, title=self.board.title, facts=self._facts, after=after
            ),
            runs=self.settings.runs,
            warmup=None if self._settles else self.settings.warmup,
            threads=measured[0].threads,
            limits=None if self.settings.runs or self._facts.emulated else self.limits,
            seed=None if self._facts.emulated else self._seed,
            not_calm=self._not_calm,
            measurements=self._with_operators(measurements, beside_first=not reference_failed),
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

    @property
    def _settles(self) -> bool:
        emulated = self._facts is not None and self._facts.emulated
        return self.settle and not self.settings.runs and not emulated

    def _in_turns(self) -> None:
        order = rounds(len(self._entries), self._seed)
        with self.report.stage("profile", total=len(self._entries) * (TURNS + 1)) as stage:
            if not self.settings.runs:
                self._not_calm = wait_until_calm(
                    lambda: read_vitals(self.connection), self._is_busy, self.limits, stage
                )
            for entry in self._entries:
                self._look_first(entry, stage)
                stage.advance(1)
            if self.settings.runs:
                plan = runs_of_turns(self.settings.runs)
                stage.total(len(self._entries) * (len(plan) + 1))
                for runs, models in zip(plan, order, strict=False):
                    self._round(models, stage, runs)
            else:
                self._until_precise(order, stage)
            stage.advance(0, "")

    def _until_precise(self, order: Iterator[list[int]], stage: Stage) -> None:
        end = time.monotonic() + self.limits.max_time_s * len(self._entries)
        done = 0
        while done < TURNS or not self._enough(end):
            done += 2  # a block, which is compared as a whole
            stage.total(len(self._entries) * (max(done, TURNS) + 1))
            self._round(next(order), stage)
            self._round(next(order), stage)
            # The first runs may have been the slow ones: then a turn is too short.
            if done >= TURNS:
                for entry in self._running:
                    timing = entry.merged.timing
                    entry.run_us = timing.median_us if timing else entry.run_us

    def _enough(self, end: float) -> bool:
        """Whether turns end; where others are at work more of them do not help."""
        return (
            time.monotonic() >= end
            or busy(self._load, self._cores)
            or all(
                entry.timed_us >= SECONDS * 1e6 and entry.is_precise(self.limits)
                for entry in self._running
            )
        )

    def _is_busy(self) -> bool:
        load = read_load(self.connection)
        return load is not None and busy([load], self._cores)

    @property
    def _cores(self) -> int | None:
        """Of the board."""
        return sum(self._facts.cores.values()) or None if self._facts else None

    @property
    def _running(self) -> list[_Entry]:
        return [entry for entry in self._entries if not entry.failed]

    def _look_for_power(self) -> None:
        """Say at once where no energy can be measured; times are measured all the same."""
        if self.power is None or self._facts is None:
            return
        reason = "the board is emulated, and its time is not real"
        if not self._facts.emulated:
            reason = self.power.missing(self.connection) or ""
        if reason:
            self.report.note(f"{self.connection.name}: no energy: {reason}")
            self.power, self._no_energy = None, reason

    def _measure_energy(self) -> None:
        if self.power is None or not self._running:
            return
        with self.report.stage("energy", total=len(self._running)) as stage:
            for entry in self._running:
                stage.advance(0, entry.label)
                timing = entry.merged.timing if entry.outputs else None
                settings = replace(self.settings, threads=entry.threads, warmup=entry.warmup)
                if timing is not None:
                    entry.energy = self.power.energy(
                        entry.runner, entry.model, settings, timing.median_us
                    )
                stage.advance(1)

    def _round(self, order: Sequence[int], stage: Stage, runs: int | None = None) -> None:
        """One process of each model, after a look at what else the board does."""
        load = read_load(self.connection)
        if load is not None:
            self._load.append(load)
        for entry in (self._entries[index] for index in order):
            if not entry.failed:
                own = runs or runs_of_a_turn(entry.run_us)
                self._run(entry, replace(self.settings, runs=own), stage)
                stage.advance(1)

    def _look_first(self, entry: _Entry, stage: Stage) -> None:
        """How long a run takes, after how many runs times have settled, and what is skipped."""
        self._survey(entry, stage, runs=FIRST_RUNS)
        if not self._settles or entry.failed:
            return
        entry.warmup = 0
        runs = runs_to_settle(entry.run_us)
        settled: int | None = None
        for count in (runs, 4 * runs):
            output = self._invoke(entry, replace(self.settings, runs=count, per_op=False), stage)
            if output is None or output.timing is None:
                return
            settled = settled_after(output.timing.samples_us)
            if settled is not None:
                entry.run_us = output.timing.median_us
                break
        entry.settled = settled is not None and settled <= MAX_WARMUP
        entry.warmup = min(MAX_WARMUP, runs if settled is None else settled)

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
        if output is None or output.timing is None:
            return
        if self._facts is not None and not self._facts.emulated:
            before, after = self._states[-1], read_vitals(self.connection)
            self._states.append(after)
            entry.turns.append(turn_of(output, before, after))
        entry.outputs.append(output)

    def _invoke(self, entry: _Entry, settings: Settings, stage: Stage) -> RunnerOutput | None:
        stage.advance(0, entry.label)
        settings = replace(settings, threads=entry.threads, warmup=entry.warmup)
        known = len(self.failures.items)
        with self.failures.of(str(entry.model.path)):
            return parse_output(entry.runner.run(entry.model, settings).report)
        entry.failed = len(self.failures.items) > known
        return None

    def _record(self, entry: _Entry, facts: BoardFacts) -> Measurement:
        layers = find_layers(entry.model)
        sums = totals(layers)
        path = Path(entry.model.path)
        output = entry.merged
        stock = not output.runner.patched
        spread = None
        shaky: list[str] = []
        if output.timing is not None and not facts.emulated:
            spread = Spread.of(output.timing.samples_us, entry.turns)
            shaky = [
                *self._doubts_before(entry),
                *doubts(
                    output.timing,
                    self._states,
                    turns=entry.turns,
                    interval=spread.interval,
                    load=self._load,
                    cores=self._cores,
                ),
            ]
        energy = entry.energy or self._no_energy
        traces = [trace(layer) for layer in layers]
        told = output.ops or (entry.survey.ops if entry.survey else None)
        return Measurement(
            name=path.stem,
            sha256=entry.sha256,
            macs=sums.macs,
            macs_saved=sums.macs_saved,
            stock=stock,
            threads=entry.threads,
            output=output,
            spread=spread,
            doubts=shaky,
            turns=entry.turns,
            layers=traces,
            live_share=1.0 if stock or not sums.masked else live_share(told, traces),
            macs_computed=macs_computed(told, traces),
            energy=energy if isinstance(energy, Energy) else None,
            no_energy=energy if isinstance(energy, str) else None,
            untrained=is_untrained(entry.model),
        )

    def _doubts_before(self, entry: _Entry) -> list[str]:
        """What was wrong before anything was timed."""
        found = []
        if self._not_calm:
            found.append(
                f"the board was {self._not_calm} when it had been waited for: cool it, end other "
                "programs, or wait longer with --max-wait"
            )
        if not entry.settled:
            found.append(
                "times had not settled when warm-up runs ended: measure it again with --warmup"
            )
        return found

    def _with_operators(
        self, measurements: list[Measurement], *, beside_first: bool
    ) -> list[Measurement]:
        """With their operators beside the first one's, where operators were timed."""
        found = []
        for item in measurements:
            first = next(one for one in measurements if one.threads == item.threads)
            rows: list[TimedRow] = []
            if item.output.ops is not None:
                dense = None
                if beside_first and item is not first and first.output.ops is not None:
                    dense = first.output.ops, first.layers
                rows = timed_rows(dense, (item.output.ops, item.layers), self._roof(item))
            if self._facts is None or self._facts.emulated:  # seconds mean nothing there
                rows = [row.model_copy(update={"macs_per_second": None}) for row in rows]
            found.append(item.model_copy(update={"operators": rows}))
        return found

    def _roof(self, item: Measurement) -> Roof | None:
        """What the board's cores can do at most; ``None`` where that is not known."""
        if self._facts is None:
            return None
        clock = clock_mhz(self._facts, self.board)
        roof = roof_of_board(self._facts.cores, clock, item.threads or 1)
        return None if isinstance(roof, str) else roof
