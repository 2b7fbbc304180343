"""Energy of models that run: real processes, with a stand-in for the firmware and for the meter.

The board does nothing but what the stand-ins see: it takes 2 watts, and 5 while the runner's
process is alive.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from support.bundles import write_bundle, write_masked_model
from support.patience import growing_limits
from support.powered import (
    IDLE_W,
    WORKING,
    WORKING_W,
    pmic_text,
    program,
    saying,
    sleeping_runner,
    while_alive,
)
from support.processes import running
from support.runner_outputs import runner_output
from toolchain.board.connection import Connection
from toolchain.board.invoke import BoardRunner, Settings
from toolchain.board.local import LocalConnection
from toolchain.errors import ConnectionFailed, MeterError
from toolchain.hardware.board_file import load_board
from toolchain.profile import measure, power_sources
from toolchain.profile.document import Measurement, Profile
from toolchain.profile.energy import Energy
from toolchain.profile.facts import BoardFacts, Vitals
from toolchain.profile.measure import Session
from toolchain.profile.power_sources import MeterSource, Pmic, PowerSource
from toolchain.progress import Silent


class Notes(Silent):
    """Keeps what is noted."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, message: str) -> None:
        self.lines.append(message)


class Bench:
    """A board with a runner that sleeps."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.bin, self.pid = folder, folder / "bin", folder / "pid"
        self.bin.mkdir()
        monkeypatch.setenv("PATH", f"{self.bin}:{os.environ['PATH']}")
        report = runner_output(samples_us=[1.0]).model_dump_json(by_alias=True)
        self.bundle = write_bundle(folder / "bundle", sleeping_runner(self.pid, report))
        self.model = write_masked_model(folder / "m.tflite", sparsity=0, size=4)
        self.connection: Connection = LocalConnection("here", folder / "board")
        self.notes = Notes()

    def vcgencmd(self, working: str, idle: str = saying(pmic_text())) -> None:
        program(self.bin / "vcgencmd", while_alive(self.pid, working, idle))

    def meter(self, line: str, otherwise: str | None = None, *, step: float = 0.05) -> MeterSource:
        """A meter that does one thing while the runner is there, and else another."""
        body = while_alive(self.pid, line, otherwise or line)
        path = program(self.folder / "meter", f"while :; do {body}; sleep {step}; done")
        return MeterSource([str(path)])

    def session(self, power: PowerSource | None) -> Session:
        board = load_board("host")
        runner = BoardRunner(self.connection, board, self.bundle, Silent())
        return Session(
            self.connection, board, runner, self.notes, Settings(runs=2, warmup=1), power=power
        )

    def profile(self, power: PowerSource | None) -> Profile:
        session = self.session(power)
        session.measure([self.model])
        assert session.failures.stopped is None
        profile = session.profile()
        assert profile is not None
        return profile

    def measured(self, power: PowerSource | None) -> Measurement:
        (item,) = self.profile(power).measurements
        return item

    def energy(self, source: Callable[[], PowerSource]) -> Energy:
        """Of the model; where the machine is too busy to read enough, it runs for longer."""
        found: list[Measurement] = []

        def enough() -> bool:
            return bool(found[-1].energy)

        with pytest.MonkeyPatch.context() as patch:
            for limit in growing_limits(enough):
                patch.setattr(power_sources, "RUN_S", 4 + limit)
                patch.setattr(power_sources, "IDLE_S", 2 + limit)
                found.append(self.measured(source()))
        energy = found[-1].energy
        assert energy is not None
        return energy


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    facts = BoardFacts(emulated=False, cores={"Cortex-A76": 4})
    monkeypatch.setattr(measure, "read_facts", lambda *_, **__: facts)
    monkeypatch.setattr(measure, "read_vitals", lambda _: Vitals())
    monkeypatch.setattr(measure, "read_load", lambda _: 0.0)
    return Bench(tmp_path, monkeypatch)


def test_a_raspberry_pi_tells_what_it_takes_idle_and_at_work(bench: Bench) -> None:
    bench.vcgencmd(saying(pmic_text(WORKING)))
    found = bench.energy(Pmic)
    assert found.source == "pmic"
    assert found.power_w == pytest.approx(WORKING_W, rel=1e-12)
    assert found.idle_w == pytest.approx(IDLE_W, rel=1e-12)
    seconds = found.median_us / 1e6
    assert found.energy_j == pytest.approx(WORKING_W * seconds, rel=1e-12)
    assert found.above_idle_j == pytest.approx((WORKING_W - IDLE_W) * seconds, rel=1e-9)
    assert found.interval_j.low == pytest.approx(found.interval_j.high)
    assert found.readings >= 8
    assert found.runs * seconds > 3.0
    assert not running(str(bench.bin / "vcgencmd"))


def test_a_meter_tells_the_same(bench: Bench) -> None:
    found = bench.energy(lambda: bench.meter("echo 5", "echo 2"))
    assert found.source == "meter"
    assert (found.power_w, found.idle_w) == (5.0, 2.0)
    assert found.energy_j == pytest.approx(5.0 * found.median_us / 1e6)
    assert found.unreadable == 0
    assert not running(str(bench.folder / "meter"))


def test_a_slow_meter_is_given_time(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(power_sources, "RUN_S", 1.0)
    monkeypatch.setattr(power_sources, "IDLE_S", 1.0)
    item = bench.measured(bench.meter("echo 5", "echo 2", step=0.4))
    found = item.energy
    assert found is not None, item.no_energy
    assert (found.power_w, found.idle_w) == (5.0, 2.0)
    assert found.idle_readings >= 8


def test_a_meter_that_becomes_slower_is_given_more_time(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(power_sources, "RUN_S", 1.0)
    monkeypatch.setattr(power_sources, "IDLE_S", 1.0)
    monkeypatch.setattr(power_sources, "_SPARE", 0.1)  # as if it had been quicker before
    item = bench.measured(bench.meter("echo 5", "echo 2", step=0.1))
    assert item.energy is not None, item.no_energy
    assert item.energy.power_w == 5.0


def test_without_being_asked_nothing_of_it_is_done(bench: Bench) -> None:
    told = bench.folder / "asked"
    bench.vcgencmd(f"echo >>{told}", f"echo >>{told}")
    item = bench.measured(None)
    assert (item.energy, item.no_energy, bench.notes.lines) == (None, None, [])
    assert not told.exists()


@pytest.mark.parametrize(
    ("working", "reason"),
    [
        (saying(pmic_text(WORKING).replace("volt(5)=0.75000000V", "volt(5)=nanV")), "0 readings"),
        ("echo 'error=1 error_msg=\"busy\"'", "0 readings"),
        ("exec sleep 600", "0 readings"),
        (saying(pmic_text({name: WORKING[name] for name in list(WORKING)[:2]})), "0 readings"),
    ],
)
def test_readings_that_are_none_leave_the_times_and_a_reason(
    bench: Bench, working: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(power_sources, "RUN_S", 1.0)
    monkeypatch.setattr(power_sources, "IDLE_S", 0.5)
    bench.vcgencmd(working)
    item = bench.measured(Pmic())
    assert item.energy is None
    assert item.no_energy is not None
    assert reason in item.no_energy
    assert item.median_us is not None
    assert not running("sleep\0600\0") or "sleep" not in working


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("exit 127", "it has no vcgencmd"),
        ("echo 'error=2 error_msg=\"Command not registered\"'", "Command not registered"),
    ],
)
def test_a_board_that_tells_no_power_is_told_before_anything_is_measured(
    bench: Bench, script: str, reason: str
) -> None:
    program(bench.bin / "vcgencmd", script)
    session = bench.session(Pmic())
    lines: list[str] = []
    push_each = session.runner.push_each

    def noted(*given: object) -> list[object]:
        lines.extend(bench.notes.lines)
        return push_each(*given)  # type: ignore[arg-type,return-value]

    session.runner.push_each = noted  # type: ignore[assignment,method-assign]
    session.measure([bench.model])
    (line,) = lines
    assert line.startswith("here: no energy: ")
    assert reason in line
    assert "--meter" in line
    profile = session.profile()
    assert profile is not None
    (item,) = profile.measurements
    assert (item.energy, item.median_us is None) == (None, False)
    assert item.no_energy is not None
    assert reason in item.no_energy


def test_an_emulated_board_has_no_energy_and_needs_no_meter(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "read_facts", lambda *_, **__: BoardFacts(emulated=True))
    item = bench.measured(MeterSource(["no-such-meter"]))
    assert item.no_energy == "the board is emulated, and its time is not real"
    assert bench.notes.lines == [f"here: no energy: {item.no_energy}"]


def test_a_meter_that_does_not_work_is_an_error_before_anything_is_measured(bench: Bench) -> None:
    session = bench.session(MeterSource(["no-such-meter"]))
    session.measure([bench.model])
    assert isinstance(session.failures.stopped, MeterError)
    assert session.profile() is None
    assert not bench.pid.exists()


def test_a_meter_that_ends_in_the_middle_takes_the_energy_alone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(power_sources, "RUN_S", 1.0)
    monkeypatch.setattr(power_sources, "IDLE_S", 0.5)
    # It is started for a look first.
    item = bench.measured(bench.meter("echo lost >&2; exit 3", "echo 2"))
    assert item.energy is None
    assert item.no_energy == "the meter's program ended with exit code 3: lost"
    assert item.median_us is not None


def test_heat_that_came_after_all_that_is_timed_makes_no_time_doubtful(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    hot = Vitals(temperature_c=90.0)
    vitals = [Vitals(temperature_c=50.0)] * 2  # one for each turn
    monkeypatch.setattr(measure, "read_vitals", lambda _: vitals.pop() if vitals else hot)
    bench.vcgencmd(saying(pmic_text(WORKING)))
    monkeypatch.setattr(power_sources, "RUN_S", 0.1)
    monkeypatch.setattr(power_sources, "IDLE_S", 0.1)
    profile = bench.profile(Pmic())
    assert profile.board.after == hot
    assert "90 °C" not in "; ".join(profile.measurements[0].doubts)


def test_models_measured_before_the_board_was_lost_are_kept(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: object) -> object:
        raise ConnectionFailed("the board is gone")

    bench.vcgencmd(saying(pmic_text(WORKING)))
    monkeypatch.setattr(Pmic, "take", lost)
    session = bench.session(Pmic())
    session.measure([bench.model])
    assert isinstance(session.failures.stopped, ConnectionFailed)
    profile = session.profile()
    assert profile is not None
    (item,) = profile.measurements
    assert item.median_us is not None
    assert item.no_energy == "the work was ended before"
