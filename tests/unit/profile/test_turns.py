from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.runner_outputs import runner_output
from toolchain.profile.runner_output import RunnerOutput
from toolchain.profile.turns import (
    SECONDS,
    TURNS,
    Interval,
    median_interval,
    merged,
    ratios,
    runs_of_a_turn,
    runs_of_turns,
    turn_of,
)


@given(runs=st.integers(1, 10_000))
def test_runs_are_shared_out_evenly(runs: int) -> None:
    turns = runs_of_turns(runs)
    assert sum(turns) == runs
    assert len(turns) == min(runs, TURNS)
    assert max(turns) - min(turns) <= 1


@given(us=st.floats(400, 1e8))
def test_all_turns_together_take_the_seconds_they_should(us: float) -> None:
    runs = runs_of_a_turn(us)
    assert TURNS * runs * us >= SECONDS * 1e6
    assert runs == 1 or TURNS * (runs - 1) * us < SECONDS * 1e6


@pytest.mark.parametrize("us", [0.0, 0.5, 20.0])
def test_a_turn_of_the_smallest_models_ends(us: float) -> None:
    assert runs_of_a_turn(us) == 10_000


@given(figures=st.lists(st.floats(1, 1e6), min_size=8, max_size=60))
def test_an_interval_holds_the_median_and_ends_at_figures(figures: list[float]) -> None:
    found = median_interval(figures)
    assert found is not None
    middle = sorted(figures)[len(figures) // 2]
    assert found.low <= middle <= found.high
    assert {found.low, found.high} <= set(figures)


@given(figures=st.lists(st.floats(1, 1e6), max_size=7))
def test_few_figures_have_no_interval(figures: list[float]) -> None:
    assert median_interval(figures) is None


def test_intervals_that_share_a_number_are_not_apart() -> None:
    assert not Interval(low=1, high=2).apart(Interval(low=2, high=3))
    assert Interval(low=1, high=2).apart(Interval(low=2.1, high=3))
    assert Interval(low=2.1, high=3).apart(Interval(low=1, high=2))


def test_a_turn_that_one_side_lacks_is_left_out_of_the_ratios() -> None:
    assert ratios([2.0, 4.0, 8.0], [1.0, 2.0]) == [2.0, 2.0]
    assert ratios([2.0, 4.0], [0.0, 2.0]) == [2.0]


def test_processes_are_one_measurement_with_every_sample() -> None:
    turns = [[10.0, 12.0], [20.0], [11.0, 13.0, 12.0]]
    outputs = [runner_output(samples_us=samples, instructions=100) for samples in turns]
    whole = merged(outputs)
    assert whole.timing is not None
    assert whole.timing.samples_us == [10.0, 12.0, 20.0, 11.0, 13.0, 12.0]
    assert (whole.timing.min_us, whole.timing.median_us, whole.timing.max_us) == (10.0, 12.0, 20.0)
    assert whole.instructions is not None
    assert whole.instructions.per_run == [100] * 6
    assert [turn_of(output).runs for output in outputs] == [2, 1, 3]
    # What comes out is what the runner could have written.
    assert RunnerOutput.model_validate_json(whole.model_dump_json(by_alias=True)) == whole


def test_operators_are_medians_of_their_turns_and_their_shares_of_the_sum() -> None:
    outputs = []
    for us in (80.0, 100.0, 300.0):
        output = runner_output(ops=True)
        assert output.ops
        first, rest = output.ops
        ops = [first.model_copy(update={"median_us": us}), rest]
        outputs.append(output.model_copy(update={"ops": ops}))
    whole = merged(outputs)
    assert whole.ops
    assert whole.per_op is not None
    assert [op.median_us for op in whole.ops] == [100.0, 100.0]
    assert [op.share for op in whole.ops] == [0.5, 0.5]
    assert (whole.per_op.total_us, whole.per_op.runs) == (200.0, 9)


def test_operators_that_differ_from_turn_to_turn_are_left_out() -> None:
    output = runner_output(ops=True)
    assert output.ops
    other = output.model_copy(update={"ops": output.ops[1:]})
    whole = merged([output, other])
    assert whole.ops is None
    assert whole.per_op is None
