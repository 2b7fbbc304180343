"""The trace of a saved run in Perfetto's own trace processor, asked by SQL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.profiles import in_turns, profile_of
from support.viewers import Script
from toolchain.profile.document import Measurement, Profile
from toolchain.profile.export.perfetto_trace import OPERATORS, RUN, RUNS, perfetto_trace

_OF_TRACKS = """
    FROM slice JOIN thread_track ON slice.track_id = thread_track.id
    JOIN thread USING (utid) JOIN process USING (upid)
"""
QUERIES = {
    "tracks": f"""
        SELECT process.name AS model, thread.name AS track, depth, COUNT(*) AS slices,
        SUM(dur) AS total {_OF_TRACKS} GROUP BY model, track, depth
    """,
    "slices": f"""
        SELECT process.name AS model, thread.name AS track, slice.name AS name, depth, ts, dur
        {_OF_TRACKS} ORDER BY slice.id
    """,
    "about": """
        SELECT slice.name AS name, flat_key AS key, display_value AS value
        FROM slice JOIN args USING (arg_set_id) WHERE depth = 1
    """,
    "load": "SELECT ts, value FROM counter ORDER BY ts",
    "turns": "SELECT ts, name FROM slice WHERE dur = 0 AND name GLOB 'turn *' ORDER BY ts",
    "faults": "SELECT name FROM stats WHERE value > 0 AND severity IN ('error', 'data_loss')",
}
Rows = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def found(saved: Path, script: Script, node: str) -> Rows:
    """What the trace processor answers."""
    rows: Rows = script("query_trace.py", node, saved / "trace.json", given=QUERIES)
    return rows


def nanoseconds(us: float) -> int:
    """A time that the runner printed, of three digits behind the point."""
    return round(us * 1000)


def tracks(found: Rows) -> dict[tuple[str, str, int], tuple[int, int]]:
    """Slices and their sum in nanoseconds, by model, track and depth."""
    return {
        (row["model"], row["track"], row["depth"]): (row["slices"], row["total"])
        for row in found["tracks"]
    }


def operators(item: Measurement) -> list[float]:
    """All times of operators that a profile has, turn by turn."""
    return [us for turn in item.turns for us in turn.ops_us or []]


def test_the_trace_is_read_without_a_fault(found: Rows) -> None:
    assert found["faults"] == []


def test_tracks_add_up_to_the_times_of_the_profile(found: Rows, profile: Profile) -> None:
    totals = tracks(found)
    assert {model for model, _, _ in totals} == {"dense", "s20"}
    for item in profile.measurements:
        assert item.output.timing is not None
        samples = item.output.timing.samples_us
        assert totals[item.name, RUNS, 0] == (40, sum(map(nanoseconds, samples)))
        # Medians of an even number of runs have half nanoseconds: the sum is rounded, once.
        exact_ps = sum(round(us * 1_000_000) for us in operators(item))
        whole = (exact_ps + 500) // 1000
        assert totals[item.name, OPERATORS, 0] == (len(item.turns), whole)
        assert totals[item.name, OPERATORS, 1] == (len(operators(item)), whole)


def test_slices_have_the_times_and_names_of_the_profile(found: Rows, profile: Profile) -> None:
    for item in profile.measurements:
        own = [row for row in found["slices"] if row["model"] == item.name]
        runs = [row for row in own if row["track"] == RUNS]
        assert {row["name"] for row in runs} == {RUN}
        assert item.output.timing is not None
        assert [row["dur"] for row in runs] == [*map(nanoseconds, item.output.timing.samples_us)]
        inner = [row for row in own if row["depth"] == 1]
        alone = [row.name for row in profile.measurements[0].operators]
        assert [row["name"] for row in inner] == alone * len(item.turns)
        differences = [
            abs(row["dur"] - us * 1000) for row, us in zip(inner, operators(item), strict=True)
        ]
        assert max(differences) <= 1


def test_operators_lie_end_to_end_in_their_run(found: Rows) -> None:
    for model in ("dense", "s20"):
        own = [row for row in found["slices"] if (row["model"], row["track"]) == (model, OPERATORS)]
        end = 0
        for row in own:
            if row["depth"] == 0:
                end = row["ts"]
            else:
                assert row["ts"] == end
                end += row["dur"]


def test_an_operator_says_what_it_is(found: Rows, profile: Profile) -> None:
    layer = next(one for one in profile.measurements[1].layers if one.masked)
    about = {(row["key"], row["value"]) for row in found["about"] if row["name"] == layer.name}
    assert ("args.layer", layer.name) in about
    assert ("args.kept pixels", str(layer.kept)) in about
    assert ("args.macs", str(layer.macs)) in about
    assert any(key == "args.micro-kernel" and "igemm" in value for key, value in about)


def test_turns_and_load_are_told(found: Rows, profile: Profile) -> None:
    assert [row["value"] for row in found["load"]] == pytest.approx(profile.load)
    turns = range(1, len(profile.measurements[0].turns) + 1)
    assert [row["name"] for row in found["turns"]] == [f"turn {n}" for n in turns]
    assert [row["ts"] for row in found["turns"]] == [row["ts"] for row in found["load"]]


def test_any_number_of_nanoseconds_is_read_as_it_is(
    script: Script, node: str, tmp_path: Path
) -> None:
    """Such that a float of microseconds, times 1000 and cut off, is another number."""
    wanted = [n for n in range(1, 60_000) if int(n / 1000 * 1000) != n or n % 97 == 0]
    assert any(int(n / 1000 * 1000) != n for n in wanted)
    wanted += [10**12 + n for n in range(50)]
    path = tmp_path / "trace.json"
    path.write_text(perfetto_trace(profile_of(in_turns("m", [[ns / 1000 for ns in wanted]]))))
    rows = script("query_trace.py", node, path, given={"all": "SELECT dur FROM slice ORDER BY id"})
    durations = [row["dur"] for row in rows["all"] if row["dur"]]
    assert durations == wanted


def test_names_of_anybody_do_no_harm(script: Script, node: str, tmp_path: Path) -> None:
    name = '\x1b[2J"},{"ph":"X\u202e\udcff </script>'
    path = tmp_path / "trace.json"
    path.write_text(perfetto_trace(profile_of(in_turns(name, [[1.0]]))))
    rows = script("query_trace.py", node, path, given=QUERIES)
    assert [row["model"] for row in rows["tracks"]] == ['\\x1b[2J"},{"ph":"X\\u202e\\xff </script>']
    assert rows["faults"] == []
