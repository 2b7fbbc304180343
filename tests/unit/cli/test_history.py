"""``deploy history`` as its user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # altair brings it
import pytest
from typer.testing import CliRunner, Result

from support.histories import figures, run, write
from support.places import REPOSITORY
from support.profiles import in_turns, profile_of
from toolchain.cli.app import app
from toolchain.errors import DeployError
from toolchain.profile.history import append

SCHEMA = json.loads((REPOSITORY / "docs/reference/schemas/series.json").read_text())


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")


def deploy(*words: object) -> Result:
    return CliRunner().invoke(app, ["history", *map(str, words)])


def document(*words: object) -> Any:
    done = deploy(*words, "--json")
    assert done.exit_code == 0, done.exception
    found = json.loads(done.stdout)
    jsonschema.Draft202012Validator(SCHEMA).validate(found)
    return found


def refused(*words: object) -> DeployError:
    error = deploy(*words).exception
    assert isinstance(error, DeployError), error
    return error


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Two models, 30 times on one board, and one of them once on another one."""
    runs = [
        run(figures("dense", 1000.0 + day), figures("s20", 800.0, doubts=["warm"]), day=day)
        for day in range(30)
    ]
    other = run(figures("s20", 5.0, instructions=100.0), day=40, board="qemu", emulated=True)
    return write(tmp_path / "h.jsonl", [*runs, other])


# --- tables ----------------------------------------------------------------------------------


def test_what_profiles_add_is_listed(tmp_path: Path) -> None:
    for median in (100.0, 110.0):
        turns = [[median - 1], [median + 1]] * 10
        append(tmp_path / "h", profile_of(in_turns("m", turns)))
    done = deploy("--history", tmp_path / "h")
    assert done.exit_code == 0, done.exception
    (line,) = [line for line in done.stdout.splitlines() if "rpi4" in line]
    assert [cell.strip() for cell in line.strip("│").split("│")] == [
        "rpi4", "m", "1", "2", "2026-01-02", "2026-01-02", "110 µs", "+10.00%", "+10.00%",
    ]  # fmt: skip


def test_without_a_model_each_series_has_a_row(log: Path) -> None:
    text = deploy("--history", log).stdout
    rows = [line for line in text.splitlines() if line.startswith("│")]
    assert len(rows) == 3
    assert "800 µs ?" in rows[2]


def test_the_users_own_history_is_shown_where_none_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: Path
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    (tmp_path / "tileskip").mkdir()
    log.rename(tmp_path / "tileskip/history.jsonl")
    assert "dense" in deploy().stdout


def test_a_model_has_a_table_of_its_runs_on_each_board(log: Path) -> None:
    text = deploy("s20", "--history", log).stdout
    assert "s20, 1 thread, on Emulated board (qemu)" in text
    assert "s20, 1 thread, on Raspberry Pi 4 (rpi4)" in text
    assert "dense" not in text
    assert "2026-01-31" in text
    assert "The latest 20 of 30 runs; --last 30 shows all." in text
    assert "2026-01-11" not in text
    assert text.index("2026-01-12") < text.index("2026-01-31")


def test_as_many_runs_are_shown_as_are_asked_for(log: Path) -> None:
    text = deploy("dense", "--history", log, "--last", 2).stdout
    assert len([line for line in text.splitlines() if line.startswith("│ 2026")]) == 2


def test_boards_threads_and_runtimes_are_chosen(tmp_path: Path) -> None:
    log = write(
        tmp_path / "h",
        [run(figures("a"), figures("b", stock=True)), run(figures("c"), board="rpi5", threads=4)],
    )
    for words, models in (
        (["--board", "rpi5"], ["c"]), (["-b", "rpi4"], ["a", "b"]), (["--threads", "2-4"], ["c"]),
        (["--stock"], ["b"]), (["--patched"], ["a", "c"]), ([], ["a", "b", "c"]),
    ):  # fmt: skip
        found = document("--history", log, *words)
        assert [one["model"] for one in found["series"]] == models


