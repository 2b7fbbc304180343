from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from support.bundles import write_bundle, write_masked_model, write_two_input_model
from support.python_runner import python_runner
from support.tflite_writer import GraphWriter, Quantization
from toolchain.agreement.differences import Array
from toolchain.agreement.inputs import Batch, random_inputs
from toolchain.agreement.interpreter import run_here
from toolchain.board.invoke import BoardRunner
from toolchain.board.local import LocalConnection
from toolchain.board.verify import Verification, judge, quantised, verify
from toolchain.errors import ModelError, VerificationError
from toolchain.formats.json_text import to_json
from toolchain.hardware.board_file import load_board
from toolchain.progress import Silent
from toolchain.tflite_file.graph import Model, read_model


@pytest.fixture
def scales(tmp_path: Path) -> Model:
    """Two outputs ``[1, 4, 2]``: tens of thousands, and at most 1."""
    graph = GraphWriter()
    x = graph.tensor((1, 4, 2))
    large = graph.constant(np.full((1, 4, 2), 60_000, np.float32))
    outputs = [graph.multiply(x, large, (1, 4, 2)), graph.operator("LOGISTIC", [x], (1, 4, 2))]
    return read_model(graph.write(tmp_path / "scales.tflite", [x], outputs))


def _outputs(model: Model, count: int = 3) -> tuple[Batch, list[Array]]:
    batch = random_inputs(model, count, 0)
    return batch, run_here(model, batch)


def _judge(model: Model, batch: Batch, board: list[Array], plain: list[Array] | None = None,
           xnnpack: list[Array] | None = None, **limits: float) -> Verification:  # fmt: skip
    host = run_here(model, batch)
    plain = host if plain is None else plain
    both = {"its plain kernels": plain, "its XNNPACK": host if xnnpack is None else xnnpack}
    return judge(model, batch, board, both, **limits)  # type: ignore[arg-type]


def _changed(arrays: list[Array], output: int, by: float) -> list[Array]:
    changed = [array.copy() for array in arrays]
    changed[output][1, 0, 2, 1] += by
    return changed


def test_a_small_output_beside_a_large_one_is_judged_by_itself(scales: Model) -> None:
    batch, host = _outputs(scales)
    assert _judge(scales, batch, host).passed
    done = _judge(scales, batch, _changed(host, 1, 0.2))
    assert not done.passed
    chief = done.worst.difference
    assert (chief.output, chief.slice) == (1, "channel 1")
    assert (chief.inference, chief.position) == (1, (0, 2, 1))
    assert chief.name.startswith("output 1 '")
    with pytest.raises(
        VerificationError,
        match=r"output 1 '.*' differs from the host by 0.2, .*; the tolerance is 1e-05;",
    ):
        done.require()


def test_a_message_says_what_else_is_wrong_and_what_to_run_next(scales: Model) -> None:
    batch, host = _outputs(scales)
    board = _changed(_changed(host, 0, 90_000.0), 1, 0.2)
    with pytest.raises(VerificationError) as caught:
        _judge(scales, batch, board).require("run: deploy verify --board host scales.tflite")
    assert "wrong, too: output 1" in caught.value.what
    assert "on the host XNNPACK and plain kernels agree" in caught.value.what
    assert caught.value.hint == "run: deploy verify --board host scales.tflite"


def test_kernels_of_the_host_that_differ_make_a_file_ambiguous(scales: Model) -> None:
    batch, host = _outputs(scales)
    other = _changed(host, 1, 0.2)
    done = _judge(scales, batch, host, plain=other)
    assert done.passed
    assert [check.difference.output for check in done.outputs if check.ambiguous] == [1]
    assert done.outputs[1].nearer == "its XNNPACK"
    assert _judge(scales, batch, other, plain=other).outputs[1].nearer == "its plain kernels"
    (note,) = done.notes()
    assert "the file is ambiguous" in note
    assert "output 1" in note
    with pytest.raises(VerificationError, match="XNNPACK and plain kernels differ already"):
        _judge(scales, batch, _changed(host, 1, -0.2), plain=other).require()


def test_rounding_where_large_terms_cancel_is_no_difference(tmp_path: Path) -> None:
    graph = GraphWriter()
    x = graph.tensor((1, 64, 4))
    large, other = (graph.constant(np.full((1, 64, 4), value, np.float32)) for value in (1e4, -1e4))
    left = graph.add(graph.add(x, large, (1, 64, 4)), other, (1, 64, 4))
    output = graph.add(x, graph.operator("NEG", [left], (1, 64, 4)), (1, 64, 4))
    model = read_model(graph.write(tmp_path / "left.tflite", [x], [output]))
    batch, host = _outputs(model)
    assert np.abs(host[0]).max() < 1e-3
    rounded = [host[0] + np.float32(2e-4)]
    assert _judge(model, batch, rounded).passed
    assert not _judge(model, batch, [host[0] + np.float32(0.1)]).passed


