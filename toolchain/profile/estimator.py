"""Estimate times of models on a board that is not there.

The board's own runner is traced on the core that QEMU plays, and the trace becomes milliseconds by
:mod:`toolchain.timing.model`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

import toolchain
from toolchain.build.bundle import Bundle
from toolchain.errors import BoardError, ModelError
from toolchain.failures import Failures
from toolchain.hardware.board_file import Board, known_caches, known_clock, load_board
from toolchain.profile.document import Profile
from toolchain.profile.estimate_document import (
    CalibrationRow,
    Estimate,
    EstimatedOperator,
    ModelEstimate,
)
from toolchain.profile.operators import LayerTrace
from toolchain.profile.operators import trace as trace_layer
from toolchain.profile.runner_output import Op, parse_output
from toolchain.profile.timed_operators import timed_rows
from toolchain.progress import Progress, Silent
from toolchain.resources import boards_dir
from toolchain.storage.cache import sha256_file
from toolchain.tflite_file.graph import read_model
from toolchain.tflite_file.layers import find_layers
from toolchain.tflite_file.untrained import is_untrained
from toolchain.timing.bounds import Limit, busy_units, core_limit
from toolchain.timing.calibration import Measured, calibrated
from toolchain.timing.core_table import TimedCore, arithmetic_of, core_table, timed
from toolchain.timing.model import Bound, Cycles, TimingModel, model_of
from toolchain.timing.pipeline import TablePipeline
from toolchain.timing.trace import trace_model, traced_core
from toolchain.timing.windows import OUTSIDE, Floats, Windows, windows_of

Chosen = npt.NDArray[np.bool_]
"""Some of the windows."""


@dataclass(frozen=True)
class _Run:
    """A model as the board's core runs it."""

    sha256: str
    ops: list[Op]
    """The remainder at their end."""
    layers: list[LayerTrace]
    untrained: bool
    windows: Windows
    busy: dict[int, dict[Limit, float]]

    @property
    def shared(self) -> set[int]:
        """Operators whose work is dealt out: XNNPACK cuts its own into some tasks a thread."""
        return {op.index for op in self.ops if op.delegated}