def test_a_name_is_taken_as_the_table_shows_it(tmp_path: Path) -> None:
    log = write(tmp_path / "h", [run(figures("a\x1b\nb"))])
    assert "a\\x1b\\nb" in deploy("--history", log).stdout
    done = deploy("a\\x1b\\nb", "--history", log)
    assert "2026-01-02 10:30" in done.stdout


def test_ten_thousand_runs_are_listed(tmp_path: Path) -> None:
    runs = (run(figures("m", 1000.0 + index), day=index / 100) for index in range(10_000))
    log = write(tmp_path / "h", runs)
    (one,) = document("--history", log)["series"]
    assert (one["runs"], one["latest"], one["ratio"]) == (10_000, 10_999.0, 10_999 / 10_998)
    assert [point["median_us"] for point in one["points"]] == [10_980.0 + x for x in range(20)]
    assert "10,000" in deploy("--history", log).stdout
    assert "The latest 20 of 10,000 runs" in deploy("m", "--history", log).stdout


# --- JSON ------------------------------------------------------------------------------------


def test_json_has_all_and_fits_its_schema(log: Path) -> None:
    found = document("--history", log)
    assert (found["schema"], found["history"]) == (1, str(log))
    assert (found["runs"], found["skipped"]) == (31, 0)
    emulated, dense, s20 = found["series"]
    assert (emulated["figure"], emulated["latest"]) == ("instructions", 100.0)
    assert (dense["figure"], dense["latest"], dense["ratio"]) == ("median_us", 1029.0, 1029 / 1028)
    assert dense["ratio_to_median"] == 1029 / 1014
    assert (dense["runs"], len(dense["points"])) == (30, 20)
    assert (dense["doubtful"], s20["doubtful"]) == (False, True)
    assert s20["points"][-1]["doubts"] == ["warm"]


def test_json_has_as_many_runs_as_are_asked_for(log: Path) -> None:
    for last, count in ((3, 3), (100, 30)):
        (one,) = document("dense", "--history", log, "--last", last)["series"]
        times = [point["median_us"] for point in one["points"]]
        assert times == [1030.0 - count + index for index in range(count)]


def test_the_schema_refuses_another_document(log: Path) -> None:
    found = document("--history", log)
    found["series"][0].pop("ratio")
    with pytest.raises(jsonschema.ValidationError, match="'ratio' is a required property"):
        jsonschema.Draft202012Validator(SCHEMA).validate(found)


# --- the plot --------------------------------------------------------------------------------


def test_a_plot_is_drawn_beside_the_table(log: Path, tmp_path: Path) -> None:
    done = deploy("--history", log, "--plot", tmp_path / "p.svg")
    assert done.exit_code == 0, done.exception
    assert "dense" in done.stdout
    assert (tmp_path / "p.svg").read_bytes().startswith(b"<?xml")


def drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *words: object) -> dict[str, int]:
    """How many runs of each model a plot is given."""
    given: dict[str, int] = {}

    def note_down(series: Any, *_paths: Path) -> list[Any]:
        given.update({one.model: len(one.points) for one in series})
        return []

    monkeypatch.setattr("toolchain.report.history_plot.plot_history", note_down)
    done = deploy(*words, "--plot", tmp_path / "p.svg")
    assert done.exit_code == 0, done.exception
    return given


