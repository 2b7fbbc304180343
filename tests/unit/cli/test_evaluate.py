"""``deploy evaluate`` on a small classifier."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from support.brightness import (
    CLASSES,
    SIDE,
    bright_images,
    write_bright_folder,
    write_classifier,
)
from support.tiny_training import write_recipe
from toolchain.cli.app import app
from toolchain.cli.evaluate import in_torch_of
from toolchain.errors import DeployError, ModelError, VerificationError
from toolchain.evaluation.classifier import read_classifier


def deploy(*words: object) -> Result:
    return CliRunner().invoke(app, ["evaluate", *map(str, words)])


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a network and images."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TILESKIP_CACHE", str(tmp_path / "cache"))
    pixels, labels = bright_images(120)
    np.savez("data.npz", x=pixels, y=labels)
    np.savez("floats.npz", x=pixels / 255, y=labels)
    write_classifier(tmp_path / "m.tflite")
    return tmp_path


def test_a_table_tells_how_often_a_network_is_right() -> None:
    done = deploy("m.tflite", "--data", "data.npz")
    assert done.exit_code == 0
    for said in ("data.npz: 120 of 120 images", "100.00%", "from the file (m)", "ai-edge-litert"):
        assert said in done.output


def test_all_of_it_is_one_json_document(place: Path) -> None:
    done = deploy("m.tflite", "--data", "data.npz", "--json", "-o", place / "e.json")
    found = json.loads(done.stdout)
    assert found == json.loads((place / "e.json").read_text())
    assert (found["images"], found["classes"]) == (120, CLASSES)
    assert found["rows"][0]["top1"]["value"] == 1


def test_a_wrong_normalisation_ends_with_its_own_exit_code(place: Path) -> None:
    done = deploy("m.tflite", "--data", "data.npz", "--mean", "0", "--std", "1", "-o", "e.json")
    assert isinstance(done.exception, VerificationError)
    assert done.exception.exit_code == 4
    assert "the file says mean 0.286 and std 0.353" in done.exception.what
    assert done.exception.hint == "leave --mean and --std away, to go by the file"
    assert "120 of 120 images" in done.output  # what was found is shown, and kept
    assert json.loads((place / "e.json").read_text())["doubts"]


@pytest.mark.parametrize(
    ("words", "undo"),
    [
        (["--recipe", "recipes/r.toml"], "give --data in place of --recipe"),
        (["--recipe", "recipes/r.toml", "--data", "recipes/grey"], "leave --recipe away"),
        (
            ["--recipe", "recipes/r.toml", "--mean", "0", "--std", "1"],
            "leave --mean and --std away",
        ),
    ],
)
def test_what_gave_wrong_figures_is_what_to_leave_away(
    place: Path, words: list[str], undo: str
) -> None:
    write_bright_folder(place / "recipes/grey", 300)
    data = {"source": "grey", "image_size": SIDE, "test_share": 0.5}
    write_recipe(place / "recipes/r.toml", data=data)
    write_classifier(place / "colour.tflite", channels=3)
    done = deploy("colour.tflite", *words)
    assert isinstance(done.exception, VerificationError)
    assert done.exception.hint == f"{undo}, to go by the file"


def test_a_folder_without_some_classes_is_told_and_an_empty_one_mends_it(place: Path) -> None:
    write_bright_folder(place / "grey", 300)
    write_classifier(place / "colour.tflite", channels=3)
    shutil.rmtree(place / "grey/00")
    done = deploy("colour.tflite", "--data", "grey")
    assert isinstance(done.exception, VerificationError)
    assert "grey has 11 classes, '01' being 0 and '11' 10" in done.exception.what
    (place / "grey/00").mkdir()
    done = deploy("colour.tflite", "--data", "grey")
    assert done.exit_code == 0
    assert "100.00%" in done.output


def test_what_was_kept_is_told() -> None:
    deploy("m.tflite", "--data", "data.npz", "--limit", "100")
    done = deploy("m.tflite", "--data", "data.npz")
    assert "Of 120 outputs, 100 were kept from an earlier run" in " ".join(done.output.split())
    assert "kept" not in deploy("m.tflite", "--data", "data.npz", "--again").output


def test_a_bad_file_beside_a_good_one_is_told_after_the_table(place: Path) -> None:
    (place / "bad.tflite").write_bytes(b"no model")
    done = deploy("bad.tflite", "m.tflite", "--data", "data.npz")
    assert "100.00%" in done.output
    assert isinstance(done.exception, ModelError)
    assert "bad.tflite" in done.exception.what


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "is needed: labelled images"),
        (["--data", "data.npz", "--host", "pi@there"], "give --board, too"),
        (["--data", "data.npz", "--model", "resnet18"], "is of --torch"),
        (["--data", "data.npz", "--mean", "0.5"], "has to be given with --mean"),
        (["--data", "data.npz", "--mean", "a", "--std", "1"], "is no figures"),
        (["--data", "data.npz", "--mean", "0", "--std", "0"], "do not go together"),
        (["--data", "floats.npz", "--mean", "0", "--std", "1"], "has values that are ready"),
        (["--data", "data.npz", "--output", "-", "--json"], "leave one of the two away"),
    ],
)
def test_wrong_use_is_told(words: list[str], said: str) -> None:
    done = deploy("m.tflite", *words)
    assert done.exit_code == 2
    assert said in " ".join(done.output.replace("│", " ").split())


def test_a_recipe_names_data_and_normalisation(place: Path) -> None:
    silent = write_classifier(place / "silent.tflite", says=None)
    recipe = '[model]\nfactory = "fashion_resnet_dense"\n[data]\nsource = "fashion-mnist"\n'
    (place / "r.toml").write_text(recipe)
    done = deploy(silent, "--recipe", "r.toml", "--data", "data.npz")
    assert done.exit_code == 0
    assert "mean 0.286, std 0.353, as given" in done.output


def test_a_checkpoint_goes_with_the_files_that_are_called_after_it(place: Path) -> None:
    names = ("small", "small_s20", "small_s20_int8", "other")
    files = [read_classifier(write_classifier(place / f"{name}.tflite")) for name in names]
    renamed = place / "renamed.tflite"
    (place / "small_s20.tflite").rename(renamed)
    files.append(read_classifier(renamed))  # it says what it was made of
    small, masked = Path("small.safetensors"), Path("small_s20.safetensors")
    found = in_torch_of([files[0], files[2], files[4]], [small, masked])
    assert [found[one.path] for one in (files[0], files[2], files[4])] == [small, masked, masked]
    assert in_torch_of(files, [masked]) == {one.path: masked for one in files}
    with pytest.raises(Exception, match="names no checkpoint"):
        in_torch_of(files, [small, masked])


def test_a_board_that_does_not_run_is_told(tmp_path: Path) -> None:
    done = deploy(
        "m.tflite", "--data", "data.npz", "--board", "qemu", "--bundle", tmp_path / "none"
    )
    assert isinstance(done.exception, DeployError)
    assert done.exception.hint is not None
