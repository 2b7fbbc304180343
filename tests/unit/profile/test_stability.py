from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from support.runner_outputs import timing
from toolchain.profile.facts import Throttled, Vitals
from toolchain.profile.stability import doubts, spread, unsteady
from toolchain.profile.turns import Turn

CALM = Vitals(governor="performance")


def turns_of(*medians_us: float) -> list[Turn]:
    return [Turn(runs=2, median_us=us) for us in medians_us]


def doubts_of(medians_us: Sequence[float], **more: Any) -> list[str]:
    """Of turns of two runs each."""
    whole = timing([us for us in medians_us for _ in range(2)])
    return doubts(whole, [CALM, CALM], turns=turns_of(*medians_us), **more)


STEADY = [100.0, 101.0, 99.0, 100.5, 99.5] * 3


def test_turns_that_agree_leave_no_doubt() -> None:
    assert doubts_of(STEADY) == []


def test_turns_that_differ_say_what_to_do() -> None:
    (doubt,) = doubts_of([100.0, 150.0, 60.0, 120.0, 80.0] * 3)
    assert "times differ by" in doubt
    assert "end other programs" in doubt


def test_runs_that_differ_within_turns_are_told() -> None:
    wild = timing([100.0, 140.0] * 15)
    assert unsteady(wild)
    assert doubts(wild, [CALM, CALM], turns=turns_of(*STEADY))


def test_one_turn_that_something_disturbed_is_no_doubt_and_two_are() -> None:
    assert doubts_of([*STEADY[:14], 900.0]) == []
    (doubt,) = doubts_of([*STEADY[:5], 130.0, *STEADY[:7], 130.0, 100.0])
    assert "2 of 15 turns" in doubt


def test_few_runs_say_nothing_about_spread() -> None:
    assert "only 2 runs" in doubts(timing([100.0, 100.0]), [CALM, CALM])[0]


def test_few_turns_say_nothing_about_other_processes() -> None:
    assert "only 2 turns" in doubts(timing([100.0] * 20), [CALM, CALM], turns=turns_of(1.0, 1.0))[0]


def test_times_that_rise_all_the_while_are_told() -> None:
    (doubt,) = doubts_of([100.0 + 0.3 * index for index in range(15)])
    assert "rose by 4%" in doubt
    (doubt,) = doubts_of([100.0 - 0.3 * index for index in range(15)])
    assert "fell by 4%" in doubt


def test_other_programs_at_work_are_told() -> None:
    (doubt,) = doubts_of(STEADY, load=[1.4, 1.6, 1.5], cores=4)
    assert "1.5 cores busy" in doubt
    assert doubts_of(STEADY, load=[0.1, 0.3, 0.2], cores=4) == []
    assert doubts_of(STEADY, load=[0.3], cores=1)  # of one core that is much


def test_times_of_zero_have_no_spread() -> None:
    assert spread(timing([0.0, 0.0, 0.0])) == 0.0


@pytest.mark.parametrize("governor", ["ondemand", "powersave"])
def test_a_governor_that_changes_the_frequency_is_told(governor: str) -> None:
    whole, turns = timing([100.0] * 15), turns_of(*[100.0] * 15)
    (doubt,) = doubts(whole, [Vitals(governor=governor)] * 2, turns=turns)
    assert governor in doubt


def test_a_board_that_is_held_back_is_told() -> None:
    hot = Vitals(throttled=Throttled(now=["throttled"], since_boot=["throttled"]))
    whole, turns = timing([100.0] * 15), turns_of(*[100.0] * 15)
    (doubt,) = doubts(whole, [Vitals(), hot], turns=turns)
    assert "cool it" in doubt


def test_a_trend_below_two_hundredths_is_none() -> None:
    for rise, told in ((0.0195, False), (0.0205, True)):
        figures = [100.0 + 100.0 * rise * (index - 7) / 14 for index in range(15)]
        assert bool(doubts_of(figures)) == told


def test_seven_turns_are_too_few_for_a_trend_and_eight_are_not() -> None:
    rising = [100.0 + index for index in range(8)]
    assert any("rose" in doubt for doubt in doubts_of(rising))
    assert not any("rose" in doubt for doubt in doubts_of(rising[:7]))


def test_times_that_jump_about_have_no_trend() -> None:
    jumping = [100.0 + step for step in (0, 3, 1, 4, 0, 3, 2, 4, 1, 3, 0, 4, 1, 2, 3)]
    assert doubts_of(jumping) == []


