"""A history: lines that are appended whole, and what is read of a file that was damaged."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.places import REPOSITORY
from support.profiles import in_turns, measurement, powered, profile_of
from support.runner_outputs import runner_output
from toolchain.errors import ModelError, OutputError
from toolchain.profile import history
from toolchain.profile.document import Profile
from toolchain.profile.facts import BoardFacts, Vitals
from toolchain.profile.history import (
    append,
    check_path,
    latest,
    latest_of_each,
    read,
    run_of,
)

TURNS = [[10.0 + index] * 2 for index in range(9)]


def profile(name: str = "m", us: float = 0.0) -> Profile:
    return profile_of(in_turns(name, [[us + one for one in turn] for turn in TURNS]))


def skipped(path: Path) -> int:
    runs = read(path)
    assert all(run.models for run in runs)
    return runs.skipped


def test_a_line_holds_what_a_trend_needs(tmp_path: Path) -> None:
    facts = BoardFacts(
        emulated=False, cores={"Cortex-A72": 4}, max_frequency_khz=1_800_000,
        vitals=Vitals(governor="performance", frequency_khz=600_000),
    )  # fmt: skip
    item = in_turns("s20", TURNS, instructions=[500]).model_copy(update={"doubts": ["it is warm"]})
    written = append(tmp_path / "h", profile_of(item, facts=facts), tmp_path / "run")
    (run,) = read(tmp_path / "h")
    assert run == written
    assert [run.board.name, run.board.title] == ["rpi4", "Raspberry Pi 4"]
    assert [run.board.cores, run.board.governor] == [{"Cortex-A72": 4}, "performance"]
    assert [run.board.frequency_khz, run.board.max_frequency_khz] == [600_000, 1_800_000]
    assert [run.tool, run.threads, run.saved] == ["0.1.0", 1, str(tmp_path / "run")]
    assert [run.runtime.version, run.runtime.xnnpack] == ["0.1.0", "4ea82e5"]
    assert run.created.year == 2026
    (figures,) = run.models
    assert [figures.name, figures.sha256, figures.stock] == ["s20", "0" * 64, False]
    assert [figures.median_us, figures.p95_us] == [14.0, item.output.timing.p95_us]  # type: ignore[union-attr]
    assert figures.turns_us == [turn[0] for turn in TURNS]
    assert figures.interval_us is not None
    assert figures.interval_us[0] < 14.0 < figures.interval_us[1]
    assert [figures.instructions, figures.peak_rss_kib, figures.bytes] == [500.0, 2048, 100]
    assert figures.doubts == ["it is warm"]


def test_what_is_not_known_is_none(tmp_path: Path) -> None:
    bare = runner_output().model_copy(update={"timing": None, "peak_rss_kib": None})
    append(tmp_path / "h", profile_of(measurement("m", bare)))
    (run,) = read(tmp_path / "h")
    assert run.saved is None
    assert run.board.governor is None
    (figures,) = run.models
    absent = [figures.median_us, figures.interval_us, figures.p95_us, figures.instructions]
    assert [*absent, figures.peak_rss_kib] == [None] * 5
    assert figures.turns_us == []


def test_energy_is_kept_with_what_it_was_read_from(tmp_path: Path) -> None:
    append(tmp_path / "h", profile_of(powered(in_turns("m", TURNS), 5.0)))
    (run,) = read(tmp_path / "h")
    (figures,) = run.models
    assert figures.energy_j == pytest.approx(5.0 * 14e-6)
    assert (figures.power_w, figures.energy_source) == (5.0, "pmic")


def test_a_line_of_before_there_was_energy_is_read(tmp_path: Path) -> None:
    path = tmp_path / "h"
    append(path, profile())
    line = json.loads(path.read_text())
    for name in ("energy_j", "power_w", "energy_source"):
        assert line["models"][0].pop(name) is None
    path.write_text(json.dumps(line) + "\n")
    assert skipped(path) == 0
    (run,) = read(path)
    assert run.models[0].energy_j is None


def test_the_runtime_of_each_model_is_told() -> None:
    run = run_of(profile_of(measurement("m"), measurement("m", runner_output(patched=False))))
    assert [one.stock for one in run.models] == [False, True]


def test_the_id_is_of_the_profile() -> None:
    one, same, other = run_of(profile()), run_of(profile()), run_of(profile(us=1.0))
    assert one.id == same.id != other.id
    assert len(one.id) == 16


def test_runs_come_in_the_order_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "made/for/it/h.jsonl"
    for name in "abc":
        append(path, profile(name))
    assert [run.models[0].name for run in read(path)] == ["a", "b", "c"]
    assert len(path.read_bytes().splitlines()) == 3
    assert list(path.parent.iterdir()) == [path], "no lock is left"


def test_no_control_character_of_a_name_is_in_the_file(tmp_path: Path) -> None:
    name = "\x1b[2J\n\x9b\u2028\u202e=é\udcff"
    append(tmp_path / "h", profile(name))
    text = (tmp_path / "h").read_text()
    assert text.count("\n") == 1
    assert text.rstrip("\n").isprintable()
    (run,) = read(tmp_path / "h")
    assert run.models[0].name == name.replace("\udcff", "\\xff")


def test_a_history_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        read(tmp_path / "absent")


# --- the newest of a model -------------------------------------------------------------------


def test_the_newest_figures_of_a_model_are_found(tmp_path: Path) -> None:
    path = tmp_path / "h"
    runs = [append(path, profile(name, us)) for name, us in (("a", 0), ("b", 5), ("a", 9))]
    found = latest(path, board="rpi4", model="a")
    assert found is not None
    assert found.run == runs[2]
    assert found.figures == runs[2].models[0]
    earlier = latest(path, board="rpi4", model="a", before=runs[2].id)
    assert earlier is not None
    assert earlier.run == runs[0]
    newest = latest(path, board="rpi4")
    assert newest is not None
    assert newest.run == runs[2]


@pytest.mark.parametrize(
    "other",
    [
        {"board": "rpi5"}, {"model": "b"}, {"sha256": "1" * 64}, {"stock": True}, {"threads": 4},
        {"before": "first"},
    ],
    ids=lambda value: next(iter(value)),
)  # fmt: skip
def test_figures_of_something_else_are_not_taken(tmp_path: Path, other: dict[str, Any]) -> None:
    run = append(tmp_path / "h", profile("a"))
    wanted: dict[str, Any] = {
        "board": "rpi4", "model": "a", "sha256": "0" * 64, "stock": False, "threads": 1,
    }  # fmt: skip
    assert latest(tmp_path / "h", **wanted) is not None
    other = {name: run.id if value == "first" else value for name, value in other.items()}
    assert latest(tmp_path / "h", **(wanted | other)) is None


def test_the_newest_figures_of_each_model_are_those_that_are_found_one_by_one(
    tmp_path: Path,
) -> None:
    path = tmp_path / "h"
    stock = measurement("a", runner_output(patched=False))
    runs = [
        append(path, profile_of(*items))
        for items in (
            [in_turns("a", TURNS), in_turns("b", TURNS)],
            [stock, in_turns("a", TURNS).model_copy(update={"threads": 4})],
            [in_turns("b", TURNS[1:])],
        )
    ]
    for before in (None, runs[2].id, runs[1].id, runs[0].id):
        every = latest_of_each(path, board="rpi4", before=before)
        assert len(every) == {None: 4, runs[2].id: 4, runs[1].id: 2, runs[0].id: 0}[before]
        for kind, found in every.items():
            assert found == latest(
                path, board="rpi4", model=kind.name, stock=kind.stock, threads=kind.threads,
                before=before,
            )  # fmt: skip
    assert latest_of_each(path, board="rpi5") == {}


# --- lines that are none ---------------------------------------------------------------------


def broken(change: Callable[[Any], object]) -> bytes:
    """A line with a fault: what a function does to its values."""
    values = json.loads(history._LINE.dump_json(run_of(profile())))
    change(values)
    return json.dumps(values).encode()


GARBLED = {
    "no JSON": b"{",
    "no text": b"\xff\xfe\x00",
    "another document": b'{"schema": 1}',
    "a number": b"17",
    "nested": b"[" * 100_000,
    "a later version": broken(lambda line: line.update(schema=2)),
    "a key is absent": broken(lambda line: line["models"][0].pop("doubts")),
    "a text for a number": broken(lambda line: line["models"][0].update(median_us="1")),
    "true for a number": broken(lambda line: line.update(threads=True)),
    "infinite": broken(lambda line: line["models"][0].update(turns_us=[1.0, float("inf")])),
    "too large": broken(lambda line: line["models"][0].update(p95_us=1e300)),
    "a count too large": broken(lambda line: line["models"][0].update(peak_rss_kib=10**400)),
    "one end": broken(lambda line: line["models"][0].update(interval_us=[1.0])),
    "no time": broken(lambda line: line.update(created="yesterday")),
    "too long": b'"' + b"x" * (5 << 20) + b'"',
}


@pytest.mark.parametrize("line", GARBLED.values(), ids=GARBLED)
def test_a_garbled_line_is_left_out_and_counted(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "h"
    append(path, profile("a"))
    with path.open("ab") as stream:
        stream.write(line + b"\n")
    append(path, profile("b"))
    runs = read(path)
    assert [run.models[0].name for run in runs] == ["a", "b"]
    assert runs.skipped == 1


def test_keys_of_a_later_version_and_empty_lines_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "h").write_bytes(b"\n \n" + broken(lambda line: line.update(more=[1])) + b"\n\n")
    runs = read(tmp_path / "h")
    assert len(list(runs)) == 1
    assert runs.skipped == 0


def test_a_torn_last_line_is_left_out_and_the_next_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "h"
    append(path, profile("a"))
    append(path, profile("b"))
    path.write_bytes(path.read_bytes()[:-100])
    assert skipped(path) == 1
    append(path, profile("c"))
    runs = read(path)
    assert [run.models[0].name for run in runs] == ["a", "c"]
    assert runs.skipped == 1


# --- whole or not at all ---------------------------------------------------------------------


@pytest.fixture
def nearly_full(tmp_path: Path) -> Iterator[Path]:
    """A history whose next line does not fit: its file may not grow by more than a part of it."""
    path = tmp_path / "h"
    append(path, profile("a"))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 100, before[1]))
    yield path
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_the_file_as_it_was(nearly_full: Path) -> None:
    before = nearly_full.read_bytes()
    with pytest.raises(OutputError, match="h: cannot be written: File too large"):
        append(nearly_full, profile("b"))
    assert nearly_full.read_bytes() == before


# A write may take less than it is given, as on a disk that fills up. Here each one does, and
# dawdles: without a lock, lines of two writers would come to lie in each other.
MANY = """
import os, sys, time
from pathlib import Path
from support.profiles import in_turns, profile_of
from toolchain.profile.history import append
write = os.write
def slow(number, data):
    time.sleep(0.001)
    return write(number, data[:1000])
