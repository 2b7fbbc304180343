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


def test_what_each_process_has_once_is_the_median_of_all() -> None:
    outputs = []
    for init, first, peak, note in (
        (10.0, 300.0, 2000, "a"),
        (30.0, 100.0, None, "b"),
        (20.0, 200.0, 3000, "a"),
    ):
        output = runner_output(samples_us=[init, init], instructions=100)
        counted = output.instructions
        assert counted is not None
        update = {
            "init_us": init, "first_run_us": first, "peak_rss_kib": peak, "notes": [note],
            "instructions": counted.model_copy(update={"init": int(init)}),
        }  # fmt: skip
        outputs.append(output.model_copy(update=update))
    whole = merged(outputs)
    assert (whole.init_us, whole.first_run_us, whole.peak_rss_kib) == (20.0, 200.0, 2500)
    assert whole.notes == ["a", "b"]
    assert whole.instructions is not None
    assert (whole.instructions.median, whole.instructions.init) == (100.0, 20)
    assert merged(outputs[:1]) is outputs[0]
    without = outputs[1].model_copy(update={"instructions": None})
    whole = merged([outputs[1], without])
    assert (whole.instructions, whole.peak_rss_kib) == (None, None)


def test_a_time_of_many_processes_is_summed_up_as_one() -> None:
    timing = merged(
        [runner_output(samples_us=range(1, 60)), runner_output(samples_us=[160])]
    ).timing
    assert timing is not None
    assert (timing.runs, timing.warmup) == (60, 1)
    assert timing.median_us == 30.5
    assert timing.mean_us == pytest.approx((59 * 30 + 160) / 60)
    assert timing.p95_us == pytest.approx(57.05)
    assert timing.mad_us == 15.0


def test_operators_of_no_time_have_no_share() -> None:
    output = runner_output(ops=True)
    assert output.ops
    idle = output.model_copy(
        update={"ops": [op.model_copy(update={"median_us": None}) for op in output.ops]}
    )
    whole = merged([idle, idle])
    assert whole.ops
    assert [(op.median_us, op.share) for op in whole.ops] == [(0.0, None)] * 2
    mixed = merged([output, output.model_copy(update={"ops": None, "per_op": None})])
    assert (mixed.ops, mixed.per_op) == (None, None)


def test_a_turn_is_what_one_process_measured() -> None:
    output = runner_output(samples_us=[3.0, 1.0, 2.0], instructions=7, ops=True)
    turn = turn_of(output)
    assert (turn.runs, turn.median_us, turn.instructions, turn.peak_rss_kib) == (3, 2.0, 7.0, 2048)
    assert turn.ops_us == [900.0, 100.0]
    plain = turn_of(runner_output())
    assert (plain.instructions, plain.ops_us) == (None, None)
    with pytest.raises(ValueError, match="nothing was timed"):
        turn_of(output.model_copy(update={"timing": None}))


def test_the_width_of_an_interval_is_half_of_it_over_its_middle() -> None:
    assert Interval(low=90, high=110).width == pytest.approx(0.1)
    assert Interval(low=0, high=0).width == 0.0