def test_a_plot_has_all_runs_unless_a_number_is_given(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--history", log, "--board", "rpi4")
    assert drawn(tmp_path, monkeypatch, *words) == {"dense": 30, "s20": 30}
    assert drawn(tmp_path, monkeypatch, *words, "--last", 7) == {"dense": 7, "s20": 7}


def test_a_table_beside_a_plot_has_no_more_runs_than_without(log: Path, tmp_path: Path) -> None:
    words = ("dense", "--history", log)
    assert deploy(*words, "--plot", tmp_path / "p.png").stdout == deploy(*words).stdout


def test_what_a_plot_left_out_is_told(tmp_path: Path) -> None:
    log = write(tmp_path / "h", [run(figures("m"), *(figures(f"x{x}", None) for x in range(7)))])
    done = deploy("--history", log, "--plot", tmp_path / "p.png")
    assert done.exit_code == 0
    assert "x0, 1 thread on rpi4; " in done.stderr
    assert "x4, 1 thread on rpi4; and 2 more" in done.stderr


def test_a_plot_does_not_take_the_place_of_the_history(tmp_path: Path) -> None:
    log = write(tmp_path / "h.svg", [run(figures("m"))])
    before = log.read_bytes()
    error = refused("--history", log, "--plot", tmp_path / "." / "h.svg")
    assert error.exit_code == 13
    assert "is read here" in error.what
    assert log.read_bytes() == before


# --- what is wrong ---------------------------------------------------------------------------


def test_torn_lines_are_counted_and_told(log: Path) -> None:
    log.write_bytes(log.read_bytes()[:-50])
    done = deploy("--history", log)
    assert done.exit_code == 0
    assert f"{log}: 1 line is left out: torn" in done.stderr
    with log.open("ab") as stream:
        stream.write(b"\n{}\n[1]\n")
    assert f"{log}: 3 lines are left out" in deploy("dense", "--history", log).stderr
    assert document("--history", log)["skipped"] == 3
    assert deploy("--history", log, "--json").stderr == ""


@pytest.mark.parametrize(
    ("content", "said"), [(b"", ""), (b"{}\n[]\n", ": 2 lines of it are none")]
)
def test_a_history_without_a_run_is_an_error(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "h").write_bytes(content)
    error = refused("--history", tmp_path / "h")
    assert error.exit_code == 3
    assert error.what == f"{tmp_path / 'h'}: there is no run in it{said}"
    assert "run: deploy profile " in str(error.hint)


def test_a_history_that_is_not_there_is_an_error_with_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    error = refused("--history", "h.jsonl")
    assert error.exit_code == 3
    assert error.what == "h.jsonl: there is no history"
    assert error.hint == "deploy profile adds a run each time; run: deploy profile --help"
    (tmp_path / "my net.tflite").write_bytes(b"")
    (tmp_path / "-x.tflite").write_bytes(b"")
    assert str(refused("--history", "h.jsonl").hint).endswith(
        "run: deploy profile 'my net.tflite' --history h.jsonl"
    )
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert str(refused().hint).endswith("run: deploy profile 'my net.tflite'")
    (tmp_path / "g.jsonl").write_bytes(b"")
    assert refused("--history", "h.jsonl").hint == "did you mean g.jsonl?"


def test_what_is_no_file_is_told_as_such(tmp_path: Path) -> None:
    error = refused("--history", tmp_path)
    assert error.exit_code == 3
    assert "Is a directory" in error.what


def test_a_model_that_is_not_in_it_is_told_with_those_that_are(log: Path) -> None:
    error = refused("s21", "--history", log)
    assert error.exit_code == 3
    assert error.what == f"{log}: has no model 's21'"
    assert error.hint == "did you mean 's20'? there are: s20, dense"


def test_a_number_of_runs_without_a_model_is_wrong_use(log: Path) -> None:
    assert deploy("--history", log, "--last", 5).exit_code == 2
    assert deploy("dense", "--history", log, "--last", 0).exit_code == 2
    assert deploy("--history", log, "--threads", "x").exit_code == 2


# --- where it is printed ---------------------------------------------------------------------


def piped(*words: object, **variables: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, REPOSITORY / "deploy.py", "history", *words]
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    return subprocess.run(
        list(map(str, line)), capture_output=True, text=True, check=False,
        env=environment | variables,
    )  # fmt: skip


def test_a_pipe_gets_a_hundred_columns_without_colour(log: Path) -> None:
    for words in ([], ["s20", "dense"]):
        done = piped(*words, "--history", log)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        assert "\x1b" not in done.stdout
        assert max(map(len, done.stdout.splitlines())) <= 100


@pytest.mark.parametrize("columns", [70, 160])
def test_it_reads_at_every_width(log: Path, columns: int) -> None:
    for words in ([], ["s20"]):
        done = piped(*words, "--history", log, COLUMNS=str(columns))
        assert max(map(len, done.stdout.splitlines())) <= columns
        assert "800 µs ?" in done.stdout


def test_a_mistake_ends_without_a_traceback(tmp_path: Path) -> None:
    done = piped("--history", tmp_path / "absent.jsonl")
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