def test_a_turn_goes_astray_at_a_twentieth_from_the_middle() -> None:
    assert not unsteady(timing([100.0] * 30), turns_of(*[100.0] * 12, 105.0, 105.0, 105.0))
    assert unsteady(timing([100.0] * 30), turns_of(*[100.0] * 12, 105.1, 94.9, 105.1))
    # Two of twenty are a tenth; of fifteen they are more.
    assert not unsteady(timing([100.0] * 40), turns_of(*[100.0] * 18, 200.0, 200.0))
    assert unsteady(timing([100.0] * 30), turns_of(*[100.0] * 13, 200.0, 200.0))
    assert not unsteady(timing([100.0] * 30), [])


def test_a_spread_of_a_twentieth_is_borne() -> None:
    assert spread(timing([95.0, 100.0, 105.0])) == pytest.approx(0.05)
    assert not unsteady(timing([95.0, 100.0, 105.0]))
    assert unsteady(timing([94.9, 100.0, 105.1]))


@pytest.mark.parametrize(
    ("load", "cores", "told"),
    [
        ([0.5], 4, False),  # half a core at most
        ([0.51], 4, True),
        ([0.5], 2, False),  # a quarter of each
        ([0.25], 1, False),
        ([0.26], 1, True),
        ([0.26], None, True),
        ([], 1, False),
        ([0.0, 1.0], 4, False),  # their mean
    ],
)
def test_a_quarter_of_each_core_may_be_busy(
    load: list[float], cores: int | None, told: bool
) -> None:
    assert bool(doubts_of(STEADY, load=load, cores=cores)) == told


def test_eight_runs_in_turns_of_their_own_are_enough() -> None:
    few = doubts(timing([100.0] * 7), [CALM, CALM], turns=turns_of(*[100.0] * 7))
    assert "only 7 runs" in few[0]
    assert doubts(timing([100.0] * 8), [CALM, CALM], turns=turns_of(*[100.0] * 8)) == []
    assert (
        "only 7 turns" in doubts(timing([100.0] * 8), [CALM, CALM], turns=turns_of(*[100.0] * 7))[0]
    )


def test_a_board_that_was_held_back_before_is_not_held_back_now() -> None:
    before = Vitals(throttled=Throttled(now=[], since_boot=["throttled"]))
    whole, turns = timing([100.0] * 15), turns_of(*[100.0] * 15)
    assert doubts(whole, [Vitals(), before], turns=turns) == []
    assert doubts(whole, [before, before], turns=turns) == []


WHOLE, TURNS_OF_IT = timing([100.0] * 30), turns_of(*[100.0] * 15)


def told(*states: Vitals) -> list[str]:
    """Doubts about times that are all alike, on a board in these states."""
    return doubts(WHOLE, states, turns=TURNS_OF_IT)


def running(**more: Any) -> Vitals:
    """A board that runs as it should."""
    calm: dict[str, Any] = {
        "governor": "performance",
        "frequency_khz": 1_800_000,
        "temperature_c": 55.0,
        "throttled": Throttled(now=[], since_boot=[]),
        "clock_source": "arch_sys_counter",
    }
    return Vitals(**(calm | more))


def test_a_board_that_runs_as_it_should_leaves_no_doubt() -> None:
    assert told(running(), running(temperature_c=71.0), running(frequency_khz=1_799_000)) == []


@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"throttled": Throttled(now=["throttled"], since_boot=["throttled"])}, "throttled"),
        # Held back between two questions: it no longer is, and its memory tells.
        ({"throttled": Throttled(now=[], since_boot=["under-voltage"])}, "under-voltage"),
        ({"governor": "powersave"}, "changed from 'performance' to 'powersave'"),
        ({"frequency_khz": 600_000}, "between 600 and 1,800 MHz"),
        ({"temperature_c": 84.0}, "84 °C"),
        ({"clock_source": "timer"}, "from 'arch_sys_counter' to 'timer'"),
        ({"clock_source": None}, "no longer told its clock source"),
        ({"governor": None}, "no longer told its frequency governor"),
        ({"throttled": None}, "no longer told its throttling"),
        ({"temperature_c": None}, "no longer told its temperature"),
        ({"frequency_khz": None}, "no longer told its clock"),
    ],
)
def test_what_happens_to_a_board_meanwhile_is_told(
    changed: dict[str, Any], said: str, at: int
) -> None:
    states = [running()] * 4
    states[at] = running(**changed)
    (doubt,) = told(*states)
    assert said in doubt
    assert "measure it again" in doubt or "power supply" in doubt


def test_a_clock_that_a_governor_lowers_between_turns_is_that_governors_doubt_alone() -> None:
    resting = running(governor="ondemand", frequency_khz=600_000)
    (doubt,) = told(running(governor="ondemand"), resting)
    assert "the frequency governor is 'ondemand'" in doubt


def test_a_board_that_tells_nothing_is_not_doubted_for_that() -> None:
    assert told(Vitals(), Vitals(), Vitals()) == []