class Estimator:
    """Estimates on one board.

    Args:
        bundle: with which models run; of a board with the same core.
        board: which.
        threads: of the runner.
        clock_mhz: in place of the board's own.
        timing_model: in place of the model of published times: one that was calibrated.

    Raises:
        BoardConfigError: the board's file does not say its clock or its caches, or its core is none
            that can be estimated.
    """

    def __init__(
        self,
        bundle: Bundle,
        board: Board,
        *,
        threads: int,
        clock_mhz: int | None = None,
        timing_model: TimingModel | None = None,
    ) -> None:
        core = timed_core(board)
        self._bundle, self._board, self._threads = bundle, board, threads
        self._table = core_table(core)
        self._has_l3 = known_caches(board).l3 is not None
        self.clock_mhz = clock_mhz or known_clock(board)
        self.timing_model = timing_model or model_of(core)
        self._calibration: list[CalibrationRow] = []
        self._runs: dict[Path, _Run] = {}

    def models(
        self,
        models: Sequence[Path],
        failures: Failures | None = None,
        progress: Progress | None = None,
    ) -> Estimate | None:
        """Estimate models; the first is what the others are compared with.

        Args:
            models: files.
            failures: where a model's own fault is kept, and the others go on; else it is raised.
            progress: where models are counted.

        Returns:
            ``None`` where no model could be estimated.

        Raises:
            ModelError: a model cannot be read, where there are no ``failures``.
            BoardError: QEMU or the runner failed.
            MissingToolError: QEMU's user mode or a C compiler is not installed.
        """
        kept = failures or Failures()
        found: list[ModelEstimate] = []
        title = f"estimate for {self._board.name}"
        with (progress or Silent()).stage(title, len(models)) as stage:
            for model in models:
                with kept.of(str(model)):
                    found.append(self._estimate(model, found[0] if found else None))
                stage.advance(1, model.name)
        if failures is None:
            kept.require()
        if not found:
            return None
        return Estimate(
            tool=toolchain.__version__,
            board=self._board.name,
            title=self._board.title,
            core=self._table.name,
            clock_mhz=self.clock_mhz,
            threads=self._threads,
            timing_model=self.timing_model,
            models=found,
            calibration=self._calibration,
            failed=kept.rows(),
        )

    def calibrate(
        self, models: Sequence[Path], profile: Profile, progress: Progress | None = None
    ) -> None:
        """Fit the timing model to what was measured on the board.

        Args:
            models: files; those that the profile has are taken.
            profile: of a real board with the same core, with as many threads.
            progress: where models are counted.

        Raises:
            ModelError: the profile is of an emulated board, or has none of the models.
            BoardError, MissingToolError: as :meth:`models`.
        """
        if profile.board.facts.emulated:
            raise ModelError(
                "the profile is of an emulated board, whose seconds mean nothing",
                hint="give a profile of a real one",
            )
        alike = [one for one in profile.measurements if profile.threads_of(one) == self._threads]
        if not alike:
            raise ModelError(
                f"the profile is of {profile.threads} threads, the estimate of {self._threads}",
                hint=f"add --threads {profile.threads}",
            )
        times = {one.sha256: one.median_us for one in alike if not one.stock}
        measured = []
        with (progress or Silent()).stage("calibrate", len(models)) as stage:
            for model in models:
                run = self._run(model)
                if us := times.get(run.sha256):
                    one = Measured(model.stem, run.windows, run.shared, self.clock_mhz, us / 1e3)
                    measured.append(one)
                stage.advance(1, model.name)
        if not measured:
            raise ModelError(
                "the profile has none of the models",
                hint="give the files that were profiled, unchanged",
            )
        published, self.timing_model = self.timing_model, calibrated(self.timing_model, measured)
        self._calibration = [
            CalibrationRow(
                name=one.name,
                measured_ms=one.ms,
                published_ms=one.estimate(published),
                calibrated_ms=one.estimate(self.timing_model),
                left_out_ms=one.estimate(calibrated(published, others)) if others else None,
            )
            for one in measured
            for others in [[other for other in measured if other is not one]]
        ]

    def _run(self, model: Path) -> _Run:
        if (known := self._runs.get(model)) is None:
            trace = trace_model(self._bundle.runner, model, self._board, threads=self._threads)
            if trace.output is None:
                raise BoardError(f"{model}: the runner wrote no figures")
            ops = parse_output(trace.output).ops
            assert ops is not None  # noqa: S101 (--marks asks for them)
            parsed = read_model(model)
            known = self._runs[model] = _Run(
                sha256=sha256_file(model),
                ops=ops,
                layers=[trace_layer(layer) for layer in find_layers(parsed)],
                untrained=is_untrained(parsed),
                windows=windows_of(trace, TablePipeline(self._table), has_l3=self._has_l3),
                busy=busy_units(trace, self._table),
            )
        return known

    def _estimate(self, model: Path, first: ModelEstimate | None) -> ModelEstimate:
        run, per_ms = self._run(model), self.clock_mhz * 1e3
        cycles = self.timing_model.cycles(run.windows, self.clock_mhz, run.shared)
        operator = run.windows.main().operator
        total = cycles.total
        whole = float(total.sum())
        names = [row.name for row in timed_rows(None, (run.ops, run.layers))]
        told = [op for op in run.ops if op.macs_computed]
        low_ms, high_ms = self.timing_model.interval.around(whole / per_ms, self._threads)
        found = ModelEstimate(
            name=model.stem,
            sha256=run.sha256,
            ms=whole / per_ms,
            low_ms=low_ms,
            high_ms=high_ms,
            instructions=int(run.windows.instructions.sum()),
            macs_computed=sum(op.macs_computed or 0 for op in told),
            peak_share=self._peak_share(told, whole),
            by_bound=_by_bound(cycles, np.ones(len(total), bool), per_ms),
            operators=[
                self._operator(run, op, name, cycles, operator == op.index)
                for op, name in zip(run.ops[:-1], names[:-1], strict=True)
            ],
            outside_ms=float(total[operator == OUTSIDE].sum()) / per_ms,
            layers=run.layers,
            untrained=run.untrained,
        )
        if first is None:
            return found
        rows = timed_rows((first.timed_ops(), first.layers), (found.timed_ops(), run.layers))
        return found.model_copy(update={"beside": rows if any(row.dense for row in rows) else []})

    def _operator(
        self, run: _Run, op: Op, name: str, cycles: Cycles, mine: Chosen
    ) -> EstimatedOperator:
        per_ms = self.clock_mhz * 1e3
        taken = float(cycles.total[mine].sum())
        every = run.windows.where(run.windows.operator == op.index)
        return EstimatedOperator(
            index=op.index,
            name=name,
            type=op.type,
            delegated=op.delegated,
            ms=taken / per_ms,
            share=taken / float(cycles.total.sum()),
            bound=_bound(cycles, mine, run.busy.get(op.index, {}), float(every.core.sum())),
            by_bound=_by_bound(cycles, mine, per_ms),
            instructions=int(every.instructions.sum()),
            ukernel=op.ukernel,
            mr=op.mr,
            nr=op.nr,
            pixels=op.pixels,
            kept=op.kept,
            dead_tap_share=op.dead_tap_share,
            macs_computed=op.macs_computed,
            peak_share=self._peak_share([op], taken),
            memory_lines=round(float(every.memory.sum())),
        )

    def _peak_share(self, ops: Sequence[Op], cycles: float) -> float | None:
        """Part of the time that the multiplications would take at the best of all cores."""
        best = 0.0
        for op in ops:
            kind = arithmetic_of(op.type)
            if not op.macs_computed or kind not in self._table.peak:
                return None
            best += op.macs_computed / self._table.peak[kind]
        return best / self._threads / cycles if best and cycles else None


