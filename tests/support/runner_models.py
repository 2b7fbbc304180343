"""Small models for the tests of the runner, on the host and cross-built."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from support.tflite_writer import Array, GraphWriter

SIDE = 10
"""Height and width of the network's input and of each layer."""


def mask() -> Array:
    """``[SIDE, SIDE]``, 70 of 100 pixels kept."""
    kept = np.ones(SIDE * SIDE, bool)
    kept[np.random.default_rng(5).permutation(SIDE * SIDE)[:30]] = False
    return kept.reshape(SIDE, SIDE)


def write_network(path: Path, *, masked: bool, batch: int = 1) -> Path:
    """A 3x3, a depthwise and a 1x1 convolution, each under the mask or none of them."""
    rng = np.random.default_rng(3)
    graph = GraphWriter()
    x = graph.tensor((batch, SIDE, SIDE, 3))
    kept = graph.constant(mask()[None, :, :, None])

    def layer(source: int, filters: tuple[int, ...], channels: int, *, depthwise: bool) -> int:
        shape = (batch, SIDE, SIDE, channels)
        output = graph.conv_2d(
            source,
            rng.uniform(-0.5, 0.5, filters).astype(np.float32),
            rng.uniform(-0.5, 0.5, channels).astype(np.float32),
            shape,
            activation="relu",
            depthwise=depthwise,
        )
        fill = graph.constant(rng.uniform(0.1, 1, (1, 1, 1, channels)).astype(np.float32))
        return graph.select(kept, output, fill, shape) if masked else output

    y = layer(x, (8, 3, 3, 3), 8, depthwise=False)
    y = layer(y, (1, 3, 3, 8), 8, depthwise=True)
    y = layer(y, (16, 1, 1, 8), 16, depthwise=False)
    return graph.write(path, [x], [y])


def write_with_a_sine(path: Path) -> Path:
    """Two convolutions and between them ``SIN``, which XNNPACK's delegate does not take."""
    rng = np.random.default_rng(4)
    graph = GraphWriter()
    x = graph.tensor((1, 4, 4, 2))
    filters = rng.uniform(-1, 1, (2, 3, 3, 2)).astype(np.float32)
    bias = rng.uniform(-1, 1, 2).astype(np.float32)
    y = graph.conv_2d(x, filters, bias, (1, 4, 4, 2))
    y = graph.operator("SIN", [y], (1, 4, 4, 2))
    y = graph.conv_2d(y, filters, bias, (1, 4, 4, 2))
    return graph.write(path, [x], [y])


def write_two_inputs(path: Path) -> Path:
    """``a [2, 3]`` and ``b [3]`` to ``a + b`` and ``(a + b) * a``."""
    graph = GraphWriter()
    a, b = graph.tensor((2, 3)), graph.tensor((3,))
    total = graph.add(a, b, (2, 3))
    return graph.write(path, [a, b], [total, graph.multiply(total, a, (2, 3))])
