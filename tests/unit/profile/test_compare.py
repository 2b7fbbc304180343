from __future__ import annotations

import pytest

from support.profiles import measurement, profile_of
from support.runner_outputs import runner_output
from toolchain.errors import ModelError
from toolchain.profile.compare import compare


def test_times_within_their_spread_are_no_change() -> None:
    before = profile_of(
        measurement("m", runner_output(samples_us=[98.0, 99.0, 100.0, 101.0, 102.0]))
    )
    after = profile_of(
        measurement("m", runner_output(samples_us=[99.0, 100.0, 101.0, 102.0, 103.0]))
    )
    time = next(item for item in compare(before, after).changes if item.figure == "time")
    assert not time.significant


def test_a_real_change_of_time_is_told() -> None:
    before = profile_of(measurement("m", runner_output(samples_us=[100.0] * 5)))
    after = profile_of(measurement("m", runner_output(samples_us=[80.0] * 5)))
    time = next(item for item in compare(before, after).changes if item.figure == "time")
    assert time.significant
    assert time.ratio == pytest.approx(1.25)


def test_a_single_instruction_is_a_change() -> None:
    before = profile_of(measurement("m", runner_output(instructions=1000)), emulated=True)
    after = profile_of(measurement("m", runner_output(instructions=1001)), emulated=True)
    changes = compare(before, after).changes
    assert [(item.figure, item.significant) for item in changes] == [
        ("instructions", True),
        ("peak memory", False),
    ]


def test_seconds_are_left_out_under_emulation() -> None:
    emulated = profile_of(measurement("m"), emulated=True)
    found = compare(emulated, profile_of(measurement("m")))
    assert all(item.figure != "time" for item in found.changes)
    assert any("mean nothing" in note for note in found.notes)


def test_what_only_one_side_has_is_noted() -> None:
    found = compare(
        profile_of(measurement("a"), measurement("b")),
        profile_of(measurement("b"), measurement("c")),
    )
    assert {item.model for item in found.changes} == {"b"}
    assert "a is in the first profile only" in found.notes
    assert "c is in the second profile only" in found.notes


def test_the_two_runtimes_of_a_model_are_kept_apart() -> None:
    both = profile_of(measurement("m"), measurement("m", runner_output(patched=False)))
    assert {item.model for item in compare(both, both).changes} == {"m", "m (stock runtime)"}


def test_doubts_are_carried_over() -> None:
    shaky = profile_of(measurement("m", doubts=["the spread is 9%"]))
    assert any("may be unstable" in note for note in compare(shaky, shaky).notes)


def test_profiles_without_a_common_model_cannot_be_compared() -> None:
    with pytest.raises(ModelError, match="no model in common"):
        compare(profile_of(measurement("a")), profile_of(measurement("b")))
