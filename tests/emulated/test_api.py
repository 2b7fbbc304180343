"""The functions of Python on the emulated board."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from support.bundles import write_masked_model
from toolchain import Board, profile
from toolchain.agreement.interpreter import run_here
from toolchain.board.arrays import batch_of
from toolchain.build.bundle import Bundle
from toolchain.errors import ModelError
from toolchain.hardware import board_file
from toolchain.profile.document import Profile
from toolchain.tflite_file.graph import read_model


@pytest.fixture
def there(board: board_file.Board, qemu_bundle: Bundle) -> Board:
    return Board(board, bundle=qemu_bundle.path)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_masked_model(tmp_path / "net.tflite")


def test_all_is_done_on_one_connection(there: Board, model: Path) -> None:
    assert there.running
    x = np.random.default_rng(0).standard_normal((2, 16, 16, 3)).astype(np.float32)
    with there.connect() as connected:
        assert connected.push(model).files[-1].file == model
        (found,) = connected.run(model, x)
        assert connected.verify(model, inputs=1).models[0].passed
        (measured,) = connected.profile(model, estimate=False).measurements
    parsed = read_model(model)
    (wanted,) = batch_of(parsed, x).shaped(run_here(parsed, batch_of(parsed, x)))
    assert np.allclose(found, wanted, atol=1e-5)
    assert measured.instructions


def test_what_was_measured_comes_with_the_error(there: Board, model: Path) -> None:
    model.with_name("text.tflite").write_text("no model")
    with pytest.raises(ModelError, match=r"text\.tflite") as caught:
        profile([model, model.with_name("text.tflite")], board=there, estimate=False)
    found = caught.value.result
    assert isinstance(found, Profile)
    assert [one.name for one in found.measurements] == ["net"]
