"""Names, turns and operators as all files of a saved run have them."""

from __future__ import annotations

from pathlib import Path

from support.profiles import in_turns, measurement, profile_of, timed_in_turns
from support.runner_outputs import runner_output
from support.timed_ops import conv, listed, other, two_layers
from toolchain.profile.export.profiled_models import (
    operators_by_turn,
    samples_by_turn,
    told_operators,
    unique_names,
)


def test_models_of_one_name_are_told_apart() -> None:
    profile = profile_of(
        measurement("m"),
        measurement("m"),
        measurement("m #2"),
        measurement("m", runner_output(patched=False)),
    )
    assert unique_names(profile) == ["m", "m #3", "m #2", "m (stock runtime)"]


def test_samples_are_parted_by_turns() -> None:
    assert samples_by_turn(in_turns("m", [[1.0, 2.0], [3.0]])) == [[1.0, 2.0], [3.0]]


def test_without_turns_all_samples_are_one() -> None:
    item = measurement("m", runner_output(samples_us=[1.0, 2.0, 3.0]))
    assert samples_by_turn(item) == [[1.0, 2.0, 3.0]]


def test_no_sample_is_lost_where_turns_do_not_account_for_all() -> None:
    item = in_turns("m", [[1.0, 2.0], [3.0]])
    turns = [item.turns[0].model_copy(update={"runs": runs}) for runs in (1, -5)]
    cut = item.model_copy(update={"turns": turns})
    assert samples_by_turn(cut) == [[1.0], [], [2.0, 3.0]]


def test_a_model_that_was_not_timed_has_no_samples() -> None:
    output = runner_output().model_copy(update={"timing": None})
    assert samples_by_turn(measurement("m", output)) == []


def test_operators_have_the_times_of_their_turns(tmp_path: Path) -> None:
    turns = [([9.0], listed(conv(us), conv(2.0))) for us in (4.0, 6.0)]
    item = timed_in_turns("m", turns, two_layers(tmp_path))
    assert operators_by_turn(item) == [[4.0, 2.0, 5.0], [6.0, 2.0, 5.0]]


def test_operators_of_one_process_have_its_times() -> None:
    assert operators_by_turn(measurement("m", runner_output(ops=True))) == [[900.0, 100.0]]
    assert operators_by_turn(measurement("m")) == [None]


def test_turns_of_other_operators_are_not_mixed(tmp_path: Path) -> None:
    item = timed_in_turns("m", [([9.0], listed(conv(1.0), conv(2.0)))] * 2, two_layers(tmp_path))
    turns = [item.turns[0].model_copy(update={"ops_us": [1.0]}), item.turns[1]]
    assert operators_by_turn(item.model_copy(update={"turns": turns})) == [None, [1.0, 2.0, 5.0]]
    without = item.output.model_copy(update={"ops": None, "per_op": None})
    assert operators_by_turn(item.model_copy(update={"output": without})) == [None, None]


def test_operators_stand_beside_those_of_the_first_model(tmp_path: Path) -> None:
    layers = two_layers(tmp_path)
    first = timed_in_turns("dense", [([9.0], listed(conv(4.0), other(1.0), conv(2.0)))], layers)
    second = timed_in_turns(
        "s20", [([9.0], listed(other(1.0, "Pad"), conv(3.0), conv(2.0)))], layers, first=first
    )
    profile = profile_of(first, second)
    found = told_operators(profile, second)
    assert [each.row for each in found] == second.operators
    times = [
        (each.dense and each.dense.median_us, each.own and each.own.median_us) for each in found
    ]
    assert times == [(None, 1.0), (4.0, 3.0), (1.0, None), (2.0, 2.0), (5.0, 5.0)]
    assert [each.dense for each in told_operators(profile, first)] == [None] * 4


def test_without_the_model_to_compare_with_operators_stand_alone(tmp_path: Path) -> None:
    layers = two_layers(tmp_path)
    items = [timed_in_turns(name, [([9.0], listed(conv(4.0), conv(2.0)))], layers) for name in "ab"]
    profile = profile_of(*items, reference_failed=True)
    assert all(each.dense is None for each in told_operators(profile, items[1]))
    assert told_operators(profile_of(measurement("m")), measurement("m")) == []


def test_models_of_several_numbers_of_threads_stand_beside_those_of_as_many(tmp_path: Path) -> None:
    layers = two_layers(tmp_path)
    items = [
        timed_in_turns("m", [([9.0], listed(conv(us), conv(2.0)))], layers).model_copy(
            update={"threads": threads}
        )
        for us, threads in ((4.0, 1), (3.0, 2))
    ]
    profile = profile_of(*items)
    assert unique_names(profile) == ["m, 1 thread", "m, 2 threads"]
    assert all(not each.dense for item in items for each in told_operators(profile, item))
