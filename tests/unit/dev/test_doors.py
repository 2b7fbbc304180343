from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from support.places import REPOSITORY
from toolchain import extras
from toolchain.dev import doors
from toolchain.dev.doors import MODELS, ModelsTried, Tried, attempt, page
from toolchain.errors import ModelError

RIGHT = Tried(door="timm", model="lcnet_050", parameters=1880000, operators=60, relative_diff=2e-6)
ON_BOARD = Tried(
    door="timm",
    model="resnet10t",
    parameters=1880000,
    operators=60,
    relative_diff=2e-6,
    board="qemu (root@127.0.0.1:5022)",
    board_diff=1.5e-6,
)
REFUSED = Tried(door="onnx", model="timm:ghostnet_100", refused="an | operator", hint="leave it")


def made(*tried: Tried) -> ModelsTried:
    return ModelsTried(created=datetime(2026, 1, 1, tzinfo=UTC), tried=list(tried))


def test_thirty_models_are_tried() -> None:
    assert sum(map(len, MODELS.values())) >= 30
    assert all(len(set(models)) == len(models) for models in MODELS.values())


def test_the_page_tells_what_was_converted_and_why_another_was_not() -> None:
    text = page(made(RIGHT, ON_BOARD, REFUSED))
    assert "3 models as people have them: 2 are converted" in text
    assert "1 of these on a board too" in text
    assert "On the board, `qemu`," in text
    assert "| resnet10t | timm | 1.88 M | 60 | 2.0e-06 | 1.5e-06 |" in text
    assert "| timm:ghostnet_100 | onnx | an \\| operator | leave it |" in text


def test_earlier_results_stay_where_others_are_tried_anew(tmp_path: Path) -> None:
    path = tmp_path / "models-tried.json"
    path.write_text(made(ON_BOARD, REFUSED).model_dump_json())
    better = Tried(door="onnx", model="timm:ghostnet_100", relative_diff=1e-6)
    assert doors._merged(path, [better, RIGHT]).tried == [ON_BOARD, RIGHT, better]


def test_the_page_that_is_kept_is_made_of_the_document_that_is_kept() -> None:
    folder = REPOSITORY / "docs/reference"
    kept = ModelsTried.model_validate_json((folder / "models-tried.json").read_bytes())
    assert page(kept) == (folder / "models-tried.md").read_text()


@pytest.mark.skipif(bool(extras.missing_modules("timm")), reason="needs the extra timm")
def test_a_model_that_is_refused_is_kept_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    tried = attempt("torchvision", "no_such_net", tmp_path, ())
    assert tried.refused == "torchvision has no network called 'no_such_net'"
    assert "deploy models" in (tried.hint or "")
    tried = attempt("timm", "lcnet_035", tmp_path, ["--board", "no_such_board"])
    assert tried.relative_diff is not None
    assert "no_such_board" in (tried.refused or "")
    assert str(tmp_path) not in tried.model_dump_json()


@pytest.mark.skipif(bool(extras.missing_modules("tensorflow")), reason="needs the extra tensorflow")
def test_a_network_of_keras_has_no_weights_that_are_all_alike() -> None:
    made = doors.keras_application("MobileNetV3Small")
    values = [np.asarray(one) for one in made.weights if np.asarray(one).dtype.kind == "f"]
    assert not any(one.size > 1 and (one == one.flat[0]).all() for one in values)
    with pytest.raises(ModelError, match=r"keras\.applications has no network called 'LeNet'"):
        doors.keras_application("LeNet")
