"""A board as a program has it: what is done there, what comes back, what is raised."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest

from support.bundles import write_bundle, write_masked_model, write_two_input_model
from support.python_runner import python_runner
from toolchain import Board, ConnectedBoard, profile
from toolchain.agreement.interpreter import run_here
from toolchain.board.arrays import Inputs, batch_of
from toolchain.errors import (
    BoardConfigError,
    BoardError,
    BundleError,
    ModelError,
    VerificationError,
)
from toolchain.operations.push import PushResult
from toolchain.operations.verify import VerifyResult
from toolchain.tflite_file.graph import read_model


@pytest.fixture
def model(place: Path) -> Path:
    return write_masked_model(place / "net.tflite", size=4, channels=2)


@pytest.fixture
def board(bundle: Path) -> Board:
    del bundle
    return Board("host")


def images(count: int) -> np.ndarray:
    random = np.random.default_rng(0)
    return random.standard_normal((count, 4, 4, 3)).astype(np.float32)


# --- a board ---------------------------------------------------------------------------------


def test_a_board_is_made_of_a_name_a_file_or_a_description(place: Path) -> None:
    (place / "mine.toml").write_text(
        'title = "Mine"\ncpu = "X"\nisa = "aarch64"\nmarch = "armv8-a"\n'
    )
    assert Board("rpi4").name == "rpi4"
    assert Board(place / "mine.toml").description.title == "Mine"
    assert Board(Board("rpi4").description).name == "rpi4"
    assert repr(Board("rpi4", host="pi@raspberrypi")) == "Board('rpi4', host='pi@raspberrypi')"


def test_a_board_that_is_not_there_is_told_at_once() -> None:
    with pytest.raises(BoardConfigError) as caught:
        Board("rpi44")
    assert caught.value.what == "there is no board called 'rpi44'"
    assert "rpi4" in (caught.value.hint or "")


def test_only_an_emulated_board_is_started() -> None:
    assert Board("qemu").emulated
    assert not Board("qemu", host="pi@raspberrypi").emulated
    assert not Board("rpi4").running
    for wrong in (Board("rpi4").start, Board("rpi4").stop):
        with pytest.raises(BoardConfigError, match="is not an emulated one"):
            wrong()


def test_a_board_without_a_runtime_is_not_connected_to() -> None:
    with pytest.raises(BundleError) as caught:
        Board("host").connect()
    assert caught.value.hint == "run: deploy build --board host"


# --- push ------------------------------------------------------------------------------------


def test_what_is_pushed_is_told_by_the_names_of_the_json(board: Board, model: Path) -> None:
    with board.connect() as connected:
        first, again = connected.push(model), connected.push("net.tflite")
    assert [item.file.name for item in first.files][-1] == "net.tflite"
    assert [item.sent for item in first.files] == [True] * 3
    assert [item.sent for item in again.files] == [False] * 3
    document = dataclasses.asdict(first.files[-1]) | {"file": str(model)}
    assert first.document()["files"][-1] == document
    assert first.files[-1].bytes == model.stat().st_size


def test_a_model_that_cannot_be_read_holds_up_no_other(
    board: Board, model: Path, place: Path
) -> None:
    (place / "text.tflite").write_text("no model")
    with board.connect() as connected, pytest.raises(ModelError, match=r"text\.tflite") as caught:
        connected.push("text.tflite", model)
    done = caught.value.result
    assert isinstance(done, PushResult)
    assert done.files[-1].file == model
    assert [one.model for one in done.failed] == ["text.tflite"]


# --- run -------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["array", "list", "named"])
def test_a_model_runs_on_arrays_in_any_form(board: Board, model: Path, form: str) -> None:
    parsed, x = read_model(model), images(3)
    name = parsed.graph.tensors[parsed.graph.inputs[0]].name
    forms: dict[str, Inputs] = {"array": x, "list": [x], "named": {name: x}}
    with board.connect() as connected:
        done = connected.run(model, forms[form])
    (found,) = done
    (wanted,) = batch_of(parsed, x).shaped(run_here(parsed, batch_of(parsed, x)))
    assert np.array_equal(found, wanted)
    assert done.inferences == 3
    assert done.outputs[0].shape == found.shape == done[0].shape
    assert done.outputs[0].dtype == "float32"
    assert len(done) == 1


def test_inputs_that_do_not_fit_are_told_before_anything_runs(board: Board, place: Path) -> None:
    write_two_input_model(place / "pair.tflite")
    with board.connect() as connected:
        with pytest.raises(ModelError, match="takes 2 inputs, 1 arrays were given"):
            connected.run("pair.tflite", images(1))
        with pytest.raises(ModelError, match="takes the inputs"):
            connected.run("pair.tflite", {"no such": images(1)})


# --- verify ----------------------------------------------------------------------------------


def test_a_right_board_passes(board: Board, model: Path) -> None:
    with board.connect() as connected:
        done = connected.verify(model, inputs=2, seed=5)
    (one,) = done.models
    assert done.board == "host"
    assert (one.passed, one.inputs, one.seed, one.ambiguous) == (True, 2, 5, False)
    document = one.document()
    assert {name: getattr(one, name) for name in document if name != "outputs"} == {
        name: value for name, value in document.items() if name != "outputs"
    }


def test_a_wrong_board_raises_and_says_by_how_much(place: Path, model: Path) -> None:
    write_bundle(place / "wrong", python_runner("outputs[0] = outputs[0] + 1"))
    with (
        Board("host", bundle="wrong").connect() as connected,
        pytest.raises(VerificationError) as caught,
    ):
        connected.verify(model)
    done = caught.value.result
    assert isinstance(done, VerifyResult)
    assert not done.models[0].passed
    assert done.models[0].max_difference == pytest.approx(1, rel=0.01)
    assert done.failed[0].model == str(model)


# --- profile ---------------------------------------------------------------------------------


def test_what_cannot_be_measured_is_raised(board: Board, model: Path) -> None:
    with board.connect() as connected, pytest.raises(BoardError, match=r"net\.tflite"):
        connected.profile(model, runs=1)
    with pytest.raises(ModelError, match="no model was given"):
        profile([], board=board)
    with pytest.raises(ValueError, match="where it is made"):
        profile(model, board=board, host="pi@raspberrypi")


# --- what all have ---------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["run", "verify", "profile"])
def test_a_model_that_is_not_there_is_told(board: Board, word: str) -> None:
    with board.connect() as connected:
        inputs = [images(1)] if word == "run" else []
        with pytest.raises(ModelError, match=r"none\.tflite"):
            getattr(connected, word)("none.tflite", *inputs)


def test_nothing_is_printed_and_a_function_is_told(
    bundle: Path, model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    del bundle
    lines: list[str] = []
    with Board("host", progress=lines.append).connect() as connected:
        connected.push(model)
    assert any(line.startswith("push") for line in lines)
    with Board("host").connect() as connected:
        connected.push(model)
    sys.stdout.flush()
    assert capfd.readouterr() == ("", "")


def test_a_connection_is_closed_once_and_its_board_is_known(board: Board) -> None:
    connected = board.connect()
    assert isinstance(connected, ConnectedBoard)
    assert connected.board is board
    connected.close()
    connected.close()


def test_results_cannot_be_changed(board: Board, model: Path) -> None:
    with board.connect() as connected:
        done = connected.push(model)
    with pytest.raises(dataclasses.FrozenInstanceError):
        done.board = "another"  # type: ignore[misc]
