"""A masked detector on the emulated board: its raw outputs are torch's, its pixels are skipped."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from toolchain.agreement.differences import Array
from toolchain.agreement.inputs import Batch
from toolchain.board.connection import Connection
from toolchain.board.invoke import BoardRunner, Settings
from toolchain.build.bundle import Bundle
from toolchain.convert.conversion import convert
from toolchain.hardware.board_file import Board
from toolchain.profile.runner_output import parse_output
from toolchain.progress import Silent
from toolchain.sparsity.masked_conv import summary
from toolchain.tflite_file.graph import read_model
from toolchain.zoo.detection import decode
from toolchain.zoo.yolov5 import YOLOv5, yolov5n

SIZE = 160


def small() -> YOLOv5:
    """YOLOv5n, a fifth of the pixels masked, for small images."""
    return yolov5n(0.2, size=SIZE)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("yolov5") / "yolov5n_s20.tflite"
    done = convert(None, path, model=f"{__name__}:small", input_shapes=[(1, 3, SIZE, SIZE)], seed=0)
    assert all(layer.form == "select" for layer in done.layers)
    return path


def test_raw_outputs_on_the_board_are_torchs(
    board: Board, connection: Connection, qemu_bundle: Bundle, path: Path
) -> None:
    model = small()
    images = torch.rand(2, 1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        scales = zip(*(model(image) for image in images), strict=True)
        expected: list[Array] = [torch.stack(s).permute(0, 1, 3, 4, 2).numpy() for s in scales]
    batch = Batch((images.permute(0, 1, 3, 4, 2).contiguous().numpy(),), joined=False)
    runner = BoardRunner(connection, board, qemu_bundle, Silent())
    outcome = runner.run(read_model(path), Settings(runs=1, per_op=True), batch)

    found = sorted(outcome.outputs, key=lambda array: -array.size)
    assert [array.shape for array in found] == [(2, 1, n, n, 255) for n in (20, 10, 5)]
    largest = max(float(np.abs(array).max()) for array in expected)
    assert largest > 1
    for have, want in zip(found, expected, strict=True):
        assert float(np.abs(have - want).max()) <= 1e-5 * largest

    operators = parse_output(outcome.report).ops
    assert operators is not None
    kept = Counter(op.kept for op in operators if op.kept != op.pixels)
    assert kept == Counter(row.kept for row in summary(model))

    (here,) = decode([array[0] for array in expected], (SIZE, SIZE), threshold=0)
    (there,) = decode([array[0] for array in found], (SIZE, SIZE), threshold=0)
    np.testing.assert_allclose(there.boxes, here.boxes, atol=0.1)
    np.testing.assert_allclose(there.scores, here.scores, atol=1e-4)
