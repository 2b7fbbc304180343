"""Networks of sparse weights, which XNNPACK computes with channels first where that is faster.

Such a part of a graph begins with one certain convolution, which chains of operators hardly hold.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from support.masks import make_mask
from support.operator_chains import FLOAT_TOLERANCE
from support.runtimes import Runtime
from support.stock_interpreter import KERNELS, run_stock
from support.tflite_writer import GraphWriter


class Network:
    """A graph whose latest value is ``y``; every 1x1 convolution has mostly zeros."""

    def __init__(self, seed: int, batch: int, *, masked: bool) -> None:
        self.graph, self.rng = GraphWriter(), np.random.default_rng(seed)
        self.masked = masked
        self.x = self.y = self.graph.tensor((batch, 12, 12, 3))

    @property
    def shape(self) -> tuple[int, ...]:
        return self.graph.shape(self.y)

    def pad(self, by: int) -> None:
        batch, height, width, channels = self.shape
        pads = self.graph.constant(np.array([[0, 0], [by, by], [by, by], [0, 0]], np.int32))
        shape = (batch, height + 2 * by, width + 2 * by, channels)
        self.y = self.graph.operator("PAD", [self.y, pads], shape, "PadOptions", _options("Pad"))

    def first(self, channels: int) -> None:
        """The 3x3 convolution of three channels and stride 2 that such a part begins with."""
        self.pad(1)
        filters = self.rng.uniform(-0.5, 0.5, (channels, 3, 3, 3)).astype(np.float32)
        shape = (self.shape[0], 6, 6, channels)
        self.y = self.graph.conv_2d(
            self.y, filters, self._bias(channels), shape,
            stride=2, padding="VALID", activation="relu6",
        )  # fmt: skip

    def pointwise(self, channels: int, activation: str | None = "relu") -> None:
        filters = self.rng.uniform(-1, 1, (channels, 1, 1, self.shape[3]))
        filters = filters * (self.rng.random(filters.shape) < 0.2)
        stored = self.graph.sparse(filters.astype(np.float32))
        bias = self.graph.constant(self._bias(channels))
        shape = (*self.shape[:3], channels)
        self.y = self.graph.conv_2d(self.y, stored, bias, shape, activation=activation)
        if self.masked:
            mask = make_mask("lattice", (shape[1], shape[2]), 0.4, np.random.default_rng(0))
            kept = self.graph.constant(mask[None, :, :, None])
            fill = self.graph.constant(self.rng.uniform(0, 1, channels).astype(np.float32))
            self.y = self.graph.select(kept, self.y, fill, shape)

    def depthwise(self, kernel: int) -> None:
        self.pad(kernel // 2)
        batch, height, width, channels = self.shape
        filters = self.rng.uniform(-0.5, 0.5, (1, kernel, kernel, channels)).astype(np.float32)
        shape = (batch, height - kernel + 1, width - kernel + 1, channels)
        self.y = self.graph.conv_2d(
            self.y, filters, self._bias(channels), shape, padding="VALID", depthwise=True
        )

    def reduce(self, name: str, *, keep: bool) -> None:
        """Of all pixels."""
        batch, _, _, channels = self.shape
        options = schema.ReducerOptionsT()
        options.keepDims = keep
        axes = self.graph.constant(np.array([1, 2], np.int32))
        shape = (batch, 1, 1, channels) if keep else (batch, channels)
        self.y = self.graph.operator(name, [self.y, axes], shape, "ReducerOptions", options)

    def reduce_rows(self, *, keep: bool) -> None:
        """The mean of each row of pixels."""
        batch, height, _, channels = self.shape
        options = schema.ReducerOptionsT()
        options.keepDims = keep
        axes = self.graph.constant(np.array([2], np.int32))
        shape = (batch, height, 1, channels) if keep else (batch, height, channels)
        self.y = self.graph.operator("MEAN", [self.y, axes], shape, "ReducerOptions", options)

    def mean_twice(self) -> None:
        """Means of all pixels, two of each: what joins them knows nothing of channels first."""
        self.reduce("MEAN", keep=True)
        batch, _, _, channels = self.shape
        self.y = self.graph.concatenate([self.y, self.y], (batch, 1, 1, 2 * channels))

    def resize(self) -> None:
        batch, height, width, channels = self.shape
        options = schema.ResizeBilinearOptionsT()
        options.alignCorners, options.halfPixelCenters = False, True
        size = self.graph.constant(np.array([height * 2, width * 2], np.int32))
        shape = (batch, height * 2, width * 2, channels)
        self.y = self.graph.operator(
            "RESIZE_BILINEAR", [self.y, size], shape, "ResizeBilinearOptions", options
        )

    def depth_to_space(self) -> None:
        batch, height, width, channels = self.shape
        options = schema.DepthToSpaceOptionsT()
        options.blockSize = 2
        shape = (batch, height * 2, width * 2, channels // 4)
        self.y = self.graph.operator(
            "DEPTH_TO_SPACE", [self.y], shape, "DepthToSpaceOptions", options
        )

    def gate(self) -> None:
        """Squeeze and excite."""
        features, shape = self.y, self.shape
        self.reduce("MEAN", keep=True)
        self.pointwise(4)
        self.pointwise(shape[3], activation=None)
        self.y = self.graph.operator("LOGISTIC", [self.y], self.shape)
        self.y = self.graph.multiply(features, self.y, shape)

    def head(self) -> None:
        """A convolution behind a global mean."""
        self.reduce("MEAN", keep=True)
        self.pointwise(10, activation=None)

    def residual(self) -> None:
        before = self.y
        self.pointwise(24)
        self.depthwise(3)
        self.pointwise(self.graph.shape(before)[3], activation=None)
        self.y = self.graph.add(self.y, before, self.shape)

    def _bias(self, channels: int) -> np.ndarray:
        return self.rng.uniform(-0.3, 0.3, channels).astype(np.float32)


def _options(name: str) -> object:
    made: object = getattr(schema, f"{name}OptionsT")()
    return made


STEPS: dict[str, Callable[[Network], object]] = {
    "pointwise": lambda net: net.pointwise(16),
    "residual": lambda net: net.residual(),
    "depthwise 5": lambda net: net.depthwise(5),
    "gate": lambda net: net.gate(),
    "resize": lambda net: net.resize(),
}
ENDS: dict[str, Callable[[Network], object]] = {
    "mean": lambda net: net.reduce("MEAN", keep=False),
    "mean, axes kept": lambda net: net.reduce("MEAN", keep=True),
    "mean twice": lambda net: net.mean_twice(),
    "rows": lambda net: net.reduce_rows(keep=False),
    "rows, axis kept": lambda net: net.reduce_rows(keep=True),
    "sum": lambda net: net.reduce("SUM", keep=False),
    "head": lambda net: net.head(),
    "depth to space": lambda net: net.depth_to_space(),
}


def check_sparse(
    path: Path, runtime: Runtime, end: str, seed: int, *, batch: int, masked: bool, threads: int = 1
) -> None:
    """Compare a network of two drawn steps and an end with the stock interpreter."""
    net = Network(seed, batch, masked=masked)
    net.first(8)
    net.pointwise(8)
    names = list(STEPS)
    chosen = [names[int(i)] for i in net.rng.integers(len(names), size=2)]
    for name in chosen:
        STEPS[name](net)
    ENDS[end](net)
    net.graph.write(path, [net.x], [net.y])
    x = net.rng.uniform(-1, 1, (batch, 12, 12, 3)).astype(np.float32)
    ran = runtime.run(path, x, threads)
    assert ran.whole is not False
    for kernels in KERNELS:
        wanted = run_stock(path, x, kernels)[0]
        np.testing.assert_allclose(
            ran.outputs[0], wanted, rtol=0, atol=FLOAT_TOLERANCE * float(np.abs(wanted).max()),
            err_msg=f"{chosen}, {end}, seed {seed}, {kernels}",
        )  # fmt: skip
