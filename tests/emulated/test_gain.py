"""``deploy gain``: copies of any file are estimated, without PyTorch, and told by layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from support import base_only
from support.bundles import write_masked_model
from support.tflite_writer import GraphWriter, Quantization, quantize
from toolchain.board.connect import connect
from toolchain.build.bundle import Bundle
from toolchain.cli.app import app
from toolchain.hardware.board_file import Board
from toolchain.profile.gain_document import Gain


def write_int8_model(path: Path) -> Path:
    """Two 3x3 convolutions in int8 on 32x32 pixels."""
    graph, random = GraphWriter(), np.random.default_rng(1)
    coarse, fine = Quantization((0.05,), 3), Quantization((0.02,))
    shape = (1, 32, 32, 16)
    source = output = graph.tensor(shape, "int8", coarse)
    for _ in range(2):
        filters = quantize(random.standard_normal((16, 3, 3, 16)), fine, "int8")
        bias = random.integers(-50, 50, 16).astype(np.int32)
        weights = graph.constant(filters, fine)
        offsets = graph.constant(bias, Quantization((0.05 * 0.02,)))
        output = graph.conv_2d(output, weights, offsets, shape, activation="relu")
        graph.give_type(output, "int8", coarse)
    return graph.write(path, [source], [output])


@pytest.fixture(params=["float32", "int8"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "dense.tflite"
    if request.param == "int8":
        return write_int8_model(path)
    return write_masked_model(path, sparsity=0, size=32, channels=16)


def gain(folder: Path, *words: object) -> Gain:
    """What it says where the light installation is all that there is."""
    done = base_only.run(folder, "gain", *map(str, words), "--json")
    assert done.returncode == 0, done.stderr
    return Gain.model_validate_json(done.stdout)


def test_more_masks_gain_more_without_torch(
    model: Path, qemu_bundle: Bundle, tmp_path: Path
) -> None:
    found = gain(tmp_path, model, "--bundle", qemu_bundle.path.resolve(), "-t", 1, "-s", "0.25,0.5")
    assert [row.sparsity for row in found.rows] == [0, 0.25, 0.5]
    dense, first, second = (row.ms for row in found.rows)
    assert dense is not None
    assert first is not None
    assert second is not None
    assert second < first < dense
    last = found.rows[-1]
    assert last.by_plan is not None
    assert 1.3 < last.by_plan < 4, "dead taps are skipped, too"
    assert found.masked_share == 1
    assert sum(last.by_bound.values()) == pytest.approx(second)


def test_layers_save_what_the_model_does(model: Path, qemu_bundle: Bundle, tmp_path: Path) -> None:
    found = gain(tmp_path, model, "--bundle", qemu_bundle.path.resolve(), "-t", 1, "-s", "0.5")
    assert found.estimate is not None
    dense, masked = found.estimate.models
    saved = sum(one.saved_ms for one in found.by_layer)
    assert saved == pytest.approx(dense.ms - masked.ms)
    assert {one.name for one in found.by_layer if one.shape} == set(found.masked)


def test_an_emulated_board_is_measured_by_instructions(
    qemu_bundle: Bundle, board: Board, tmp_path: Path
) -> None:
    model = write_masked_model(tmp_path / "dense.tflite", sparsity=0)
    words = ["--measure", "--board", board.given, "--bundle", str(qemu_bundle.path), "-s", "0.5"]
    done = CliRunner().invoke(app, ["gain", str(model), *words, "--json"], catch_exceptions=False)
    found = Gain.model_validate_json(done.stdout)
    assert found.emulated
    dense, masked = found.rows
    assert dense.instructions is not None
    assert masked.instructions is not None
    assert masked.instructions < 0.8 * dense.instructions
    assert masked.speedup == pytest.approx(dense.instructions / masked.instructions)
    assert found.profile is not None
    assert [one.untrained for one in found.profile.measurements] == [False, True]
    with connect(board) as connection:
        left = connection.run(["find", board.ssh.directory, "-name", "dense_s50.tflite"]).stdout
    assert left == b"", "copies do not stay on a board"
