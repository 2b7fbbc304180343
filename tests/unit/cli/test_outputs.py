"""Every output of every command is looked at before the work whose result it gets."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from support.bundles import write_masked_model
from support.places import REPOSITORY
from support.profiles import measurement, profile_of
from toolchain.cli.app import app
from toolchain.errors import OutputError
from toolchain.profile.history import append
from toolchain.tflite_file.inspection import inspect_model

CHECKPOINT = REPOSITORY / "toolchain/zoo/checkpoints/fashion_resnet_dense.safetensors"
RECIPE = REPOSITORY / "toolchain/train/recipes/quick.toml"


def lines_for(command: str, output: str) -> list[object]:
    """A command line whose only fault is an output of this kind."""
    empty = ["--bundle", "no-bundle", "--board", "host"]
    lines: dict[str, list[object]] = {
        "profile": ["profile", "m.tflite", *empty, "--output", output],
        "plot": ["profile", "m.tflite", *empty, "--plot", output],
        "save": ["profile", "m.tflite", *empty, "--save", output],
        "history": ["profile", "m.tflite", *empty, "--history", output],
        "trend": ["history", "--history", "h.jsonl", "--plot", output],
        "estimate": ["estimate", "m.tflite", "--bundle", "no-bundle", "--output", output],
        "evaluate": ["evaluate", "m.tflite", "--data", "d.npz", "--output", output],
        "run": ["run", "m.tflite", *empty, "--input", "x.npy", "--output-dir", output],
        "convert": ["convert", CHECKPOINT, "--output", output],
        "train": ["train", RECIPE, "--output", output],
        "build": ["build", "--board", "host", "--out", output],
        "demo": ["demo", "--board", "host", "--output", output],
        "report": ["report", "p.json", "--output", output],
        "pictures": ["report", "p.json", "--png", output],
    }
    return lines[command]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a model, an input, a file and a folder."""
    write_masked_model(tmp_path / "m.tflite")
    np.save(tmp_path / "x.npy", np.zeros((1, 16, 16, 3), np.float32))
    profile_of(measurement("m")).save(tmp_path / "p.json")
    append(tmp_path / "h.jsonl", profile_of(measurement("m")))
    (tmp_path / "file").write_text("kept")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "into").mkdir()
    (tmp_path / "full/kept").write_text("kept")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TILESKIP_CACHE", str(tmp_path / "cache"))
    return tmp_path


FILES = ["profile", "plot", "history", "trend", "estimate", "evaluate", "convert", "train"]
FILES += ["report"]
FOLDERS = ["save", "run", "build", "demo", "pictures"]


@pytest.mark.parametrize(
    ("commands", "output", "said"),
    [
        (FILES, "nodir/o.png", "mkdir -p nodir"),
        (FILES, "folder.png", "folder.png: is a folder"),
        (FILES, "file/o.png", "file is a file"),
        (FILES, "/proc/o.png", "/proc/o.png: cannot be written"),
        (["plot", "trend"], "o.jpg", "o.png"),
        (["plot", "trend"], "o", "has no suffix"),
        (["profile", "history"], "m.tflite", "m.tflite: is read here"),
        (["save"], "full", "--save full-2"),
        (["save"], ".", "working folder"),
        (["history"], "-", "keeps no history"),
        (["history"], "/dev/null", "is no regular file"),
        (["convert"], CHECKPOINT, "is read here"),
        (FOLDERS, "file", "file"),
        (FOLDERS, "-", "./-"),
        (FOLDERS, "file/deeper", "file"),
        (FOLDERS, "/proc/o", "/proc/o: cannot be written"),
    ],
    ids=lambda value: str(value).rpartition("/")[2] if not isinstance(value, list) else "",
)
def test_a_place_that_cannot_be_written_is_told_before_anything_is_done(
    place: Path, commands: list[str], output: object, said: str
) -> None:
    before = contents(place)
    for command in commands:
        result = CliRunner().invoke(app, list(map(str, lines_for(command, str(output)))))
        error = result.exception
        assert isinstance(error, OutputError), (command, result.output, error)
        assert said in f"{error.what}, {error.hint}"
        assert contents(place) == before


def test_a_dash_is_standard_output_and_what_is_said_goes_beside_it(place: Path) -> None:
    line = [sys.executable, REPOSITORY / "deploy.py", *lines_for("convert", "-"), "--seed", "1"]
    done = subprocess.run(list(map(str, line)), capture_output=True, check=True)
    (place / "got.tflite").write_bytes(done.stdout)
    assert inspect_model(place / "got.tflite").layers
    assert b"largest difference to torch" in done.stderr
    assert not (place / "-").exists()


@pytest.mark.parametrize("command", ["profile", "convert", "train", "report"])
def test_standard_output_is_not_taken_twice(place: Path, command: str) -> None:
    result = CliRunner().invoke(app, [*map(str, lines_for(command, "-")), "--json"])
    assert result.exit_code == 2
    assert "--json" in result.output
    assert not (place / "-").exists()


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every file and folder, but for the cache."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if "cache" not in path.parts:
            found[str(path)] = path.read_bytes() if path.is_file() else None
    return found


@pytest.mark.parametrize(
    ("words", "taken"),
    [
        (["profile", "m.tflite", "--output", "p.svg", "--plot", "./p.svg"], "p.svg"),
        (["profile", "m.tflite", "--output", "h", "--history", "./h"], "h"),
        (["profile", "m.tflite", "--output", "into/p.json", "--save", "into"], "into/p.json"),
        (["profile", "m.tflite", "--history", "run", "--save", "run"], "run"),
        (["run", "m.tflite", "--input", "output0.npy", "--output-dir", "."], "output0.npy"),
        (["train", "r.toml", "--output", "first.safetensors"], "first.safetensors"),
        (["train", "r.toml", "--output", "teacher.safetensors"], "teacher.safetensors"),
    ],
    ids=["profile", "history", "save", "history in save", "run", "train", "teacher"],
)
def test_no_output_takes_the_place_of_another_or_of_what_is_read(
    place: Path, words: list[str], taken: str
) -> None:
    np.save(place / "output0.npy", np.zeros((1, 16, 16, 3), np.float32))
    for name in ("first", "teacher"):
        (place / f"{name}.safetensors").write_bytes(CHECKPOINT.read_bytes())
    (place / "r.toml").write_text(
        'model = {factory = "fashion_resnet", weights = "first.safetensors"}\n'
        'data = {source = "fashion-mnist"}\n'
        'distillation = {weights = "teacher.safetensors"}\n'
    )
    before = contents(place)
    board = [] if words[0] == "train" else ["--bundle", "no-bundle", "--board", "host"]
    error = CliRunner().invoke(app, [*words, *board]).exception
    assert isinstance(error, OutputError), error
    assert taken in error.what
    assert "another name" in (error.hint or "")
    assert contents(place) == before
