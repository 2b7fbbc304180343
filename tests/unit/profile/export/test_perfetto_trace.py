"""A profile as a trace: slices of runs and operators, whose times add up to the nanosecond."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from support.profiles import in_turns, measurement, profile_of, timed_in_turns
from support.runner_outputs import runner_output
from support.timed_ops import LIVE, conv, listed, other, two_layers
from toolchain.profile.export.perfetto_trace import OPERATORS, RUNS, perfetto_trace

Event = dict[str, Any]


@dataclass
class Slice:
    name: str
    begin: int
    end: int
    depth: int
    about: Event = field(default_factory=dict)


def events(text: str) -> list[Event]:
    found: list[Event] = json.loads(text, parse_float=Decimal)["traceEvents"]
    return found


def nanoseconds(event: Event) -> int:
    exact = Decimal(event["ts"]) * 1000
    assert exact == int(exact), "no part of a nanosecond"
    return int(exact)


def tracks(text: str) -> dict[tuple[str, str], list[Slice]]:
    """The slices of each track, by the names of its process and thread, in order."""
    names: dict[tuple[str, int], str] = {}
    found: dict[tuple[str, str], list[Slice]] = {}
    open_slices: dict[int, list[Slice]] = {}
    for event in events(text):
        if event["ph"] == "M" and event["name"] in ("process_name", "thread_name"):
            key = event["pid"] if event["name"] == "process_name" else event["tid"]
            names[event["name"], key] = event["args"]["name"]
        elif event["ph"] == "B":
            stack = open_slices.setdefault(event["tid"], [])
            at = nanoseconds(event)
            one = Slice(event["name"], at, at, len(stack), event.get("args", {}))
            track = names["process_name", event["pid"]], names["thread_name", event["tid"]]
            found.setdefault(track, []).append(one)
            stack.append(one)
        elif event["ph"] == "E":
            open_slices[event["tid"]].pop().end = nanoseconds(event)
    assert not any(open_slices.values())
    return found


def durations(slices: Sequence[Slice], depth: int = 0) -> list[int]:
    return [one.end - one.begin for one in slices if one.depth == depth]


def test_every_timed_run_is_a_slice_of_its_time() -> None:
    profile = profile_of(in_turns("a", [[1.5, 2.25], [3.001]]), in_turns("b", [[4.0], [5.0]]))
    found = tracks(perfetto_trace(profile))
    assert durations(found["a", RUNS]) == [1500, 2250, 3001]
    assert durations(found["b", RUNS]) == [4000, 5000]
    assert found["a", RUNS][1].about == {"turn": 1, "run": 2}


def test_models_take_turns_on_the_axis_of_time() -> None:
    profile = profile_of(in_turns("a", [[1.0, 2.0], [3.0]]), in_turns("b", [[4.0], [5.0]]))
    found = tracks(perfetto_trace(profile))
    assert [one.begin for one in found["a", RUNS]] == [0, 1000, 7000]
    assert [one.begin for one in found["b", RUNS]] == [3000, 10000]


def test_operators_of_a_turn_lie_end_to_end_in_a_run(tmp_path: Path) -> None:
    turns = [
        ([9.0], listed(conv(us), other(0.0), conv(2.0), remainder_us=0.5)) for us in (4.0, 6.25)
    ]
    item = timed_in_turns("m", turns, two_layers(tmp_path))
    found = tracks(perfetto_trace(profile_of(item)))["m", OPERATORS]
    assert durations(found) == [6500, 8750]
    assert durations(found, depth=1) == [4000, 0, 2000, 500, 6250, 0, 2000, 500]
    runs = [one for one in found if one.depth == 0]
    inner = [one for one in found if one.depth == 1]
    assert [one.begin for one in inner[:4]] == [0, 4000, 4000, 6000]
    assert inner[3].end == runs[0].end
    names = [item.layers[0].name, f"Add after {item.layers[0].name}", item.layers[1].name]
    assert [one.name for one in inner[:4]] == [*names, "outside of operators"]


def test_an_operator_says_what_it_is(tmp_path: Path) -> None:
    layers = two_layers(tmp_path)
    ops = listed(conv(4.0, kernel=LIVE, kept=64, dead=0.5, macs=99), conv(2.0))
    item = timed_in_turns("m", [([9.0], ops)], layers)
    found = tracks(perfetto_trace(profile_of(item)))["m", OPERATORS][1].about
    assert found["layer"] == layers[0].name
    assert found["kind"] == "3x3"
    assert found["shape"] == layers[0].shape
    assert found["micro-kernel"] == LIVE
    assert [found["kept pixels"], found["computed pixels"], found["pixels"]] == [
        layers[0].kept, 64, 256,
    ]  # fmt: skip
    assert [found["macs"], found["macs computed"]] == [layers[0].macs, 99]
    rest = tracks(perfetto_trace(profile_of(item)))["m", OPERATORS][-1].about
    assert "macs" not in rest, "what is not known is left out"


def test_without_operators_there_is_no_track_of_them() -> None:
    text = perfetto_trace(profile_of(in_turns("m", [[1.0]])))
    assert OPERATORS not in text


def test_what_one_process_measured_is_laid_out_too() -> None:
    profile = profile_of(
        measurement("m", runner_output(samples_us=[1.0, 2.0], ops=True)), emulated=True
    )
    found = tracks(perfetto_trace(profile))
    name = "m (emulated: times mean nothing)"
    assert durations(found[name, RUNS]) == [1000, 2000]
    assert durations(found[name, OPERATORS], depth=1) == [900_000, 100_000]


def test_a_model_without_times_is_a_process_without_slices() -> None:
    bare = runner_output().model_copy(update={"timing": None})
    profile = profile_of(measurement("bare", bare), in_turns("m", [[1.0]]))
    assert list(tracks(perfetto_trace(profile))) == [("m", RUNS)]


def test_turns_and_the_load_between_them_are_told() -> None:
    profile = profile_of(in_turns("m", [[1.0], [2.0], [3.0]])).model_copy(
        update={"load": [0.25, 1.5]}
    )
    found = events(perfetto_trace(profile))
    counted = [(nanoseconds(e), e["args"]["cores"]) for e in found if e["ph"] == "C"]
    assert counted == [(0, Decimal("0.25")), (1000, Decimal("1.5"))]
    assert [(nanoseconds(e), e["name"]) for e in found if e["ph"] == "i"] == [
        (0, "turn 1"), (1000, "turn 2"), (3000, "turn 3"),
    ]  # fmt: skip


def test_models_of_one_name_are_two_processes() -> None:
    profile = profile_of(in_turns("m", [[1.0]]), in_turns("m", [[2.0]]))
    found = tracks(perfetto_trace(profile))
    assert durations(found["m", RUNS]) == [1000]
    assert durations(found["m #2", RUNS]) == [2000]


def test_no_control_character_of_a_name_is_left(tmp_path: Path) -> None:
    layers = [
        one.model_copy(update={"name": "\x1b[2J\u202e\udcff"}) for one in two_layers(tmp_path)
    ]
    item = timed_in_turns("\x9b31m", [([9.0], listed(conv(1.0), conv(2.0)))], layers)
    text = perfetto_trace(profile_of(item))
    assert text.isascii()
    assert text.replace("\n", "").isprintable()
    named = {one.name for slices in tracks(text).values() for one in slices}
    assert "\\x1b[2J\\u202e\\xff" in named


# --- times add up ----------------------------------------------------------------------------

NANOSECONDS = st.integers(0, 10**12)
MICROSECONDS = st.floats(0, 1e9)


@given(st.lists(st.lists(NANOSECONDS, min_size=1, max_size=4), min_size=1, max_size=4))
def test_whole_nanoseconds_stay_what_they_are(turns: list[list[int]]) -> None:
    item = in_turns("m", [[ns / 1000 for ns in one] for one in turns])
    found = tracks(perfetto_trace(profile_of(item)))["m", RUNS]
    assert durations(found) == [ns for one in turns for ns in one]


@given(st.lists(st.lists(MICROSECONDS, min_size=1, max_size=6), min_size=1, max_size=4))
def test_a_track_adds_up_to_the_times_of_the_profile(turns: list[list[float]]) -> None:
    """Each to the picosecond, as the module says; the sum is rounded once."""
    item = in_turns("m", turns)
    found = durations(tracks(perfetto_trace(profile_of(item)))["m", RUNS])
    exact = [Fraction(round(us * 1_000_000), 1000) for one in turns for us in one]
    assert abs(sum(found) - sum(exact, Fraction(0))) <= Fraction(1, 2)
    assert all(abs(own - wanted) <= 1 for own, wanted in zip(found, exact, strict=True))


@given(st.lists(MICROSECONDS, min_size=2, max_size=2), st.integers(2, 5))
def test_operators_add_up_to_their_run(times: list[float], turns: int) -> None:
    ops = listed(*map(conv, times), remainder_us=0.3895)
    item = timed_in_turns("m", [([9.0], ops)] * turns)
    found = tracks(perfetto_trace(profile_of(item)))["m", OPERATORS]
    inner = [one for one in found if one.depth == 1]
    outer = [one for one in found if one.depth == 0]
    for index, run in enumerate(outer):
        parts = inner[3 * index : 3 * index + 3]
        assert [parts[0].begin, parts[-1].end] == [run.begin, run.end]
        assert all(a.end == b.begin for a, b in pairwise(parts))
    exact = turns * sum(round(us * 1_000_000) for us in (*times, 0.3895))
    assert abs(sum(durations(found)) - Fraction(exact, 1000)) <= Fraction(1, 2)
