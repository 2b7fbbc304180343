"""A board of its own: coefficients are found again, and few measurements move them little."""

from __future__ import annotations

import numpy as np
import pytest

from support.windows import windows
from toolchain.timing.calibration import Measured, calibrated
from toolchain.timing.model import Coefficients, Interval, TimingModel

PUBLISHED = TimingModel(
    overlap="sum",
    refill=10,
    interval=Interval(one_thread=0.1, several_threads=0.2),
    coefficients=Coefficients(l2=4.0, memory=20.0),
)
BOARD = PUBLISHED.model_copy(update={"coefficients": Coefficients(l2=5.0, memory=14.0, core=1.1)})


def programs(count: int, board: TimingModel = BOARD) -> list[Measured]:
    random = np.random.default_rng(1)
    found = []
    for index in range(count):
        core, near, far = random.uniform(0.1, 1, 3) * (1e6, 1e5, 3e4)
        run = windows({"core": core, "l1_misses_random": near, "written_back": far})
        one = Measured(str(index), run, (), 1500, 1.0)
        found.append(Measured(str(index), run, (), 1500, one.estimate(board)))
    return found


def test_a_board_is_found_from_what_was_measured_on_it() -> None:
    measured = programs(12)
    found = calibrated(PUBLISHED, measured)
    assert max(abs(one.error(PUBLISHED)) for one in measured) > 0.1
    assert max(abs(one.error(found)) for one in measured) < 0.02


def test_programs_that_it_has_not_seen_fit_too() -> None:
    first, *others = programs(8)
    assert abs(first.error(calibrated(PUBLISHED, others))) < 0.05


def test_one_measurement_moves_the_coefficients_no_further_than_it_asks_for() -> None:
    (measured,) = programs(1)
    found = calibrated(PUBLISHED, [measured])
    assert abs(measured.error(found)) < abs(measured.error(PUBLISHED))
    assert 10 < found.coefficients.memory < 21


def test_a_board_like_all_others_stays_as_it_is() -> None:
    found = calibrated(PUBLISHED, programs(5, PUBLISHED))
    assert found.coefficients == PUBLISHED.coefficients


def test_nothing_measured_is_no_calibration() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        calibrated(PUBLISHED, [])
