"""How sparsity grows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.errors import DeployError
from toolchain.sparsity.schedule import PolynomialSchedule


@pytest.mark.parametrize(
    ("step", "sparsity"),
    [
        (0, 0.0),
        (99, 0.0),
        (100, 0.0),
        (300, 0.4 * (1 - 0.75**2)),
        (500, 0.3),
        (899, 0.4 * (1 - (1 / 800) ** 2)),
        (900, 0.4),
        (999, 0.4),
    ],
)
def test_sparsity_grows_as_a_square_from_a_tenth_to_nine_tenths_of_training(
    step: int, sparsity: float
) -> None:
    assert PolynomialSchedule(0.4, 1000).sparsity_at(step) == pytest.approx(sparsity)


@given(
    st.floats(0, 1),
    st.integers(1, 5000),
    st.floats(0, 1),
    st.floats(0, 1),
    st.integers(1, 300),
    st.floats(0.1, 4),
)
def test_sparsity_never_shrinks_and_never_passes_its_target(
    target: float, steps: int, one: float, other: float, frequency: int, power: float
) -> None:
    schedule = PolynomialSchedule(target, steps, min(one, other), max(one, other), frequency, power)
    values = [schedule.sparsity_at(step) for step in range(0, steps + 1, max(1, steps // 50))]
    assert all(0 <= value <= target for value in values)
    assert values == sorted(values)
    assert schedule.sparsity_at(steps) == target


def test_masks_change_every_so_many_steps_and_at_the_end() -> None:
    schedule = PolynomialSchedule(0.2, 100, frequency=30)
    assert [step for step in range(101) if schedule.updates_at(step)] == [10, 40, 70, 90]


def test_a_linear_schedule_is_power_one() -> None:
    schedule = PolynomialSchedule(1.0, 100, begin=0, end=1, power=1)
    assert schedule.sparsity_at(25) == pytest.approx(0.25)


def test_every_value_out_of_range_is_named() -> None:
    with pytest.raises(DeployError) as caught:
        PolynomialSchedule(1.5, 0, begin=0.9, end=0.1, frequency=0, power=0)
    for word in ("target sparsity 1.5", "0 steps", "begin 0.9 and end 0.1", "frequency 0", "power"):
        assert word in caught.value.what
