from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from support.profiles import in_turns, measurement, powered, profile_of
from support.runner_outputs import runner_output
from toolchain.errors import ModelError
from toolchain.profile.comparable import Figure, Setup, Subject, subjects_of
from toolchain.profile.compare import Change, Comparison, compare, compare_all
from toolchain.profile.document import Measurement, Profile
from toolchain.profile.facts import BoardFacts, Vitals


def turns(*medians_us: float) -> list[list[float]]:
    """Twenty processes of three runs, whose medians go round these."""
    return [[medians_us[index % len(medians_us)]] * 3 for index in range(20)]


def compared(before: Profile, after: Profile) -> Comparison:
    return compare(subjects_of(before), subjects_of(after))


def change_of(before: Measurement, after: Measurement, figure: str) -> Change:
    found = compared(profile_of(before), profile_of(after)).changes
    return next(item for item in found if item.figure == figure)


def subject(name: str, times: Sequence[float], **more: object) -> Subject:
    figure = Figure(sorted(times)[len(times) // 2], "us", tuple(times))
    whole = Subject(name, Setup(), {"median": figure})
    return replace(whole, **more)  # type: ignore[arg-type]


STEADY = [99.0, 101.0] * 10


def test_times_whose_difference_chance_may_have_made_are_no_change() -> None:
    time = change_of(
        in_turns("m", turns(98.0, 100.0, 102.0)),
        in_turns("m", turns(98.5, 100.5, 102.5)),
        "median",
    )
    assert time.verdict == "no change"
    assert not time.significant
    assert time.low is not None
    assert time.high is not None
    assert time.low < 1.005 < time.high


def test_a_real_change_of_time_is_told() -> None:
    time = change_of(in_turns("m", turns(99.0, 101.0)), in_turns("m", turns(79.0, 81.0)), "median")
    assert time.verdict == "better"
    assert time.ratio == pytest.approx(0.8, rel=0.03)
    assert time.low is not None
    assert time.high is not None
    assert time.low <= 0.8 <= time.high < 1
    assert time.p_value is not None
    assert time.p_value < 0.001


def test_times_that_may_have_changed_by_much_or_not_at_all_have_no_verdict() -> None:
    noisy = [60.0, 140.0, 80.0, 120.0, 100.0] * 4
    (time,) = compare([subject("m", noisy)], [subject("m", noisy[::-1])]).changes
    assert time.verdict == "no verdict"
    assert time.high is not None
    assert time.high > 1.05


@pytest.mark.parametrize("shaky", ["load", "spread"])
def test_a_doubtful_row_gets_no_verdict_where_it_seems_to_differ(shaky: str) -> None:
    calm = in_turns("m", turns(99.0, 101.0))
    other = (
        in_turns("m", turns(79.0, 81.0), load=[2.0] * 20)  # others were at work
        if shaky == "load"
        else in_turns("m", turns(70.0, 80.0))  # they differ too much
    )
    assert other.doubts
    assert change_of(calm, other, "median").verdict == "no verdict"
    assert change_of(other, calm, "median").verdict == "no verdict"


NOISE = ("times differ by 9%: end other programs on the board, and measure it again",)
STATE = ("the clock changed between 600 and 1,500 MHz while it was measured: cool the board",)


def test_noise_keeps_no_verdict_from_models_that_took_turns() -> None:
    """It meets both alike; two sessions it does not."""
    first, second = subject("m", STEADY, doubts=NOISE), subject("m", [110.0] * 20, doubts=NOISE)
    (time,) = compare([first], [second], together=True).changes
    assert time.verdict == "worse"
    (time,) = compare([first], [second]).changes
    assert time.verdict == "no verdict"


def test_a_board_whose_state_changed_gives_no_verdict_on_any_times() -> None:
    first = subject("m", STEADY, doubts=STATE, state_doubts=STATE)
    second = subject("m", [110.0] * 20)
    for together in (True, False):
        (time,) = compare([first], [second], together=together).changes
        assert time.verdict == "no verdict"


def test_the_states_that_turns_met_are_those_in_doubt() -> None:
    cool, slow = (Vitals(governor="performance", frequency_khz=khz) for khz in (1_500_000, 600_000))
    item = in_turns("m", turns(100.0))
    met = [turn.model_copy(update={"before": cool, "after": cool}) for turn in item.turns]
    profile = profile_of(item.model_copy(update={"turns": met}))
    board = profile.board.model_copy(update={"after": cool})
    profile = profile.model_copy(update={"board": board})
    assert subjects_of(profile)[0].state_doubts == ()
    met[7] = met[7].model_copy(update={"after": slow})
    changed = [item.model_copy(update={"turns": met})]
    (slowed,) = subjects_of(profile.model_copy(update={"measurements": changed}))
    (text,) = slowed.state_doubts
    assert text.startswith("the clock changed between 600 and 1,500 MHz")


@pytest.mark.parametrize("reason", ["energy", "no_energy"])
def test_what_the_board_was_like_after_energy_was_measured_is_no_doubt_of_times(
    reason: str,
) -> None:
    cool, hot = (
        Vitals(governor="performance", frequency_khz=1_500_000, temperature_c=degrees)
        for degrees in (60.0, 81.0)
    )
    measured = []
    for name, us in (("dense", 100.0), ("s20", 110.0)):
        item = in_turns(name, turns(us))
        met = [turn.model_copy(update={"before": cool, "after": cool}) for turn in item.turns]
        measured.append(item.model_copy(update={"turns": met}))
    measured[1] = (
        powered(measured[1], 5.0)
        if reason == "energy"
        else measured[1].model_copy(update={"no_energy": "the meter went away"})
    )
    profile = profile_of(*measured)
    board = profile.board.model_copy(update={"after": hot})
    one, other = subjects_of(profile.model_copy(update={"board": board}))
    assert one.state_doubts == other.state_doubts == ()
    found = compare([one], [other], together=True)
    assert next(each for each in found.changes if each.figure == "median").verdict == "worse"


def test_a_board_that_went_away_after_the_turns_is_no_doubt_of_times() -> None:
    cool = Vitals(governor="performance", frequency_khz=1_500_000)
    item = in_turns("m", turns(100.0))
    met = [turn.model_copy(update={"before": cool, "after": cool}) for turn in item.turns]
    profile = profile_of(item.model_copy(update={"turns": met}))
    assert profile.board.after == Vitals()
    assert subjects_of(profile)[0].state_doubts == ()


def test_what_takes_a_verdict_away_is_told() -> None:
    first, second = subject("m", STEADY, state_doubts=STATE), subject("m", [110.0] * 20)
    found = compare([first], [second], together=True)
    assert found.changes[0].verdict == "no verdict"
    assert f"? m (before): {STATE[0]}" in found.notes


def test_an_interval_without_ends_is_none() -> None:
    """Eight turns that drift have too little left to tell."""
    drift = [100.0 * (1 + 0.0125 * number) for number in range(8)]
    (time,) = compare([subject("m", drift)], [subject("m", [1.03 * us for us in drift])]).changes
    assert (time.low, time.high, time.verdict) == (None, None, "no verdict")


@pytest.mark.parametrize(("us", "verdict"), [(101.9, "no change"), (102.1, "worse")])
def test_two_hundredths_of_a_time_may_be_another_boot(us: float, verdict: str) -> None:
    one, other = in_turns("m", turns(100.0)), in_turns("m", turns(us))
    assert change_of(one, other, "median").verdict == verdict
    back = "better" if verdict == "worse" else verdict
    assert change_of(other, one, "median").verdict == back


@pytest.mark.parametrize(("slower", "verdict"), [(1.04, "no verdict"), (1.06, "worse")])
def test_another_session_differs_only_where_it_surely_does_by_more_than_a_boot(
    slower: float, verdict: str
) -> None:
    """An interval that begins below the band: noise and a boot together may have made it."""
    random = np.random.default_rng(3)
    times = 100.0 * random.lognormal(0, 0.04, 20)
    later = slower * random.permutation(times)
    before, after = subject("m", times.tolist()), subject("m", later.tolist())
    (time,) = compare([before], [after]).changes
    assert time.p_value is not None
    assert time.p_value < 0.01
    assert time.verdict == verdict
    (together,) = compare([before], [after], together=True).changes
    assert together.verdict == "worse"


@pytest.mark.parametrize(("us", "verdict"), [(100.4, "no change"), (100.6, "worse")])
def test_models_that_took_turns_differ_from_half_a_hundredth_on(us: float, verdict: str) -> None:
    first, second = subject("a", [100.0] * 20), subject("b", [us] * 20)
    (time,) = compare([first], [second], together=True).changes
    assert time.verdict == verdict
    assert time.ratio == pytest.approx(us / 100)


def test_what_slows_the_board_for_a_while_slows_both_that_took_turns() -> None:
    slow = [100.0 + 5 * turn for turn in range(20)]
    first, second = subject("a", slow), subject("b", [0.9 * us for us in slow])
    (time,) = compare([first], [second], together=True).changes
    assert time.verdict == "better"
    assert time.ratio == pytest.approx(0.9)


def test_a_profile_without_turns_is_read_and_gets_no_verdict() -> None:
    """As versions before wrote them: one process, and nothing of how others would have been."""
    before = profile_of(measurement("m", runner_output(samples_us=[100.0] * 5)))
    after = profile_of(measurement("m", runner_output(samples_us=[80.0] * 5)))
    found = compared(before, after)
    time = next(item for item in found.changes if item.figure == "median")
    assert (time.verdict, time.p_value, time.low) == ("no verdict", None, None)
    assert time.ratio == pytest.approx(0.8)
    assert any("without --runs" in note for note in found.notes)


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
    assert change_of(one, other, "memory").verdict == verdict


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
    assert {item.model for item in compared(twice, twice).changes} == {"m", "m #2"}


@pytest.mark.parametrize(("more", "verdict"), [(9, "no change"), (25, "worse"), (-25, "better")])
def test_counts_of_emulated_boards_differ_from_one_in_fifty_thousand_on(
    more: int, verdict: str
) -> None:
    """A busy host was seen to add nine instructions to as many."""
    count = 1_228_624
    before = profile_of(measurement("m", runner_output(instructions=count)), emulated=True)
    after = profile_of(measurement("m", runner_output(instructions=count + more)), emulated=True)
    changes = {item.figure: item.verdict for item in compared(before, after).changes}
    assert changes["instructions"] == verdict


def test_a_single_instruction_of_a_thousand_is_a_change() -> None:
    before = profile_of(measurement("m", runner_output(instructions=1000)), emulated=True)
    after = profile_of(measurement("m", runner_output(instructions=1001)), emulated=True)
    changes = compared(before, after).changes
    assert [(item.figure, item.significant) for item in changes] == [
        ("instructions", True),
        ("memory", False),
        ("size", False),
    ]


def test_seconds_are_left_out_under_emulation() -> None:
    emulated = profile_of(measurement("m"), emulated=True)
    found = compared(emulated, profile_of(measurement("m")))
    assert all(item.unit != "us" for item in found.changes)
    assert any("mean nothing" in note for note in found.notes)


def test_what_only_one_side_has_is_noted() -> None:
    found = compared(
        profile_of(measurement("a"), measurement("b")),
        profile_of(measurement("b"), measurement("c")),
    )
    assert {item.model for item in found.changes} == {"b"}
    assert "a is in the first result only" in found.notes
    assert "c is in the second result only" in found.notes


def test_one_model_each_is_compared_whatever_it_is_called() -> None:
    found = compared(profile_of(measurement("dense")), profile_of(measurement("s20")))
    assert {item.model for item in found.changes} == {"s20"}
    assert not any("result only" in note for note in found.notes)


def test_the_two_runtimes_of_a_model_are_kept_apart() -> None:
    both = profile_of(measurement("m"), measurement("m", runner_output(patched=False)))
    assert {item.model for item in compared(both, both).changes} == {"m", "m (stock runtime)"}


def test_doubts_are_carried_over() -> None:
    shaky = profile_of(measurement("m", doubts=["times differ by 9%"]))
    notes = compared(shaky, profile_of(measurement("m"))).notes
    assert "? m (before): times differ by 9%" in notes
    both = compared(shaky, shaky).notes
    assert [note for note in both if note.startswith("?")] == [
        "? m (before and after): times differ by 9%"
    ]


def test_results_without_a_common_model_cannot_be_compared() -> None:
    with pytest.raises(ModelError, match="no model in common: a and b, c") as caught:
        compared(profile_of(measurement("a")), profile_of(measurement("b"), measurement("c")))
    assert "file names" in (caught.value.hint or "")


def test_a_change_is_a_row_of_json() -> None:
    counted = measurement("m", runner_output(instructions=1000))
    assert change_of(counted, counted, "memory").row() == {
        "model": "m", "figure": "memory", "unit": "KiB", "before": 2048.0, "after": 2048.0,
        "verdict": "no change", "operator": None, "ratio": 1.0, "low": None, "high": None,
        "after_low": None,
        "p_value": None, "significant": False,
    }  # fmt: skip


def board(core: str = "Cortex-A72", mhz: int = 1800) -> BoardFacts:
    vitals = Vitals(governor="performance", frequency_khz=1000 * mhz)
    return BoardFacts(emulated=False, cores={core: 4}, vitals=vitals)


@pytest.mark.parametrize(
    ("after", "obstacle"),
    [
        (profile_of(in_turns("m", turns(50.0)), facts=board("Cortex-A76")), "core differs"),
        (profile_of(in_turns("m", turns(50.0)), facts=board(mhz=1500)), "1,800 and 1,500 MHz"),
        (
            profile_of(in_turns("m", turns(50.0)), facts=board()).model_copy(update={"threads": 4}),
            "number of threads differs: 1 and 4",
        ),
    ],
)
def test_times_of_other_conditions_are_no_comparison(after: Profile, obstacle: str) -> None:
    before = profile_of(in_turns("m", turns(100.0)), facts=board())
    found = compared(before, after)
    assert any(obstacle in line for line in found.obstacles)
    time = next(item for item in found.changes if item.figure == "median")
    assert time.verdict == "no verdict"
    assert time.ratio == pytest.approx(0.5)
    assert not compared(before, before).obstacles


def test_another_file_is_noted_and_compared() -> None:
    other = measurement("m").model_copy(update={"sha256": "1" * 64})
    assert (
        "m: the two files differ" in compared(profile_of(measurement("m")), profile_of(other)).notes
    )


def test_the_more_times_are_compared_the_surer_each_has_to_be() -> None:
    """What is told of one model alone is not told of one among forty."""
    before = subject("m0", [100.0, 106.0, 101.0, 107.0, 102.0, 108.0] * 2)
    after = subject("m0", [107.0, 113.0, 108.0, 114.0, 109.0, 115.0] * 2)
    (alone,) = compare([before], [after]).changes
    assert alone.verdict == "worse"
    calm = [subject(f"m{index}", STEADY) for index in range(1, 40)]
    first, *_ = compare([before, *calm], [after, *calm]).changes
    assert first.p_value is not None
    assert alone.p_value is not None
    assert first.p_value == pytest.approx(min(1.0, 40 * alone.p_value))
    assert first.verdict != "worse"
    # Whether they are in one result or in many makes no difference.
    many, *_ = compare_all([([before], [after]), *(([one], [one]) for one in calm)])
    assert many.changes[0].p_value == first.p_value


@pytest.mark.parametrize(
    ("watts", "verdict"), [(5.01, "no change"), (5.19, "no verdict"), (5.3, "worse")]
)
def test_energies_differ_where_their_intervals_are_surely_apart(watts: float, verdict: str) -> None:
    """Each is known to a hundredth."""
    first, second = (powered(in_turns("m", turns(100.0)), one) for one in (5.0, watts))
    energy = change_of(first, second, "energy by PMIC")
    assert (energy.unit, energy.verdict, energy.p_value) == ("J", verdict, None)
    assert energy.ratio == pytest.approx(watts / 5.0)
    assert energy.low == pytest.approx(watts / 5.0 * 0.99 / 1.01)
    assert energy.high == pytest.approx(watts / 5.0 * 1.01 / 0.99)
    back = change_of(second, first, "energy by PMIC")
    assert back.verdict == ("better" if verdict == "worse" else verdict)


def test_an_energy_of_a_doubtful_row_gets_no_verdict() -> None:
    """It is power by the median time."""
    calm = powered(in_turns("m", turns(100.0)), 5.0)
    busy = powered(in_turns("m", turns(100.0), load=[2.0] * 20), 6.0)
    assert busy.doubts
    for together in (True, False):
        sides = [subjects_of(profile_of(one)) for one in (calm, busy)]
        found = compare(*sides, together=together).changes
        (energy,) = [one for one in found if one.figure == "energy by PMIC"]
        assert energy.verdict == "no verdict"


def test_energies_of_different_sources_are_not_compared() -> None:
    item = in_turns("m", turns(100.0))
    first, second = powered(item, 5.0), powered(item, 5.0, source="meter")
    found = compared(profile_of(first), profile_of(second)).changes
    assert not [one for one in found if one.unit == "J"]


def test_operators_that_both_timed_are_compared_by_name() -> None:
    def with_ops(us: float) -> Subject:
        ops = {"conv1": Figure(us, "us", (us,) * 20), "conv2": Figure(50.0, "us", (50.0,) * 20)}
        return subject("m", STEADY, operators=ops)

    found = compare([with_ops(100.0)], [with_ops(120.0)])
    assert [(one.operator, one.verdict) for one in found.operators] == [
        ("conv1", "worse"),
        ("conv2", "no change"),
    ]


def test_a_time_of_zero_has_no_test() -> None:
    (time,) = compare([subject("m", [0.0] * 20)], [subject("m", [1.0] * 20)]).changes
    assert (time.verdict, time.ratio, time.p_value) == ("no verdict", None, None)