@pytest.mark.parametrize("steps", [2.0, 3.0])
def test_quantised_outputs_are_compared_in_their_steps(tmp_path: Path, steps: float) -> None:
    graph = GraphWriter()
    x = graph.tensor((1, 4, 2))
    stored = graph.operator("QUANTIZE", [x], (1, 4, 2))
    scale = Quantization((0.5,), 3)
    graph.give_type(stored, "int8", scale)
    model = read_model(graph.write(tmp_path / "q.tflite", [x], [stored]))
    batch, host = _outputs(model)
    board = [host[0].copy()]
    board[0][1, 0, 2, 1] += np.int8(steps)
    done = _judge(model, batch, board)
    assert done.worst.steps == steps
    assert done.passed == (steps <= 2)
    assert quantised(model)
    if not done.passed:
        with pytest.raises(VerificationError, match="3 quantisation steps; 2 are let through"):
            done.require()


def test_the_document_has_every_output(scales: Model) -> None:
    batch, host = _outputs(scales)
    document = json.loads(to_json(_judge(scales, batch, _changed(host, 1, 0.2)).document()))
    assert [item["passed"] for item in document["outputs"]] == [True, False]
    assert document["outputs"][1]["position"] == [0, 2, 1]
    assert document["worst_output"].startswith("output 1")
    assert document["passed"] is document["ambiguous"] is False


def _runner(folder: Path, program: bytes) -> BoardRunner:
    return BoardRunner(
        LocalConnection("host", folder / "board"), load_board("host"),
        write_bundle(folder / "bundle", program), Silent(),
    )  # fmt: skip


def test_a_board_that_computes_as_this_machine_passes(tmp_path: Path) -> None:
    path = write_masked_model(tmp_path / "m.tflite", size=4, channels=2)
    done = verify(_runner(tmp_path, python_runner()), path)
    assert done.passed
    assert not done.ambiguous
    assert done.blame is None


def test_a_board_that_computes_otherwise_is_told_with_the_operator(tmp_path: Path) -> None:
    """Its logistic function is off by 0.1; nothing stays there of what was tried."""
    graph = GraphWriter()
    x = graph.tensor((1, 8))
    middle = graph.operator("LOGISTIC", [graph.operator("TANH", [x], (1, 8))], (1, 8))
    path = graph.write(tmp_path / "m.tflite", [x], [graph.operator("NEG", [middle], (1, 8))])
    fault = "outputs = [a + 0.1 * ('LOGISTIC' in operators) for a in outputs]"
    done = verify(_runner(tmp_path, python_runner(fault)), path)
    assert done.blame is not None
    assert done.blame.op == "LOGISTIC"
    with pytest.raises(VerificationError, match="board and host part at operator 1, LOGISTIC"):
        done.require()
    models = list((tmp_path / "board" / "tileskip" / "models").rglob("*"))
    assert [model.name for model in models if model.is_file()] == ["m.tflite"]
    assert sum(model.is_dir() for model in models) == 1


def test_no_message_advises_to_accept_a_difference(scales: Model) -> None:
    batch, host = _outputs(scales)
    for output in (0, 1):
        done = _judge(scales, batch, _changed(host, output, 1e5))
        with pytest.raises(VerificationError) as caught:
            done.require()
        text = f"{caught.value} {caught.value.hint} {done.notes()}"
        assert not re.search(r"larger|--tolerance|--steps", text)


def test_the_stock_interpreter_gives_one_output_for_each_input(tmp_path: Path) -> None:
    model = read_model(write_two_input_model(tmp_path / "pair.tflite"))
    batch = random_inputs(model, 4, 0)
    for kernels in ("xnnpack", "builtin"):
        (output,) = run_here(model, batch, kernels)
        assert np.array_equal(output, batch.arrays[0] + batch.arrays[1])


def test_a_model_that_cannot_run_here_is_named(tmp_path: Path) -> None:
    path = write_masked_model(tmp_path / "m.tflite", size=4, channels=2)
    model = read_model(path)
    batch = random_inputs(model, 1, 0)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ModelError, match=r"m\.tflite"):
        run_here(model, batch)
