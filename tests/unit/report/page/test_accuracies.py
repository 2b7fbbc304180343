"""Files of accuracies: what people write, and what commands do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from toolchain.errors import ModelError
from toolchain.report.page.accuracies import load_accuracies


def written(folder: Path, text: str, name: str = "a.json") -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", '{"s20": 0.91, "dense.tflite": 0.92}'),
        ("a.csv", "model,accuracy\ns20,0.91\ndense.tflite,0.92\n"),
        ("a.csv", "accuracy, model ,note\r\n 0.91, s20,x\r\n0.92,dense,\r\n"),
        (
            "demo.json",
            json.dumps(
                {
                    "board": "b",
                    "networks": [
                        {"name": "s20", "accuracy_board": 0.91, "images": 200},
                        {"name": "dense", "accuracy_board": 0.92},
                    ],
                }
            ),
        ),
    ],
)
def test_every_form_gives_shares_by_name(tmp_path: Path, name: str, text: str) -> None:
    assert load_accuracies(written(tmp_path, text, name)) == {"s20": 0.91, "dense": 0.92}


def test_what_training_prints_is_of_the_model_of_its_checkpoint(tmp_path: Path) -> None:
    text = json.dumps({"path": "build/my.net.safetensors", "accuracy": 0.8, "epochs": [1]})
    assert load_accuracies(written(tmp_path, text)) == {"my.net": 0.8}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"s20": 91.4}', "s20: Input should be less than or equal to 1"),
        ('{"s20": "good"}', "s20: Input should be a valid number"),
        ('{"s20": NaN}', "s20: "),
        ("[1]", "is no JSON object"),
        ("{", "holds no accuracies"),
        ("{}", "holds no accuracies"),
        ('{"networks": [{"name": "s20"}]}', "networks.0.accuracy_board: Field required"),
        ("[" * 100_000, "in too many others"),
    ],
)
def test_another_file_is_told_with_what_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ModelError, match=r"a\.json") as caught:
        load_accuracies(written(tmp_path, text))
    assert said in caught.value.what
    assert "shares of 1, not percent" in (caught.value.hint or "")


@pytest.mark.parametrize("text", ["s20;0.91\n", "model,accuracy\ns20\n", "model,accuracy\ns20,x\n"])
def test_a_table_of_another_kind_is_told(tmp_path: Path, text: str) -> None:
    with pytest.raises(ModelError, match=r"a\.csv"):
        load_accuracies(written(tmp_path, text, "a.csv"))


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        load_accuracies(tmp_path / "none.json")