os.write = slow
profile = profile_of(in_turns(sys.argv[2], [[float(turn)] for turn in range(2000)]))
print("ready", flush=True)
sys.stdin.readline()
for _ in range(20):
    append(Path(sys.argv[1]), profile)
    print("appended", flush=True)
"""


def writer(path: Path, name: str) -> subprocess.Popen[str]:
    folders = os.pathsep.join((str(REPOSITORY), str(REPOSITORY / "tests")))
    process = subprocess.Popen(
        [sys.executable, "-c", MANY, str(path), name], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": folders},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_two_writers_at_once_lose_no_line(tmp_path: Path) -> None:
    path = tmp_path / "h"
    both = [writer(path, name) for name in "ab"]
    for process in both:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in both:
        process.communicate()
        assert process.returncode == 0
    runs = read(path)
    names = [run.models[0].name for run in runs]
    assert sorted(names) == ["a"] * 20 + ["b"] * 20
    assert runs.skipped == 0


def test_a_writer_that_is_killed_leaves_a_history(tmp_path: Path) -> None:
    process = writer(tmp_path / "h", "a")
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    append(tmp_path / "h", profile("b"))
    runs = read(tmp_path / "h")
    names = [run.models[0].name for run in runs]
    assert names[0] == "a"
    assert names[-1] == "b"
    assert runs.skipped <= 1


def test_who_holds_the_lock_is_waited_for_and_then_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "_PATIENCE_S", 0.1)
    append(tmp_path / "h", profile("a"))
    with (tmp_path / "h").open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(OutputError, match="another program has it locked"):
            append(tmp_path / "h", profile("b"))
    append(tmp_path / "h", profile("c"))
    assert len(list(read(tmp_path / "h"))) == 2


# --- places ----------------------------------------------------------------------------------


def test_a_place_that_cannot_be_written_is_told_before(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for path, said in (
        (Path("-"), "standard output"),
        (tmp_path / "folder", "is a folder"),
        (tmp_path / "absent/h", "cannot be written"),
        (tmp_path / "pipe", "no regular file"),
        (Path("/dev/null"), "no regular file"),
    ):
        with pytest.raises(OutputError, match=said):
            check_path(path)
    with pytest.raises(OutputError, match="is read here"):
        check_path(tmp_path / "m.tflite", inputs=[tmp_path / "m.tflite"])
    check_path(tmp_path / "h")
    assert not (tmp_path / "h").exists()


def test_a_pipe_that_came_to_lie_there_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OutputError, match="no regular file"):
        append(tmp_path / "pipe", profile())
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_the_users_own_history_is_among_the_users_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert history.default_path() == tmp_path / "tileskip/history.jsonl"
