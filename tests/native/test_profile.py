"""``deploy profile``, ``verify`` and ``push`` on this machine: turns, and what fails."""

from __future__ import annotations

import csv
import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.bundles import write_masked_model
from support.places import REPOSITORY
from toolchain.build.bundle import Bundle
from toolchain.profile.document import load_profile
from toolchain.profile.gain_document import Gain
from toolchain.profile.history import read
from toolchain.profile.protocol import TURNS
from toolchain.storage.cache import sha256_file
from toolchain.tflite_file.graph import read_model
from toolchain.tflite_file.layers import find_layers


def deploy(*arguments: object, code: int = 0, **options: Any) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "deploy.py", *map(str, arguments)],
        cwd=REPOSITORY, capture_output=True, text=True, check=False, **options,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A dense network and its masked twin."""
    folder = tmp_path_factory.mktemp("models")
    return (
        write_masked_model(folder / "dense.tflite", sparsity=0),
        write_masked_model(folder / "masked.tflite", sparsity=0.3),
    )


@pytest.fixture
def corrupt(tmp_path: Path, models: tuple[Path, Path]) -> Path:
    """A file that is cut off."""
    path = tmp_path / "corrupt.tflite"
    path.write_bytes(models[0].read_bytes()[:700])
    return path


def on_host(bundle: Bundle) -> list[object]:
    return ["--board", "host", "--bundle", bundle.path]


def test_models_take_turns_and_every_sample_is_kept(
    host_bundle: Bundle, models: tuple[Path, Path], tmp_path: Path
) -> None:
    path = tmp_path / "p.json"
    deploy("profile", *models, *on_host(host_bundle), "--runs", "20", "-o", path)
    profile = load_profile(path)
    for item in profile.measurements:
        assert [turn.runs for turn in item.turns] == [1] * 20
        assert item.output.timing is not None
        assert len(item.output.timing.samples_us) == 20
    assert profile.ratio_interval(profile.measurements[1]) is not None
    assert len(profile.load) == 20
    # What a runtime skips besides is asked of the runtime.
    assert profile.measurements[0].live_share == 1.0
    share = profile.measurements[1].live_share
    assert share is not None
    assert 0 < share < 1


def test_without_a_number_of_runs_each_turn_has_as_many_as_fill_its_time(
    host_bundle: Bundle, models: tuple[Path, Path], tmp_path: Path
) -> None:
    limits = ["--max-wait", "0", "--max-time", "5"]
    deploy("profile", models[0], *on_host(host_bundle), *limits, "-o", tmp_path / "p.json")
    (item,) = load_profile(tmp_path / "p.json").measurements
    # That a time of all is reached is held with times that are played: a busy machine ends earlier.
    assert len(item.turns) >= TURNS
    assert all(turn.runs > 1 for turn in item.turns)


def test_a_profile_compared_with_itself_is_no_change(
    host_bundle: Bundle, models: tuple[Path, Path], tmp_path: Path
) -> None:
    path = tmp_path / "p.json"
    deploy("profile", *models, *on_host(host_bundle), "--runs", "15", "-o", path)
    changes = json.loads(deploy("compare", path, path, "--json").stdout)["comparisons"][0][
        "changes"
    ]
    assert not any(change["significant"] for change in changes)


@pytest.mark.parametrize("first", [True, False])
def test_a_bad_model_does_not_lose_the_others(
    host_bundle: Bundle, models: tuple[Path, Path], corrupt: Path, tmp_path: Path, *, first: bool
) -> None:
    given = [corrupt, *models] if first else [models[0], corrupt, models[1]]
    path, absent = tmp_path / "p.json", tmp_path / "absent.tflite"
    arguments = ["profile", *given, absent, *on_host(host_bundle), "--runs", "15", "-o", path]
    done = deploy(*arguments, code=3)
    assert "corrupt.tflite" in done.stderr
    assert "absent.tflite" in done.stderr
    assert "masked" in done.stdout
    profile = load_profile(path)
    assert [item.name for item in profile.measurements] == ["dense", "masked"]
    assert [Path(one.model).name for one in profile.failed] == ["corrupt.tflite", "absent.tflite"]
    assert (profile.ratio(profile.measurements[1]) is None) == first
    assert ("No ratios" in done.stdout) == first


def test_a_bad_model_does_not_lose_what_was_verified_and_pushed(
    host_bundle: Bundle, models: tuple[Path, Path], corrupt: Path
) -> None:
    done = deploy("verify", models[0], corrupt, models[1], *on_host(host_bundle), code=3)
    assert "corrupt.tflite" in done.stderr
    assert done.stdout.count(" ok ") == 2
    found = deploy("push", models[0], corrupt, models[1], *on_host(host_bundle), "--json", code=3)
    document = json.loads(found.stdout)
    assert [Path(row["file"]).name for row in document["files"]][2:] == [
        "dense.tflite", "masked.tflite",
    ]  # fmt: skip
    assert [Path(row["model"]).name for row in document["failed"]] == ["corrupt.tflite"]


def wrapped(bundle: Bundle, folder: Path, script: str) -> Bundle:
    """The same bundle with a program before its runner, which ends in being it."""
    shutil.copytree(bundle.path, folder)
    runner = folder / "tileskip-run"
    runner.rename(folder / "real")
    runner.write_text(f'#!/bin/sh\n{script}\nexec {folder}/real "$@"\n')
    runner.chmod(0o755)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["tileskip-run"]["bytes"] = runner.stat().st_size
    manifest["files"]["tileskip-run"]["sha256"] = sha256_file(runner)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return Bundle.load(folder)


def counting(folder: Path, when: str, then: str) -> str:
    """Shell lines that count the calls that ``when`` matches, and act in the twelfth of them."""
    return (
        f'case "$*" in *{when}*)\n  echo x >> {folder}/calls\n'
        f'  if [ "$(wc -l < {folder}/calls)" -eq 12 ]; then {then}; fi;;\nesac'
    )


def test_a_model_that_crashes_in_a_late_turn_is_left_out_and_told(
    host_bundle: Bundle, models: tuple[Path, Path], tmp_path: Path
) -> None:
    script = counting(tmp_path, "masked.tflite", "kill -SEGV $$")
    bundle = wrapped(host_bundle, tmp_path / "bundle", script)
    done = deploy("profile", *models, *on_host(bundle), "--runs", "15", code=8)
    assert "masked.tflite" in done.stderr
    assert "SIGSEGV" in done.stderr
    assert "dense" in done.stdout
    assert "masked" not in done.stdout


def test_what_was_measured_is_shown_and_kept_when_it_is_interrupted(
    host_bundle: Bundle, models: tuple[Path, Path], tmp_path: Path
) -> None:
    script = counting(tmp_path, "masked.tflite", "kill -INT $PPID; sleep 60")
    bundle = wrapped(host_bundle, tmp_path / "bundle", script)
    path = tmp_path / "p.json"
    done = deploy("profile", *models, *on_host(bundle), "--runs", "15", "-o", path, code=130)
    assert "masked" in done.stdout
    dense, masked = (len(item.turns) for item in load_profile(path).measurements)
    assert masked == 10
    assert dense in (10, 11), "by chance its turn was before or after"


def test_what_was_measured_is_shown_when_it_cannot_be_written(
    host_bundle: Bundle, models: tuple[Path, Path], tmp_path: Path
) -> None:
    """A disk that fills up while it is measured: here no file may be larger than this."""
    arguments = ["profile", *models, *on_host(host_bundle), "--runs", "15"]
    deploy(*arguments)  # all is on the board then

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, resource.RLIM_INFINITY))

    path = tmp_path / "p.json"
    # Compiled modules would be cut off as well, and Python 3.11 would take them as they are.
    environment = os.environ | {"TMPDIR": "/tmp", "PYTHONDONTWRITEBYTECODE": "1"}
    done = deploy(*arguments, "-o", path, code=13, preexec_fn=limit, env=environment)
    assert "masked" in done.stdout
    assert "p.json: cannot be written: File too large" in done.stderr
    assert not path.exists()


def test_layers_are_named_with_what_they_lose(
    host_bundle: Bundle, models: tuple[Path, Path]
) -> None:
    done = deploy(
        "profile", *models, *on_host(host_bundle), "--runs", "15", "--per-op", "--json",
    )  # fmt: skip
    dense, masked = json.loads(done.stdout)["measurements"]
    names = [layer["name"] for layer in masked["layers"]]
    assert not any(row["dense"] and row["shape"] for row in dense["operators"])
    assert [row["name"] for row in masked["operators"] if row["shape"]] == names
    for row in masked["operators"]:
        if row["shape"]:
            assert row["kept"] < row["pixels"]
            assert row["by_plan"] is not None
            assert row["ideal"] == pytest.approx(row["dense"] / row["by_plan"])


def test_a_run_is_saved_and_remembered(
    host_bundle: Bundle, models: tuple[Path, Path], tmp_path: Path
) -> None:
    history, folder = tmp_path / "history.jsonl", tmp_path / "runs/first"
    arguments = ["profile", *models, *on_host(host_bundle), "--runs", "15", "--history", history]
    deploy(*arguments, "--per-op", "--save", folder)
    profile = load_profile(folder / "profile.json")
    with (folder / "samples.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    for item in profile.measurements:
        assert item.output.timing is not None
        samples = [float(row["time_us"]) for row in rows if row["model"] == item.name]
        assert samples == item.output.timing.samples_us
    for path in models:
        data = json.loads((folder / f"model-explorer/{path.stem}.json").read_text())
        layers = {str(layer.index) for layer in find_layers(read_model(path))}
        assert set(data["main"]["results"]) == layers
    (run,) = read(history)
    assert run.saved == str(folder)
    assert [one.sha256 for one in run.models] == [sha256_file(path) for path in models]
    deploy(*arguments)
    assert [run.saved for run in read(history)] == [str(folder), None]
    assert "is not empty" in deploy(*arguments, "--save", folder, code=13).stderr
    assert len(list(read(history))) == 2


def test_a_run_that_is_interrupted_is_saved_and_in_no_history(
    host_bundle: Bundle, models: tuple[Path, Path], tmp_path: Path
) -> None:
    script = counting(tmp_path, "masked.tflite", "kill -INT $PPID; sleep 60")
    bundle = wrapped(host_bundle, tmp_path / "bundle", script)
    history, folder = tmp_path / "h", tmp_path / "run"
    deploy(
        "profile", *models, *on_host(bundle), "--runs", "15", "--save", folder, "--history",
        history, code=130,
    )  # fmt: skip
    assert len(load_profile(folder / "profile.json").measurements) == 2
    assert not history.exists()


def test_what_masks_gain_is_measured_in_turns_and_told_as_not_trained(
    host_bundle: Bundle, models: tuple[Path, Path], tmp_path: Path
) -> None:
    output = tmp_path / "gain.json"
    words = ("--sparsity", "0.25,0.5", "--max-time", "0.1", "--per-op", "--output", output)
    done = deploy("gain", models[0], "--measure", *on_host(host_bundle), *words)
    found = Gain.model_validate_json(output.read_bytes())
    assert [row.sparsity for row in found.rows] == [0, 0.25, 0.5]
    assert found.profile is not None
    assert [one.untrained for one in found.profile.measurements] == [False, True, True]
    assert len(found.profile.measurements[1].turns) >= TURNS
    assert {one.name for one in found.by_layer if one.shape} == set(found.masked)
    assert "not trained" in " ".join(done.stdout.split())
    assert not list(tmp_path.glob("*.tflite"))
