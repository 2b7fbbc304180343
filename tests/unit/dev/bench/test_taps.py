"""Live taps: counted pixel by pixel on small graphs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from support.tflite_writer import Array, GraphWriter
from toolchain.dev.bench.taps import live_taps
from toolchain.sparsity.lattice import lattice_for
from toolchain.tflite_file.graph import Model, read_model

SIDE = 20


def two_layers(
    path: Path, first: Array, second: Array | None, *, kernel: int = 3, stride: int = 1
) -> Model:
    """Two convolutions with masks ``[H, W]``; the second one may have none."""
    rng = np.random.default_rng(0)
    graph = GraphWriter()
    x = y = graph.tensor((1, SIDE, SIDE, 2))
    for mask, side, step in ((first, 3, 1), (second, kernel, stride)):
        size = -(-SIDE // step)
        shape = (1, size, size, 2)
        filters = rng.standard_normal((2, side, side, 2)).astype(np.float32)
        y = graph.conv_2d(y, filters, np.ones(2, np.float32), shape, stride=step)
        if mask is not None:
            kept = graph.constant(mask[None, :, :, None])
            y = graph.select(kept, y, graph.constant(np.ones((1, 1, 1, 2), np.float32)), shape)
    return read_model(graph.write(path, [x], [y]))


def counted(source: Array, outputs: Array, kernel: int, stride: int) -> float:
    """The same, the long way."""
    size = outputs.shape[0]
    before = max((size - 1) * stride + kernel - SIDE, 0) // 2
    live = taps = 0
    for y in range(size):
        for x in range(size):
            for ky in range(kernel):
                for kx in range(kernel):
                    row, column = y * stride + ky - before, x * stride + kx - before
                    if outputs[y, x] and 0 <= row < SIDE and 0 <= column < SIDE:
                        taps += 1
                        live += int(source[row, column])
    return live / taps


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2), (2, 2)])
@pytest.mark.parametrize("masked", [True, False])
def test_the_share_is_that_of_taps_on_kept_input_pixels(
    tmp_path: Path, kernel: int, stride: int, masked: bool
) -> None:
    rng = np.random.default_rng(1)
    size = -(-SIDE // stride)
    first, second = rng.random((SIDE, SIDE)) > 0.3, rng.random((size, size)) > 0.2
    model = two_layers(
        tmp_path / "m.tflite", first, second if masked else None, kernel=kernel, stride=stride
    )
    outputs = second if masked else np.ones_like(second)
    (share,) = live_taps(model).values()
    assert share == pytest.approx(counted(first, outputs, kernel, stride))


def test_a_lattice_of_one_fifth_leaves_seven_taps_of_nine_inside(tmp_path: Path) -> None:
    mask = lattice_for(0.2).classes((SIDE, SIDE)) != 0
    (share,) = live_taps(two_layers(tmp_path / "m.tflite", mask, mask)).values()
    assert share == pytest.approx(7 / 9, abs=0.01)


def test_layers_whose_input_has_no_mask_are_not_listed(tmp_path: Path) -> None:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[:, :3] = True
    model = two_layers(tmp_path / "m.tflite", mask, mask)
    assert len(live_taps(model)) == 1
    dense = two_layers(tmp_path / "d.tflite", np.ones((SIDE, SIDE), bool), None)
    assert set(live_taps(dense).values()) <= {1.0}
