"""The command line: ``deploy sweep``."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from support.patience import PATIENCE, await_that
from support.tiny_sweeps import DENSE, FILES, TUNED, deploy_sweep, write_sweep
from support.tiny_training import HELD, HOLD
from toolchain.cli.app import app
from toolchain.errors import ModelError


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["sweep", *map(str, arguments)], catch_exceptions=False)


def document(*arguments: str | Path) -> dict[str, Any]:
    result = invoke(*arguments, "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def finished(folder: Path) -> dict[str, int]:
    """The results of a folder, and when each was written."""
    found = (folder / "done").glob("[!.]*/result.json")
    return {path.parent.name: path.stat().st_mtime_ns for path in found}


def test_a_dry_run_tells_the_tasks_and_writes_nothing(here: Path) -> None:
    path = write_sweep(here, DENSE + TUNED + FILES)
    before = sorted(here.iterdir())
    said = document(path, "--dry-run")
    assert said["counts"]["train"] == {
        "tasks": 6, "done": 0, "at work": 0, "failed": 0, "left out": 0,
    }  # fmt: skip
    assert [task["kind"] for task in said["tasks"]].count("evaluate") == 6
    assert sorted(here.iterdir()) == before
    table = invoke(path, "--dry-run").stdout
    assert "evaluate" in table
    assert "18" in table


def test_a_sweep_is_done_and_its_results_are_one_file(here: Path) -> None:
    path = write_sweep(here, DENSE + FILES)
    result = invoke(path, "--local", "--output", "out.json")
    assert result.exit_code == 0, result.output
    assert "6 of 6 tasks are done" in result.stdout
    assert "1/6 train dense-seed0: accuracy" in result.stderr
    found = json.loads(Path("sweep.sweep/sweep.json").read_text())
    assert json.loads(Path("out.json").read_text()) == found
    (one,) = found["configurations"]
    assert (one["name"], one["seeds"], one["fronts"]) == (
        "dense", [0, 1], ["multiply-accumulates"],
    )  # fmt: skip
    assert one["accuracy"] == pytest.approx(sum(row["accuracy"] for row in found["rows"]) / 2)
    for row in found["rows"]:
        assert Path("sweep.sweep", row["file"]).stat().st_size == row["bytes"]
        assert row["accuracy"] * 24 == pytest.approx(round(row["accuracy"] * 24))
    before = finished(here / "sweep.sweep")
    assert document(path, "--local")["rows"] == found["rows"]
    assert finished(here / "sweep.sweep") == before
    assert document(path, "--dry-run")["counts"]["train"]["done"] == 2


def test_a_task_that_fails_is_told_and_the_others_are_done(here: Path) -> None:
    models = '["support.tiny_training:net", "support.tiny_training:net_of_ten"]'
    path = write_sweep(here, f'[[grid]]\nname = "g"\nmodels = {models}\n' + FILES)
    result = CliRunner().invoke(app, ["sweep", str(path), "--local"])
    assert isinstance(result.exception, ModelError)
    assert "train g-net_of_ten-seed0: support.tiny_training:net_of_ten gives [1, 10]" in (
        " ".join(result.stdout.split())
    )
    assert "3 of 6 tasks are done" in result.stdout
    found = json.loads(Path("sweep.sweep/sweep.json").read_text())
    assert [one["left_out"] for one in found["failed"]] == [2]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--local", "--address", "a:1"], "leave --address away"),
        (["--local", "--jobs", "2"], "leave --jobs away"),
        (["--local", "--ship"], "leave --ship away"),
        (["--address", "a:1", "--jobs", "2"], "leave --address away"),
        (["--output", "-", "--json"], "leave one of the two away"),
    ],
)
def test_options_that_do_not_go_together_are_told(
    here: Path, options: list[str], said: str
) -> None:
    result = invoke(write_sweep(here, DENSE), *options)
    assert result.exit_code == 2
    assert said in " ".join(result.output.replace("│", " ").split())


SEARCH = """[search]
trials = 3
at_once = 1
startup = 1
objectives = ["accuracy", "macs"]
sparsity = { low = 0.1, high = 0.5 }
settings = { "optimizer.learning_rate" = { low = 0.01, high = 0.2, log = true } }
"""


def test_a_search_is_told_as_it_goes_and_its_results_are_in_the_same_file(here: Path) -> None:
    pytest.importorskip("optuna")
    path = write_sweep(here, SEARCH + FILES)
    said = document(path, "--dry-run")
    assert said["counts"]["train"]["tasks"] == 1
    assert said["search"]["tried"] == []
    result = invoke(path, "--local")
    assert result.exit_code == 0, result.output
    for number in range(3):
        assert f"trial {number} of 3: " in result.stderr
    assert "search: 3 of 3 trials have ended" in result.stdout
    assert "best: search-" in result.stdout
    found = json.loads(Path("sweep.sweep/sweep.json").read_text())
    assert [one["name"] for one in found["configurations"]] == ["search-0", "search-1", "search-2"]
    for one, other in zip(found["search"]["tried"], found["configurations"], strict=True):
        assert one["values"]["accuracy"] == other["accuracy"]
        assert one["best"] is bool(other["fronts"])
        assert 0.1 <= one["parameters"]["sparsity"] <= 0.5
    before = finished(here / "sweep.sweep")
    assert document(path, "--local")["search"] == found["search"]
    assert finished(here / "sweep.sweep") == before
    assert "search: 3 of 3 trials" in invoke(path, "--dry-run").stderr


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_sweep_that_was_stopped_goes_on_and_ends_as_one_that_was_not(
    here: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    limit, folder = here / "limit", here / "kept"
    monkeypatch.setenv(HOLD, str(limit))
    path = write_sweep(
        here, DENSE, data={"source": HELD}, training={"epochs": 3, "checkpoint_every": 1}
    )
    whole = document(path, "--local", "--folder", "whole")
    limit.write_text("150")  # the second epoch of each training's process

    line, environment = deploy_sweep(path, "--local", "--folder", folder)
    process = subprocess.Popen(line, env=environment, stderr=subprocess.PIPE, text=True)
    with process:
        await_that("a state is saved", lambda: [*folder.glob("work/*/state.pt")], PATIENCE)
        assert finished(folder) == {}
        process.send_signal(number)
        limit.unlink()
        said = process.communicate(timeout=PATIENCE)[1]
    if number != signal.SIGKILL:
        assert process.returncode == 128 + number
        assert "the same command goes on from there" in said
    assert len(finished(folder)) < 2
    before = finished(folder)
    again = document(path, "--local", "--folder", folder)
    assert again["rows"] == whole["rows"]
    assert again["configurations"] == whole["configurations"]  # also the files' hashes
    assert before.items() <= finished(folder).items()
    assert len(finished(folder)) == 2
