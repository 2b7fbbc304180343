from __future__ import annotations

import pytest

from support.profiles import in_turns, measurement, profile_of
from support.runner_outputs import runner_output
from toolchain.errors import ModelError
from toolchain.profile.compare import Change, compare
from toolchain.profile.document import Measurement


def turns(*medians_us: float) -> list[list[float]]:
    """Fifteen processes of three runs, whose medians go round these."""
    return [[medians_us[index % len(medians_us)]] * 3 for index in range(15)]


def change_of(before: Measurement, after: Measurement, figure: str) -> Change:
    found = compare(profile_of(before), profile_of(after)).changes
    return next(item for item in found if item.figure == figure)


def test_times_whose_intervals_touch_are_no_change() -> None:
    time = change_of(
        in_turns("m", turns(98.0, 100.0, 102.0)), in_turns("m", turns(101.0, 103.0, 105.0)), "time"
    )
    assert time.verdict == "no change"
    assert not time.significant


def test_a_real_change_of_time_is_told() -> None:
    time = change_of(in_turns("m", turns(99.0, 101.0)), in_turns("m", turns(79.0, 81.0)), "time")
    assert time.verdict == "better"
    assert time.ratio == pytest.approx(1.25, rel=0.03)
    assert time.before_interval is not None
    assert (time.before_interval.low, time.before_interval.high) == (99.0, 101.0)


def test_a_doubtful_row_gets_no_verdict() -> None:
    calm = in_turns("m", turns(99.0, 101.0))
    for shaky in (
        in_turns("m", turns(70.0, 80.0)),  # they differ too much
        in_turns("m", turns(79.0, 81.0), load=[2.0] * 15),  # others were at work
    ):
        assert shaky.doubts
        assert change_of(calm, shaky, "time").verdict == "no verdict"
        assert change_of(shaky, calm, "time").verdict == "no verdict"
        assert change_of(shaky, shaky, "time").verdict == "no change"


@pytest.mark.parametrize(("us", "verdict"), [(101.98, "no change"), (102.02, "worse")])
def test_two_hundredths_of_the_shorter_time_may_be_another_boot(us: float, verdict: str) -> None:
    one, other = in_turns("m", turns(100.0)), in_turns("m", turns(us))
    assert change_of(one, other, "time").verdict == verdict
    back = "better" if verdict == "worse" else verdict
    assert change_of(other, one, "time").verdict == back


def test_a_profile_without_turns_is_read_and_gets_no_verdict() -> None:
    """As versions before wrote them: one process, and nothing of how others would have been."""
    before = profile_of(measurement("m", runner_output(samples_us=[100.0] * 5)))
    after = profile_of(measurement("m", runner_output(samples_us=[80.0] * 5)))
    found = compare(before, after)
    time = next(item for item in found.changes if item.figure == "time")
    assert time.verdict == "no verdict"
    assert any("profile it again" in note for note in found.notes)


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        (11_300, 11_310, "no change"),  # 11.0 MiB both
        (11_315, 11_317, "no change"),  # 11.0 and 11.1, of one page
        (11_300, 11_500, "worse"),
        (11_500, 11_300, "better"),
    ],
)
def test_memory_that_rounds_to_the_same_figure_is_no_change(
    before: int, after: int, verdict: str
) -> None:
    one, other = (in_turns("m", turns(100.0), peaks_kib=[kib, kib + 8]) for kib in (before, after))
    assert change_of(one, other, "peak memory").verdict == verdict


def test_instructions_of_a_real_board_vary_from_process_to_process() -> None:
    one, other = (
        in_turns("m", turns(100.0), instructions=counts)
        for counts in ([1_000_000, 1_000_400], [1_000_300, 1_000_700])
    )
    assert change_of(one, other, "instructions").verdict == "no change"
    fewer = in_turns("m", turns(100.0), instructions=[900_000, 900_400])
    assert change_of(one, fewer, "instructions").verdict == "better"


def test_a_model_that_was_measured_twice_is_compared_twice() -> None:
    twice = profile_of(in_turns("m", turns(100.0)), in_turns("m", turns(100.0)))
    assert {item.model for item in compare(twice, twice).changes} == {"m", "m #2"}


@pytest.mark.parametrize(("more", "verdict"), [(9, "no change"), (25, "worse"), (-25, "better")])
def test_counts_of_emulated_boards_differ_from_one_in_fifty_thousand_on(
    more: int, verdict: str
) -> None:
    """A busy host was seen to add nine instructions to as many."""
    count = 1_228_624
    before = profile_of(measurement("m", runner_output(instructions=count)), emulated=True)
    after = profile_of(measurement("m", runner_output(instructions=count + more)), emulated=True)
    changes = {item.figure: item.verdict for item in compare(before, after).changes}
    assert changes["instructions"] == verdict


def test_a_single_instruction_of_a_thousand_is_a_change() -> None:
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
    shaky = profile_of(measurement("m", doubts=["times differ by 9%"]))
    notes = compare(shaky, profile_of(measurement("m"))).notes
    assert "? m, before: times differ by 9%" in notes


def test_profiles_without_a_common_model_cannot_be_compared() -> None:
    with pytest.raises(ModelError, match="no model in common: a and b, c") as caught:
        compare(profile_of(measurement("a")), profile_of(measurement("b"), measurement("c")))
    assert "file names" in (caught.value.hint or "")


def test_a_change_is_a_row_of_json() -> None:
    one = in_turns("m", turns(99.0, 101.0))
    time = change_of(one, in_turns("m", turns(79.0, 81.0)), "time")
    assert time.row() == {
        "model": "m", "figure": "time", "unit": "us", "before": 99.0, "after": 79.0,
        "verdict": "better", "before_interval": [99.0, 101.0], "after_interval": [79.0, 81.0],
        "significant": True, "ratio": 99.0 / 79.0,
    }  # fmt: skip
    counted = measurement("m", runner_output(instructions=1000))
    memory = change_of(counted, counted, "peak memory").row()
    assert (memory["before_interval"], memory["after_interval"]) == (None, None)
    assert (memory["unit"], memory["significant"], memory["ratio"]) == ("KiB", False, 1.0)


def test_what_differs_between_two_profiles_is_noted() -> None:
    before = profile_of(measurement("m"), measurement("a"))
    other = measurement("m").model_copy(update={"sha256": "1" * 64})
    after = profile_of(other, measurement("b")).model_copy(update={"threads": 4})
    notes = compare(before, after).notes
    assert notes[:4] == [
        "threads differs: 1 and 4",
        "m: the two files differ",
        "a is in the first profile only",
        "b is in the second profile only",
    ]
    assert not any("seconds" in note for note in notes)
    emulated = profile_of(measurement("m"), emulated=True)
    told = compare(emulated, emulated).notes
    assert told == ["seconds are left out: under emulation they mean nothing"]
    assert "emulation differs: True and False" in compare(emulated, before).notes
