from __future__ import annotations

import pytest

from support.runner_outputs import runner_output
from toolchain.profile.facts import Vitals
from toolchain.profile.runner_output import RunnerOutput
from toolchain.profile.turns import (
    Interval,
    Turn,
    merged,
    ratios,
    samples_of_turns,
    time_interval,
    turn_of,
)


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


def test_samples_in_a_row_are_told_apart_by_turn() -> None:
    turns = [Turn(runs=2, median_us=1), Turn(runs=1, median_us=3)]
    assert samples_of_turns([1.0, 1.0, 3.0], turns) == [[1.0, 1.0], [3.0]]


def test_times_have_an_interval_where_there_are_turns_enough() -> None:
    turns = [Turn(runs=2, median_us=us) for us in range(100, 120)]
    samples = [us for turn in turns for us in [turn.median_us] * 2]
    found = time_interval(samples, turns)
    assert found is not None
    assert 100 < found.low < 109.5 < found.high < 119
    assert time_interval(samples[:14], turns[:7]) is None
    assert time_interval(samples[1:], turns) is None, "of an earlier version, which told no runs"
    assert time_interval([], []) is None


def test_a_turn_keeps_the_boards_state_before_and_after() -> None:
    cool, warm = Vitals(temperature_c=40.0), Vitals(temperature_c=60.0)
    turn = turn_of(runner_output(), cool, warm)
    assert (turn.before, turn.after) == (cool, warm)
