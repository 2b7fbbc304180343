"""How sparsity grows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.errors import DeployError
from toolchain.sparsity.schedule import PolynomialSchedule


@pytest.mark.parametrize(
    ("step", "share"),
    [
        (0, 0.0),
        (99, 0.0),
        (100, 0.0),
        (300, 1 - 0.75**2),
        (500, 0.75),
        (899, 1 - (1 / 800) ** 2),
        (900, 1.0),
        (999, 1.0),
    ],
)
def test_sparsity_grows_as_a_square_from_a_tenth_to_nine_tenths_of_training(
    step: int, share: float
) -> None:
    assert PolynomialSchedule(1000, settle=0).share_at(step) == pytest.approx(share)


@given(
    st.integers(1, 5000),
    st.floats(0, 1),
    st.floats(0, 1),
    st.integers(1, 300),
    st.floats(0.1, 4),
    st.integers(0, 300),
)
def test_sparsity_never_shrinks_and_ends_at_its_target(
    steps: int, one: float, other: float, frequency: int, power: float, settle: int
) -> None:
    schedule = PolynomialSchedule(steps, min(one, other), max(one, other), frequency, power, settle)
    values = [schedule.share_at(step) for step in range(0, steps + 1, max(1, steps // 50))]
    assert all(0 <= value <= 1 for value in values)
    assert values == sorted(values)
    assert schedule.share_at(steps) == 1


def test_masks_change_every_so_many_steps_and_at_the_end() -> None:
    schedule = PolynomialSchedule(100, frequency=30, settle=0)
    assert [step for step in range(101) if schedule.updates_at(step)] == [10, 40, 70, 90]


def test_a_linear_schedule_is_power_one() -> None:
    schedule = PolynomialSchedule(100, begin=0, end=1, power=1, settle=0)
    assert schedule.share_at(25) == pytest.approx(0.25)


def test_steps_go_before_shares_and_do_not_grow_with_the_run() -> None:
    for total in (1000, 4000):
        schedule = PolynomialSchedule(total, begin_step=20, end_step=120, frequency=50)
        assert (schedule.first_step, schedule.last_step) == (20, 120)
        assert schedule.share_at(19) == 0
        assert schedule.share_at(70) == pytest.approx(0.75)
        assert [s for s in range(total) if schedule.updates_at(s)] == [20, 70, 120]


def test_a_step_after_the_run_is_its_end() -> None:
    schedule = PolynomialSchedule(100, begin_step=500, settle=0)
    assert (schedule.first_step, schedule.last_step) == (100, 100)


@pytest.mark.parametrize(
    ("total", "steps", "said"),
    [
        (
            10_000,
            {"end_step": 500},
            r"final at step 500, before .* at step 1000 \(begin 0\.1 of 10000 steps\)",
        ),
        (
            10_000,
            {"begin_step": 9500},
            r"final at step 9000 \(end 0\.9 of 10000 steps\), before .* at step 9500",
        ),
        (10_000, {"begin_step": 700, "end_step": 600}, "final at step 600, before .* at step 700"),
    ],
)
def test_masks_that_would_be_final_before_they_grow_are_told(
    total: int, steps: dict[str, int], said: str
) -> None:
    with pytest.raises(DeployError, match=said):
        PolynomialSchedule(total, **steps)
    PolynomialSchedule(100, begin_step=500)  # a run that is too short is none of these


def test_every_value_out_of_range_is_named() -> None:
    with pytest.raises(DeployError) as caught:
        PolynomialSchedule(0, begin=0.9, end=0.1, frequency=0, power=0, settle=-1)
    for word in ("0 steps", "begin 0.9 and end 0.1", "frequency 0", "power", "settle -1"):
        assert word in caught.value.what
    with pytest.raises(DeployError, match="a step to begin or end at is below 0"):
        PolynomialSchedule(100, end_step=-1)


# --- what is left after it ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "final"),
    [
        (PolynomialSchedule(66), 33),  # a short run: half of it
        (PolynomialSchedule(300, end=1.0), 150),
        (PolynomialSchedule(1000), 800),  # 200 steps
        (PolynomialSchedule(1000, end=1.0), 800),
        (PolynomialSchedule(10_000), 9000),  # more than enough as it is
        (PolynomialSchedule(1000, end=0.2), 200),
        (PolynomialSchedule(66, begin=0.7), 46),  # not before masks begin to grow
        (PolynomialSchedule(66, settle=10), 56),
        (PolynomialSchedule(66, settle=0), 59),
        (PolynomialSchedule(1), 0),
        (PolynomialSchedule(1000, end_step=300), 300),
        (PolynomialSchedule(1000, end_step=300, end=0.9, settle=800), 300),  # half of it
        (PolynomialSchedule(1000, end_step=5000), 800),  # the run is shorter
        (PolynomialSchedule(1000, begin_step=850, end_step=900), 850),
        (PolynomialSchedule(1000, begin=0.95, end_step=990, settle=0), 990),
    ],
)
def test_steps_are_left_after_the_masks_are_final(schedule: PolynomialSchedule, final: int) -> None:
    assert schedule.last_step == final
    assert schedule.steps_left == schedule.total_steps - final
    assert schedule.share_at(final) == 1
    assert schedule.updates_at(final)
