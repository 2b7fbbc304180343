"""A profile in the making, on a board that is played: whose turn it is, and when it is enough."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from support.bundles import write_bundle, write_masked_model
from support.runner_outputs import runner_output
from support.timed_ops import conv, listed
from toolchain.board.invoke import BoardRunner, Outcome, Settings
from toolchain.board.local import LocalConnection
from toolchain.board.push import Pushed
from toolchain.build.bundle import Bundle
from toolchain.errors import BoardError, ConnectionFailed, ModelError
from toolchain.failures import Failures
from toolchain.hardware.board_file import load_board
from toolchain.profile import measure
from toolchain.profile.facts import BoardFacts, Throttled, Vitals
from toolchain.profile.measure import Session
from toolchain.profile.protocol import FIRST_RUNS, MAX_WARMUP, TURNS, Limits
from toolchain.progress import Silent, Stage
from toolchain.storage.cache import sha256_file
from toolchain.tflite_file.graph import Model

Time = Callable[[str, int], float]
"""Microseconds of a run: of a model's name and how often it was run before."""
CALM = Vitals(governor="performance", temperature_c=50.0)
FACTS = BoardFacts(emulated=False, cores={"Cortex-A72": 4}, vitals=CALM)


@dataclass
class Call:
    """One process of the runner."""

    name: str
    runs: int
    per_op: bool
    patched: bool
    warmup: int = field(default=0, compare=False)
    threads: int = field(default=1, compare=False)
    seconds: float = field(default=0.0, compare=False)
    """That its runs take."""


class Played(BoardRunner):
    """A runtime on a board that takes as long as it is told to."""

    def __init__(self, time: Time, calls: list[Call], bundle: Bundle) -> None:
        self._time, self._calls, self.bundle = time, calls, bundle
        self._patched = not bundle.manifest.stock

    def beside(self, bundle: Bundle) -> Played:
        return Played(self._time, self._calls, bundle)

    def push_each(self, models: Sequence[Path], failures: Failures) -> list[Pushed]:
        pushed = []
        for model in models:
            with failures.of(str(model)):
                if not model.exists():
                    raise ModelError(f"{model}: cannot be read")
                sha256, size = sha256_file(model), model.stat().st_size
                pushed.append(Pushed(model, f"there/{model.name}", size, sha256, sent=True))
        return pushed

    def samples(self, us: float, runs: int) -> list[float]:
        return [us] * runs

    def run(
        self, model: Model, settings: Settings, batch: object = None, *, sampler: object = None
    ) -> Outcome:
        assert batch is None
        assert sampler is None
        name = Path(model.path).stem
        before = sum(call.name == name and call.patched == self._patched for call in self._calls)
        call = Call(
            name, settings.runs, settings.per_op, self._patched, settings.warmup, settings.threads
        )
        self._calls.append(call)
        us = self._time(name, before)
        call.seconds = us * max(settings.runs, 1) / 1e6
        output = runner_output(
            samples_us=self.samples(us, max(settings.runs, 1)),
            patched=self._patched,
            ops=settings.per_op,
        )
        if settings.per_op:  # of two convolutions, a quarter of whose taps are dead
            ops = listed(conv(us, dead=0.25), conv(us, dead=0.25))
            output = output.model_copy(update={"ops": ops})
        if not settings.runs:
            output = output.model_copy(update={"timing": None})
        return Outcome([], output.model_dump_json(by_alias=True))


@dataclass
class Steps(Silent):
    """Counts what a stage is told."""

    done: float = 0
    totals: list[float | None] = field(default_factory=list)

    @contextmanager
    def stage(self, title: str, total: float | None = None) -> Iterator[Stage]:
        assert title == "profile"
        self.totals.append(total)
        yield self

    def advance(self, steps: float = 1, detail: str | None = None) -> None:
        del detail
        self.done += steps

    def total(self, steps: float) -> None:
        self.totals.append(steps)


