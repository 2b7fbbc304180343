"""Detectors on pictures of squares."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from support.brightness import write_classifier
from support.squares import write_detector, write_squares
from support.tflite_writer import GraphWriter
from toolchain.cli.app import app
from toolchain.errors import DataError, ModelError
from toolchain.evaluation.boxes import load_boxes
from toolchain.evaluation.classifier import read_classifier
from toolchain.evaluation.detector import detect, read_detector
from toolchain.evaluation.places import Host
from toolchain.failures import Failures


@pytest.fixture
def squares(tmp_path: Path) -> Path:
    pytest.importorskip("pycocotools")
    return write_squares(tmp_path / "data", 9)


def test_a_detector_that_is_right_has_a_precision_of_one(tmp_path: Path, squares: Path) -> None:
    files = [
        read_detector(write_detector(tmp_path / "right.tflite")),
        read_detector(write_detector(tmp_path / "wrong.tflite", swapped=True)),
    ]
    done = detect(files, [Host()], load_boxes(squares))
    assert done is not None
    right, wrong = done.rows
    assert (done.images, done.classes, right.images) == (9, 2, 9)
    assert right.ap.value == pytest.approx(1)
    assert right.ap50.value == pytest.approx(1)
    assert wrong.ap.value < 0.1
    (pair,) = done.pairs
    assert (pair.first, pair.second, pair.kind) == (1, 0, "network")
    assert pair.difference.value < -0.9
    assert pair.difference.high < 0


def test_boxes_that_were_found_are_kept(tmp_path: Path, squares: Path) -> None:
    files = [read_detector(write_detector(tmp_path / "m.tflite"))]
    first = detect(files, [Host()], load_boxes(squares), limit=4)
    assert first is not None
    assert first.rows[0].kept == 0
    second = detect(files, [Host()], load_boxes(squares))
    assert second is not None
    assert second.rows[0].kept == 4
    assert second.rows[0].ap.value == pytest.approx(1)


def test_a_detector_of_other_classes_is_told(tmp_path: Path, squares: Path) -> None:
    content = json.loads(squares.read_text())
    content["categories"].append({"id": 99, "name": "blue"})
    squares.write_text(json.dumps(content))
    failures = Failures()
    files = [read_detector(write_detector(tmp_path / "m.tflite"))]
    assert detect(files, [Host()], load_boxes(squares), failures=failures) is None
    with pytest.raises(DataError, match=r"tells 2 classes apart, .* has 3 categories"):
        failures.require()


def test_a_classifier_is_no_detector_nor_the_other_way_round(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not the raw outputs of YOLOv5"):
        read_detector(write_classifier(tmp_path / "c.tflite"))
    with pytest.raises(ModelError, match="not one score a class") as caught:
        read_classifier(write_detector(tmp_path / "d.tflite"))
    assert "a .json file" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("image", "outputs", "said"),
    [
        (64, [(1, 80_000, 80_000, 21)] * 3, r"outputs of shapes \[\[1, 80000, 80000, 21\]"),
        (64, [(1, 1 << 30, 1 << 30, 21)] * 3, r"outputs of shapes \[\[1, 1073741824, 10"),
        (80_000, [(1, 8, 8, 21)] * 3, "takes images of 80000x80000 pixels"),
        (64, [()], "not the raw outputs of YOLOv5"),
    ],
)
def test_shapes_that_no_memory_holds_are_no_detectors(
    tmp_path: Path, image: int, outputs: list[tuple[int, ...]], said: str
) -> None:
    writer = GraphWriter()
    path = writer.write(
        tmp_path / "d.tflite",
        [writer.tensor((1, image, image, 3))],
        [writer.tensor(shape) for shape in outputs],
    )
    with pytest.raises(ModelError, match=said):
        read_detector(path)


def test_the_command_tells_the_average_precision(
    tmp_path: Path, squares: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_detector(tmp_path / "m.tflite")
    done = CliRunner().invoke(app, ["evaluate", "m.tflite", "--data", str(squares)])
    assert done.exit_code == 0
    assert "100.00%" in done.output
    assert "AP50" in done.output
    found = CliRunner().invoke(app, ["evaluate", "m.tflite", "--data", str(squares), "--json"])
    assert np.isclose(json.loads(found.stdout)["rows"][0]["ap"]["value"], 1)


@pytest.mark.parametrize("words", [["--torch", "c.safetensors"], ["--images", "x"]])
def test_what_is_not_for_detectors_is_told(words: list[str]) -> None:
    data = "boxes.json" if "--torch" in words else "x.npz"
    done = CliRunner().invoke(app, ["evaluate", "m.tflite", "--data", data, *words])
    assert done.exit_code == 2