Estimating = Callable[[Bundle, Sequence[Path], Board, Progress | None], list[Estimate]]
"""As :func:`estimates_for`."""


def estimates_for(
    bundle: Bundle, models: Sequence[Path], emulated: Board, progress: Progress | None = None
) -> list[Estimate]:
    """Estimates for all boards whose core an emulated board plays; one thread.

    Args:
        bundle: of the emulated board.
        models: files.
        emulated: the board.
        progress: where models are counted.

    Raises:
        BoardError, MissingToolError: as :meth:`Estimator.models`.
    """
    found = []
    for board in boards_with_core(emulated):
        one = Estimator(bundle, board, threads=1).models(models, progress=progress)
        found += [one] if one else []
    return found


class EstimatedOnce:
    """The same for several emulated boards, with the same models: once for each core and bundle."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[tuple[str, Path], list[Estimate]] = {}

    def __call__(
        self,
        bundle: Bundle,
        models: Sequence[Path],
        emulated: Board,
        progress: Progress | None = None,
    ) -> list[Estimate]:
        """See :func:`estimates_for`."""
        key = emulated.cpu, bundle.path
        with self._lock:
            if key not in self._known:
                self._known[key] = estimates_for(bundle, models, emulated, progress)
            return self._known[key]


def boards_with_core(board: Board) -> list[Board]:
    """The boards that ship, have the core of an emulated one, and can be estimated."""
    there = [load_board(path.stem) for path in sorted(boards_dir().glob("*.toml"))]
    return [
        one
        for one in there
        if one.connection == "ssh"
        and (one.cpu, one.isa) == (board.cpu, board.isa)
        and one.caches is not None
        and one.clock_mhz is not None
    ]


def timed_core(board: Board) -> TimedCore:
    """The core of a board whose times can be estimated.

    Raises:
        BoardConfigError: it is another one.
    """
    core = timed(traced_core(board))
    assert core is not None  # noqa: S101 (whatever is traced has a table)
    return core


def _bound(
    cycles: Cycles, mine: Chosen, busy: dict[Limit, float], core_cycles: float
) -> Limit | Bound:
    shares: dict[Bound, float] = {
        name: float(part[mine].sum()) for name, part in cycles.by_bound.items()
    }
    name = max(shares, key=lambda one: shares[one])
    return core_limit(busy, core_cycles) if name == "core" else name


def _by_bound(cycles: Cycles, mine: Chosen, per_ms: float) -> dict[Bound, float]:
    parts: dict[Bound, Floats] = cycles.by_bound
    return {
        name: float(part[mine].sum()) / per_ms for name, part in parts.items() if part[mine].any()
    }