@dataclass
class Bench:
    """A session on a played board, and what it did there."""

    folder: Path
    bundle: Bundle
    time: Time = lambda _, __: 200_000.0  # a turn of one run is long enough
    facts: BoardFacts = FACTS
    load: float | None = 0.1
    settings: Settings = field(default_factory=Settings)
    stock: Bundle | None = None
    threads: Sequence[int] = ()
    limits: Limits = field(default_factory=Limits)
    settle: bool = False
    calls: list[Call] = field(default_factory=list)
    steps: Steps = field(default_factory=Steps)

    def measure(self, *models: Path, reference: Path | None = None) -> Session:
        board = load_board("host")
        session = Session(
            LocalConnection("here", self.folder), board, Played(self.time, self.calls, self.bundle),
            self.steps, self.settings, self.stock,
            threads=self.threads, limits=self.limits, settle=self.settle,
        )  # fmt: skip
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(measure, "read_facts", lambda *_, **__: self.facts)
            patch.setattr(measure, "read_load", lambda _: self.load)
            clock = SimpleNamespace(monotonic=lambda: sum(call.seconds for call in self.calls))
            patch.setattr(measure, "time", clock)
            session.measure(models, reference=reference)
        return session

    def runs_of(self, name: str) -> list[int]:
        return [call.runs for call in self.calls if call.name == name]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "board", write_bundle(tmp_path / "bundle", b"runner"))


@pytest.fixture
def dense(tmp_path: Path) -> Path:
    return write_masked_model(tmp_path / "dense.tflite", sparsity=0, size=4)


@pytest.fixture
def masked(tmp_path: Path) -> Path:
    return write_masked_model(tmp_path / "masked.tflite", sparsity=0.3, size=4)


@pytest.fixture(autouse=True)
def vitals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "read_vitals", lambda _: CALM)


def test_models_take_turns_after_a_survey_of_each(bench: Bench, dense: Path, masked: Path) -> None:
    bench.settings = Settings(runs=25, warmup=1, threads=2)
    profile = bench.measure(dense, masked).profile()
    names = [call.name for call in bench.calls]
    assert names[:2] == ["dense", "masked"]
    blocks = [names[at : at + 4] for at in range(2, 2 * (TURNS + 1), 4)]
    assert len(blocks) == TURNS / 2
    # A block is one order, and then the same from behind.
    orders = (["dense", "masked", "masked", "dense"], ["masked", "dense", "dense", "masked"])
    assert all(block in orders for block in blocks)
    assert bench.runs_of("dense") == bench.runs_of("masked") == [3, *[2] * 5, *[1] * 15]
    # What the runtime computes is asked once: of a model that has masks, and of what it is beside.
    assert [call.name for call in bench.calls if call.per_op] == ["dense", "masked"]
    assert {(call.warmup, call.threads) for call in bench.calls} == {(1, 2)}
    assert bench.steps.done == bench.steps.totals[-1] == 2 * (TURNS + 1)
    assert profile is not None
    assert (profile.runs, profile.warmup, profile.threads) == (25, 1, 2)
    assert profile.load == [0.1] * TURNS
    assert [item.name for item in profile.measurements] == ["dense", "masked"]
    for item, path in zip(profile.measurements, (dense, masked), strict=True):
        assert [turn.runs for turn in item.turns] == [*[2] * 5, *[1] * 15]
        assert all(turn.before == turn.after == CALM for turn in item.turns)
        assert item.sha256 == sha256_file(path)
        assert item.doubts == []
    assert (profile.failed, profile.reference_failed) == ([], False)
    assert (profile.board.facts, profile.board.after.temperature_c) == (FACTS, 50.0)


def test_fewer_runs_than_turns_are_a_turn_each(bench: Bench, dense: Path) -> None:
    bench.settings = Settings(runs=4)
    profile = bench.measure(dense).profile()
    assert bench.runs_of("dense") == [3, 1, 1, 1, 1]
    assert bench.steps.totals[-1] == bench.steps.done == 5
    assert profile is not None
    assert "only 4 runs" in profile.measurements[0].doubts[0]


def test_a_turn_has_as_many_runs_as_make_three_seconds_of_all(bench: Bench, dense: Path) -> None:
    bench.time = lambda _, __: 70_000.0
    profile = bench.measure(dense).profile()
    assert bench.runs_of("dense") == [3, *[3] * TURNS]
    assert profile is not None
    assert profile.runs == 0
    assert len(profile.measurements[0].turns) == TURNS


def test_where_the_first_runs_were_the_slow_ones_turns_go_on(bench: Bench, dense: Path) -> None:
    bench.time = lambda _, before: 50_000.0 if before else 200_000.0
    bench.measure(dense)
    # 20 turns of 0.05 s, and as many of three such runs as are missing of three seconds, in blocks.
    assert bench.runs_of("dense") == [3, *[1] * TURNS, *[3] * 14]


