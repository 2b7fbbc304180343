"""The energy of an inference from readings of power: which count, and what they come to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from support.runner_outputs import runner_output
from toolchain.board.pmic import Reading
from toolchain.profile.energy import (
    LEAST_READINGS,
    LEAST_RUNS,
    MOST_RUNS,
    Energy,
    Taken,
    energy_of,
    runs_for,
    surely_timed,
)
from toolchain.profile.runner_output import RunnerOutput

RUNS = runner_output(samples_us=[10_000.0] * 500)
"""Five seconds."""


def every(step: float, begin: float, end: float, watts: float) -> list[Reading]:
    """Readings one after the other, each of which takes a hundredth of a second."""
    times = np.arange(begin, end - 1e-9, step)
    return [Reading(float(one), float(one) + 0.01, watts) for one in times]


def taken(
    readings: Sequence[Reading],
    *,
    process: tuple[float, float] = (3.0, 8.1),
    margin_s: float = 0.1,
    unreadable: int = 0,
) -> Taken:
    return Taken(
        readings=list(readings), unreadable=unreadable, idle=(0.0, 3.0), process=process,
        margin_s=margin_s, report="",
    )  # fmt: skip


def told(found: Energy | str) -> Energy:
    assert isinstance(found, Energy), found
    return found


def test_energy_is_mean_power_by_the_median_time() -> None:
    found = told(energy_of("pmic", taken(every(0.2, 0.0, 8.2, 5.0)), RUNS))
    assert found.power_w == 5.0
    assert found.energy_j == pytest.approx(0.05, rel=1e-12)
    assert (found.idle_w, found.above_idle_j) == (5.0, 0.0)
    assert (found.interval_j.low, found.interval_j.high) == (found.energy_j, found.energy_j)
    assert (found.median_us, found.runs, found.source) == (10_000.0, 500, "pmic")


def test_idle_power_is_taken_off_what_runs_take() -> None:
    readings = every(0.2, 0.0, 3.0, 2.0) + every(0.2, 3.01, 8.2, 5.0)
    found = told(energy_of("meter", taken(readings), RUNS))
    assert (found.power_w, found.idle_w) == (5.0, 2.0)
    assert found.above_idle_j == pytest.approx(0.03)
    assert found.energy_j == pytest.approx(0.05)


def test_only_what_was_read_while_timed_runs_went_on_counts() -> None:
    """Beside them the model is loaded, and the process ends; before, the idle time settles."""
    readings = [
        *every(0.1, 0.0, 0.5, 99.0),  # the command has only begun
        *every(0.1, 0.5, 2.9, 2.0),
        *every(0.1, 2.995, 3.25, 99.0),
        *every(0.1, 3.25, 8.0, 5.0),
        *every(0.1, 7.995, 9.0, 99.0),
    ]
    found = told(energy_of("pmic", taken(readings), RUNS))
    assert (found.power_w, found.idle_w) == (5.0, 2.0)
    with_margin = told(energy_of("meter", taken(readings, margin_s=1.0), RUNS))
    assert with_margin.readings < found.readings
    assert with_margin.idle_readings < found.idle_readings


def test_a_stretch_that_nobody_can_place_is_left_out() -> None:
    """Two seconds of the process are unaccounted for: the timed runs may be anywhere in it."""
    assert surely_timed(RUNS, (3.0, 10.0)) == pytest.approx((5.0, 8.0), abs=0.02)
    assert surely_timed(RUNS, (3.0, 8.0)) == pytest.approx((3.0, 8.0), abs=0.02)
    begin, end = surely_timed(RUNS, (3.0, 30.0))
    assert begin > end
    none = RUNS.model_copy(update={"timing": None})
    begin, end = surely_timed(none, (3.0, 8.0))
    assert begin > end


def test_what_was_done_before_the_timed_runs_is_accounted_for() -> None:
    timing = RUNS.timing
    assert timing is not None
    warmed = timing.model_copy(update={"warmup": 50})
    output = RUNS.model_copy(update={"init_us": 1e6, "first_run_us": 5e5, "timing": warmed})
    assert surely_timed(output, (3.0, 10.0)) == pytest.approx((5.0, 10.0))


@pytest.mark.parametrize("count", [0, LEAST_READINGS - 1])
def test_too_few_readings_are_no_energy_and_say_so(count: int) -> None:
    readings = every(0.5, 3.5, 3.5 + 0.5 * count, 5.0)
    found = energy_of("pmic", taken(readings, unreadable=3), RUNS)
    assert isinstance(found, str)
    assert f"{count} readings of its power in 5.0 s of runs, 8 are needed" in found
    assert "3 more were no reading" in found


def test_what_was_read_in_the_hundredth_in_which_the_program_began_is_not_idle_power() -> None:
    readings = [*every(0.1, 0.0, 2.9, 2.0), Reading(2.98, 3.0, 5.0), *every(0.1, 3.0, 8.2, 5.0)]
    found = told(energy_of("pmic", taken(readings), RUNS))
    assert (found.power_w, found.idle_w) == (5.0, 2.0)


def test_too_few_readings_of_an_idle_board_leave_the_rest() -> None:
    readings = every(0.5, 0.0, 3.0, 2.0) + every(0.2, 3.01, 8.2, 5.0)
    found = told(energy_of("pmic", taken(readings), RUNS))
    assert (found.idle_w, found.above_idle_j, found.idle_readings) == (None, None, 5)
    assert found.energy_j == pytest.approx(0.05)


def test_power_that_is_all_over_the_place_widens_the_interval() -> None:
    chance = np.random.default_rng(1)

    def width(spread: float) -> float:
        readings = [
            Reading(one.begin, one.end, 5.0 + spread * float(chance.standard_normal()))
            for one in every(0.02, 3.0, 8.1, 5.0)
        ]
        found = told(energy_of("pmic", taken(readings), RUNS))
        return found.interval_j.high - found.interval_j.low

    assert 0 < width(0.1) < width(1.0) / 5


def test_the_interval_holds_the_truth_nineteen_times_of_twenty_where_readings_wander() -> None:
    """Neighbours resemble each other: four fifths of each are of the one before."""
    chance = np.random.default_rng(2)
    hits = 0
    for _ in range(400):
        watts, level = [], 0.0
        for step in chance.standard_normal(600):
            level = 0.8 * level + float(step)
            watts.append(50.0 + level)
        readings = [
            Reading(3.2 + 0.008 * index, 3.2 + 0.008 * index, one)
            for index, one in enumerate(watts)
        ]
        found = told(energy_of("meter", taken(readings, margin_s=0.0), RUNS))
        hits += found.interval_j.low <= 50.0 * 0.01 <= found.interval_j.high
    assert 0.91 < hits / 400 < 0.99


@pytest.mark.parametrize(
    ("seconds", "median_us", "runs"),
    [(5.0, 10_000.0, 500), (5.0, 3e6, LEAST_RUNS), (5.0, 1.0, MOST_RUNS), (5.0, 0.0, MOST_RUNS)],
)
def test_runs_take_the_seconds_that_are_wanted(seconds: float, median_us: float, runs: int) -> None:
    assert runs_for(seconds, median_us) == runs


def test_outputs_are_those_of_the_process_that_was_read() -> None:
    """Runs that the reading slows do not move the time of an inference."""
    samples = [10_000.0] * 450 + [30_000.0] * 50
    slowed: RunnerOutput = runner_output(samples_us=samples)
    found = told(energy_of("pmic", taken(every(0.2, 0.0, 9.2, 5.0), process=(3.0, 9.1)), slowed))
    assert found.energy_j == pytest.approx(0.05)
