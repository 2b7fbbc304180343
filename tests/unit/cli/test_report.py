"""``deploy report``: what it writes, prints and refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from support.places import REPOSITORY
from support.reports import estimate_of, measured_profile, models
from toolchain.cli.app import app
from toolchain.errors import ModelError, OutputError
from toolchain.formats.json_text import to_json


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with models, a profile, an estimate and accuracies."""
    files = models(tmp_path, dense=0.0, s25=0.25)
    measured_profile(files).save(tmp_path / "profile.json")
    (tmp_path / "estimate.json").write_text(to_json(estimate_of(files)))
    (tmp_path / "accuracy.json").write_text('{"dense": 0.92, "s25": 0.91, "gone": 0.5}')
    (tmp_path / "published.csv").write_text("model,ms,source\ndense,1.5,a bench\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def report(*words: str) -> Result:
    return CliRunner().invoke(app, ["report", *words])


def new(place: Path) -> set[str]:
    """What is in the folder that was not there before."""
    known = {"dense.tflite", "s25.tflite", "profile.json", "estimate.json", "accuracy.json"}
    return {path.name for path in place.iterdir()} - known - {"published.csv"}


def test_a_page_is_written_and_what_came_out_is_said(place: Path) -> None:
    done = report("profile.json", "-m", ".", "-a", "accuracy.json", "--published", "published.csv")
    assert done.exit_code == 0, done.output
    assert "s25 is 1.24 times as fast as dense" in done.stdout
    assert "report.html: 4 charts, " in done.stdout
    assert "Accuracies of no model of this report: gone." in done.stdout
    assert new(place) == {"report.html"}
    page = (place / "report.html").read_text()
    assert page.startswith("<!doctype html>")
    assert 'alt="Mask of' in page
    assert "a bench" in page


def test_the_numbers_are_printed_and_nothing_is_written(place: Path) -> None:
    done = report(
        "profile.json", "estimate.json", "-a", "accuracy.json", "-m", "s25.tflite", "--json"
    )
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document["schema"] == 1
    assert [result["kind"] for result in document["results"]] == ["measured", "estimated"]
    assert document["results"][0]["models"][1]["accuracy"] == 0.91
    assert document["masks"][0]["pictures"][0]["height"] == 16
    assert "png" not in document["masks"][0]["pictures"][0]
    assert document["notes"] == ["Accuracies of no model of this report: gone."]
    assert new(place) == set()


def test_charts_are_written_for_slides_without_a_page(place: Path) -> None:
    done = report("profile.json", "--svg", "slides/new")
    assert done.exit_code == 0, done.output
    assert new(place) == {"slides"}
    names = sorted(path.name for path in (place / "slides/new").iterdir())
    assert names == ["layers.svg", "roofline.svg", "tradeoff.svg", "turns.svg"]
    assert "slides/new/turns.svg: " in done.stdout


def test_a_dash_is_standard_output_and_what_is_said_goes_beside_it(place: Path) -> None:
    line = [sys.executable, str(REPOSITORY / "deploy.py"), "report", "profile.json", "-o", "-"]
    done = subprocess.run(line, cwd=place, capture_output=True, check=True)
    assert done.stdout.startswith(b"<!doctype html>")
    assert done.stdout.endswith(b"</html>")
    assert b"times as fast as dense" in done.stderr
    assert new(place) == set()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["profil.json"], "did you mean profile.json?"),
        (["accuracy.json"], "is neither a profile, an estimate nor a sweep"),
        (["profile.json", "-a", "published.csv"], "its first line names no column accuracy"),
        (["profile.json", "-a", "none.json"], "none.json: cannot be read"),
        (["profile.json", "--published", "accuracy.json"], "has no column model, ms, source"),
        (["profile.json", "-m", "profile.json"], "profile.json"),
        (["profile.json", "-m", "none.tflite"], "none.tflite: cannot be read"),
    ],
)
def test_what_cannot_be_read_is_told(place: Path, words: list[str], said: str) -> None:
    done = report(*words)
    assert isinstance(done.exception, ModelError), done.output
    assert said in f"{done.exception.what}, {done.exception.hint}"
    assert new(place) == set()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-o", "profile.json"], "profile.json: is read here"),
        (["-o", "accuracy.json", "-a", "accuracy.json"], "accuracy.json: is read here"),
        (["-o", "s25.tflite", "-m", "s25.tflite"], "s25.tflite: is read here"),
        (["-o", "nodir/r.html"], "mkdir -p nodir"),
        (["--png", "profile.json"], "profile.json is no folder"),
        (["--svg", "-"], "./-"),
    ],
)
def test_a_place_that_cannot_be_written_is_told_before(
    place: Path, words: list[str], said: str
) -> None:
    done = report("profile.json", *words)
    assert isinstance(done.exception, OutputError), done.output
    assert said in f"{done.exception.what}, {done.exception.hint}"
    assert new(place) == set()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--title", " "], "--title"),
        (["-o", "-", "--json"], "--json"),
        (["--no-such"], "--no-such"),
    ],
)
def test_wrong_use_is_told(place: Path, words: list[str], said: str) -> None:
    done = report("profile.json", *words)
    assert done.exit_code == 2
    assert said in done.output
    assert new(place) == set()


def test_what_a_document_says_does_nothing_to_the_terminal(place: Path) -> None:
    files = {"dense": place / "dense.tflite", "s25": place / "s25.tflite"}
    evil = "\x1b]0;title\x07[red]s25"
    profile = measured_profile(files, names={"dense": "dense", "s25": evil})
    profile.save(place / "profile.json")
    line = [sys.executable, str(REPOSITORY / "deploy.py"), "report", "profile.json", "--svg", "out"]
    done = subprocess.run(line, cwd=place, capture_output=True, text=True, check=True)
    assert "\x1b" not in done.stdout
    assert "]0;title" in done.stdout
    assert "[red]s25 is 1.24 times as fast" in done.stdout
    line[-2:] = ["--json"]
    done = subprocess.run(line, cwd=place, capture_output=True, text=True, check=True)
    assert "\x1b" not in done.stdout
    assert json.loads(done.stdout)["results"][0]["models"][1]["name"] == evil