def jumping(name: str, before: int) -> float:
    """A model whose processes differ by a half, each from the next."""
    del name
    return 200_000.0 + 100_000.0 * (before % 2)


@pytest.mark.parametrize(
    ("time", "load", "turns"),
    [
        (lambda _, __: 200_000.0, 0.1, TURNS),
        # Two models, for each of which 20 s are left: some 80 turns of 0.25 s.
        (jumping, 0.1, 80),
        # More turns do not help where others are at work.
        (jumping, 2.0, TURNS),
        (jumping, None, 80),
        # One that goes astray is no reason.
        (lambda name, before: 200_000.0 + 100_000.0 * (name == "a" and before == 9), 0.1, TURNS),
    ],
)
def test_turns_go_on_until_the_median_is_known_well_enough_or_time_is_up(
    bench: Bench, tmp_path: Path, time: Time, load: float | None, turns: int
) -> None:
    bench.time, bench.load = time, load
    bench.limits = Limits(max_time_s=20.0, max_wait_s=0.0)
    models = [write_masked_model(tmp_path / f"{name}.tflite", sparsity=0, size=4) for name in "ab"]
    profile = bench.measure(*models).profile()
    assert profile is not None
    first, second = (len(item.turns) for item in profile.measurements)
    assert first == second
    assert abs(first - turns) <= 4
    assert first % 2 == 0, "blocks are whole"
    assert len(profile.load) == (0 if load is None else first)
    assert bench.steps.totals[-1] == bench.steps.done == 2 * (first + 1)


def test_turns_end_once_the_interval_is_as_narrow_as_asked_for(bench: Bench, dense: Path) -> None:
    random = np.random.default_rng(2)
    bench.time = lambda _, __: 20_000.0 * float(random.lognormal(0, 0.05))
    bench.limits = Limits(precision=0.02)
    profile = bench.measure(dense).profile()
    assert profile is not None
    (item,) = profile.measurements
    assert item.spread is not None
    assert item.spread.interval is not None
    assert item.spread.interval.width <= 0.02
    assert len(item.turns) > TURNS
    assert (profile.limits, profile.runs) == (bench.limits, 0)


def warming(slow: int) -> Callable[[Played, float, int], list[float]]:
    """Samples of processes whose first runs are slow."""
    return lambda _, us, runs: [2 * us if run < slow else us for run in range(runs)]


@pytest.mark.parametrize("slow", [0, 1, 3])
def test_as_many_runs_are_left_out_as_a_first_process_takes_to_settle(
    bench: Bench, dense: Path, monkeypatch: pytest.MonkeyPatch, slow: int
) -> None:
    monkeypatch.setattr(Played, "samples", warming(slow))
    bench.settle, bench.settings = True, Settings(warmup=1)
    profile = bench.measure(dense).profile()
    first, second, *_, last = bench.calls
    assert first.runs == FIRST_RUNS
    assert (second.runs >= 4, second.warmup) == (True, 0)
    assert last.warmup == slow
    assert profile is not None
    assert profile.warmup is None
    assert not any("settled" in doubt for doubt in profile.measurements[0].doubts)


def test_a_model_that_does_not_settle_is_doubtful(
    bench: Bench, dense: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def falling(_: Played, us: float, runs: int) -> list[float]:
        return [us * 0.8**run for run in range(runs)]

    monkeypatch.setattr(Played, "samples", falling)
    bench.time, bench.settle = (lambda _, __: 20_000.0), True
    profile = bench.measure(dense).profile()
    looked_at = bench.runs_of("dense")[1:3]
    assert looked_at == [looked_at[0], 4 * looked_at[0]], "a second time for longer"
    assert bench.calls[3].warmup == MAX_WARMUP
    assert profile is not None
    assert any("had not settled" in doubt for doubt in profile.measurements[0].doubts)


def test_a_board_that_was_waited_for_in_vain_is_doubtful(
    bench: Bench, dense: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hot = CALM.model_copy(update={"temperature_c": 70.0})
    monkeypatch.setattr(measure, "read_vitals", lambda _: hot)
    bench.limits = Limits(max_wait_s=0.0)
    profile = bench.measure(dense).profile()
    assert profile is not None
    assert profile.not_calm == "still at 70.0 °C"
    (doubt,) = profile.measurements[0].doubts
    assert "70.0 °C" in doubt
    assert "--max-wait" in doubt
    bench.settings = Settings(runs=20)
    again = bench.measure(dense).profile()
    assert again is not None
    assert again.not_calm is None, "whoever asks for a number of runs does not wait"


def test_each_model_is_measured_with_each_number_of_threads(
    bench: Bench, dense: Path, masked: Path
) -> None:
    bench.threads, bench.settings = [1, 2], Settings(runs=20, per_op=True)
    profile = bench.measure(dense, masked).profile()
    assert profile is not None
    told = [(item.name, item.threads) for item in profile.measurements]
    assert told == [("dense", 1), ("masked", 1), ("dense", 2), ("masked", 2)]
    assert Counter(call.threads for call in bench.calls) == {1: 2 * (TURNS + 1), 2: 2 * (TURNS + 1)}
    first, _, third, fourth = profile.measurements
    assert profile.first(fourth) is third
    assert profile.first(third) is third
    labels = [profile.label(item) for item in (first, fourth)]
    assert labels == ["dense, 1 thread", "masked, 2 threads"]
    assert any(row.dense for row in fourth.operators)
    assert not any(row.dense for row in third.operators)


def test_a_board_that_is_held_back_in_the_middle_leaves_no_model_without_doubt(
    bench: Bench, dense: Path, masked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = itertools.count()

    def vitals(_: object) -> Vitals:
        now = ["throttled"] if next(asked) == 17 else []
        return CALM.model_copy(update={"throttled": Throttled(now=now, since_boot=now)})

    monkeypatch.setattr(measure, "read_vitals", vitals)
    bench.settings = Settings(runs=20)
    profile = bench.measure(dense, masked).profile()
    assert profile is not None
    for item in profile.measurements:
        assert any("held back (throttled)" in doubt for doubt in item.doubts)


def test_what_makes_times_doubtful_is_told(
    bench: Bench, dense: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resting = CALM.model_copy(update={"governor": "ondemand"})
    bench.facts, bench.load = FACTS.model_copy(update={"vitals": resting}), 0.4
    monkeypatch.setattr(measure, "read_vitals", lambda _: resting)
    profile = bench.measure(dense).profile()
    assert profile is not None
    (governor,) = profile.measurements[0].doubts  # 0.4 of four cores is little
    assert "ondemand" in governor
    bench.facts = FACTS.model_copy(update={"cores": {"Cortex-A53": 1}})
    monkeypatch.setattr(measure, "read_vitals", lambda _: CALM)
    bench.limits = Limits(max_wait_s=0.0)
    again = bench.measure(dense).profile()
    assert again is not None
    waited, busy = again.measurements[0].doubts
    assert "still busy" in waited
    assert "0.4 cores busy" in busy


def test_on_an_emulated_board_they_run_one_by_one(bench: Bench, dense: Path, masked: Path) -> None:
    bench.facts, bench.load = FACTS.model_copy(update={"emulated": True}), 2.0
    profile = bench.measure(dense, masked).profile()
    assert bench.calls == [
        Call("dense", 0, per_op=True, patched=True),
        Call("dense", 3, per_op=False, patched=True),
        Call("masked", 0, per_op=True, patched=True),
        Call("masked", 3, per_op=False, patched=True),
    ]
    assert bench.steps.done == bench.steps.totals[-1] == 2
    assert profile is not None
    assert [(item.turns, item.doubts) for item in profile.measurements] == [([], [])] * 2
    assert profile.load == []


def test_where_operators_are_timed_nothing_is_asked_besides(
    bench: Bench, dense: Path, masked: Path
) -> None:
    bench.facts = FACTS.model_copy(update={"emulated": True})
    bench.settings = Settings(runs=5, per_op=True)
    profile = bench.measure(dense, masked).profile()
    assert [(call.name, call.runs, call.per_op) for call in bench.calls] == [
        ("dense", 5, True),
        ("masked", 5, True),
    ]
    assert profile is not None
    first, second = ([row.dense for row in one.operators] for one in profile.measurements)
    assert first == [0.0] * 3, "it stands beside nothing"
    assert second == [200_000.0, 200_000.0, 5.0]


def fails(name: str, at: int, error: BaseException) -> Time:
    def time(which: str, before: int) -> float:
        if which == name and before == at:
            raise error
        return 200_000.0

    return time


@pytest.mark.parametrize("at", [0, 1, 9])
@pytest.mark.parametrize("name", ["dense", "masked"])
def test_a_model_that_fails_is_left_out_and_the_other_goes_on(
    bench: Bench, dense: Path, masked: Path, name: str, at: int
) -> None:
    bench.time = fails(name, at, BoardError("out of memory"))
    session = bench.measure(dense, masked)
    profile = session.profile()
    other = "masked" if name == "dense" else "dense"
    assert profile is not None
    assert [item.name for item in profile.measurements] == [other]
    assert [(Path(one.model).stem, one.error) for one in profile.failed] == [
        (name, "out of memory")
    ]
    assert len(profile.measurements[0].turns) == TURNS
    assert len(bench.runs_of(name)) == at + 1
    assert profile.reference_failed == (name == "dense")
    assert session.failures.stopped is None


def test_a_reference_that_could_not_be_read_leaves_no_ratios(
    bench: Bench, dense: Path, masked: Path
) -> None:
    bench.settings = Settings(runs=15, per_op=True)
    profile = bench.measure(dense, masked, reference=Path("other.tflite")).profile()
    assert profile is not None
    assert profile.reference_failed
    assert not any(row.dense for item in profile.measurements for row in item.operators)
    again = bench.measure(dense, masked, reference=dense).profile()
    assert again is not None
    assert not again.reference_failed
    assert any(row.dense for row in again.measurements[1].operators)


def test_a_model_that_is_not_there_is_told_and_no_other_lost(
    bench: Bench, dense: Path, tmp_path: Path
) -> None:
    (tmp_path / "damaged.tflite").write_bytes(b"no model")
    profile = bench.measure(
        tmp_path / "absent.tflite", dense, tmp_path / "damaged.tflite"
    ).profile()
    assert profile is not None
    assert [item.name for item in profile.measurements] == ["dense"]
    assert [Path(one.model).stem for one in profile.failed] == ["absent", "damaged"]
    assert profile.reference_failed


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ConnectionFailed("the board went away")])
def test_what_was_measured_is_kept_when_the_work_is_ended(
    bench: Bench, dense: Path, masked: Path, error: BaseException
) -> None:
    bench.time = fails("masked", 6, error)
    session = bench.measure(dense, masked)
    assert session.failures.stopped is error
    profile = session.profile()
    assert profile is not None
    first, second = (len(item.turns) for item in profile.measurements)
    assert (first in (5, 6), second) == (True, 5), "by chance the first was before it or after"


def test_a_board_that_is_gone_tells_no_vitals_afterwards(
    bench: Bench, dense: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(_: object) -> Vitals:
        raise ConnectionFailed("the board went away")

    session = bench.measure(dense)
    monkeypatch.setattr(measure, "read_vitals", gone)
    profile = session.profile()
    assert profile is not None
    assert profile.board.after == Vitals()
    assert session.failures.stopped is None


def test_where_nothing_was_measured_there_is_no_profile(bench: Bench, dense: Path) -> None:
    bench.time = fails("dense", 0, ModelError("no such operator"))
    assert bench.measure(dense).profile() is None
    session = Session(
        LocalConnection("here", bench.folder), load_board("host"),
        Played(bench.time, [], bench.bundle), Silent(), Settings(),
    )  # fmt: skip
    assert session.profile() is None


def test_each_model_is_measured_on_the_stock_runtime_as_well(
    bench: Bench, dense: Path, masked: Path, tmp_path: Path
) -> None:
    bench.stock = write_bundle(tmp_path / "stock", b"stock", stock=True)
    bench.settings = Settings(runs=15)
    profile = bench.measure(dense, masked).profile()
    turn = [("dense", True), ("masked", True), ("dense", False), ("masked", False)]
    called = [(call.name, call.patched) for call in bench.calls]
    assert called[:4] == turn
    assert Counter(called) == dict.fromkeys(turn, 15 + 1)
    assert profile is not None
    assert [(item.name, item.stock) for item in profile.measurements] == [
        ("dense", False),
        ("masked", False),
        ("dense", True),
        ("masked", True),
    ]
    # The stock runtime skips nothing, and without a mask there are no dead taps.
    assert [item.live_share for item in profile.measurements] == [1.0, 0.75, 1.0, 1.0]
    first, second = profile.measurements[:2]
    assert first.macs == second.macs > 0
    assert (first.macs_saved, second.macs_saved > 0) == (0, True)
