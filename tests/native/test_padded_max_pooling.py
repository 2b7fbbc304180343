"""Max poolings with a PADV2 before them, against the stock interpreter and our unpatched runtime.

The unpatched delegate leaves PADV2 to TFLite. A maximum is exact, so bits are compared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.runtimes import ByRunner, Runtime
from support.stock_interpreter import KERNELS, assert_near_stock, run_stock
from support.tflite_writer import Array, GraphWriter, Quantization
from toolchain.build.bundle import Bundle
from toolchain.build.sanitizers import Sanitizer

LOWEST = float(np.finfo(np.float32).min)
QUANTIZATION = Quantization((0.05,), 3)
Shape = tuple[int, int, int, int]


# The runner counts delegated nodes: a PADV2 that is left out may well be the first.
@pytest.fixture(scope="module")
def patched(host_bundle: Bundle, sanitizer: Sanitizer | None) -> Runtime:
    return ByRunner(host_bundle, sanitizer)


@pytest.fixture(scope="module")
def stock(host_stock_bundle: Bundle) -> Runtime:
    return ByRunner(host_stock_bundle)


@dataclass(frozen=True)
class Axis:
    """One of the two axes of an image: its size, and what pooling does along it."""

    size: int
    window: int
    stride: int
    before: int
    after: int

    @property
    def padded(self) -> int:
        """The size with its padding."""
        return self.before + self.size + self.after

    @property
    def output(self) -> int:
        """How many windows there are."""
        return (self.padded - self.window) // self.stride + 1


@dataclass(frozen=True)
class Pooling:
    """A graph that is a PADV2 and a MAX_POOL_2D, of any of the three types."""

    rows: Axis
    columns: Axis
    batch: int = 1
    channels: int = 4
    dtype: str = "float32"
    value: float = LOWEST
    paddings_dtype: str = "int32"
    activation: str | None = None
    more: tuple[int, int] = (0, 0)
    """Padding after the batch and after the channels."""

    @property
    def shape(self) -> Shape:
        """Of the input."""
        return (self.batch, self.rows.size, self.columns.size, self.channels)

    @property
    def padded_shape(self) -> Shape:
        """Of the padded image."""
        batch, channels = self.batch + self.more[0], self.channels + self.more[1]
        return (batch, self.rows.padded, self.columns.padded, channels)

    @property
    def output_shape(self) -> Shape:
        """Of the output."""
        batch, _, _, channels = self.padded_shape
        return (batch, self.rows.output, self.columns.output, channels)

    @property
    def quantization(self) -> Quantization | None:
        """Of all three tensors."""
        return None if self.dtype == "float32" else QUANTIZATION

    def input(self, rng: np.random.Generator) -> Array:
        """Random numbers, with the extremes of the type among them."""
        x = rng.standard_normal(self.shape, np.float32)
        extremes = rng.random(self.shape)
        if self.dtype == "float32":
            lowest, highest = (LOWEST if self.value == LOWEST else -np.inf), -LOWEST
        else:
            info = np.iinfo(self.dtype)
            lowest, highest = info.min, info.max
            x = np.clip(x * 40 + (info.min + info.max) / 2, lowest, highest).astype(self.dtype)
        x[extremes < 0.3] = lowest
        x[extremes > 0.98] = highest
        return x

    def pad(self, graph: GraphWriter, source: int) -> int:
        """Add the PADV2."""
        rows, columns = self.rows, self.columns
        paddings = np.array(
            [[0, self.more[0]], [rows.before, rows.after],
             [columns.before, columns.after], [0, self.more[1]]],
            self.paddings_dtype,
        )  # fmt: skip
        value = graph.constant(np.array(self.value, self.dtype), self.quantization)
        padded = graph.pad_v2(source, graph.constant(paddings), value, self.padded_shape)
        return self._typed(graph, padded)

    def pool(self, graph: GraphWriter, padded: int) -> int:
        """Add the MAX_POOL_2D."""
        pooled = graph.max_pool(
            padded,
            (self.rows.window, self.columns.window),
            self.output_shape,
            stride=(self.rows.stride, self.columns.stride),
            activation=self.activation,
        )
        return self._typed(graph, pooled)

    def start(self) -> tuple[GraphWriter, int]:
        """A graph with its input."""
        graph = GraphWriter()
        return graph, graph.tensor(self.shape, self.dtype, self.quantization)

    def write(self, path: Path) -> Path:
        """Write the graph of both."""
        graph, x = self.start()
        return graph.write(path, [x], [self.pool(graph, self.pad(graph, x))])

    def _typed(self, graph: GraphWriter, tensor: int) -> int:
        if self.quantization:
            graph.give_type(tensor, self.dtype, self.quantization)
        return tensor


@st.composite
def axes(draw: st.DrawFn, smallest_window: int) -> Axis:
    window = draw(st.integers(smallest_window, 4))
    before, after = draw(st.integers(0, window - 1)), draw(st.integers(0, window - 1))
    size = draw(st.integers(max(1, window - before - after), 9))
    return Axis(size, window, draw(st.integers(1, window)), before, after)


@st.composite
def poolings(draw: st.DrawFn) -> Pooling:
    rows = draw(axes(1))
    dtype = draw(st.sampled_from(["float32", "int8", "uint8"]))
    values = [LOWEST, -np.inf] if dtype == "float32" else [np.iinfo(dtype).min]
    return Pooling(
        rows=rows,
        columns=draw(axes(2 if rows.window == 1 else 1)),
        batch=draw(st.integers(1, 2)),
        channels=draw(st.integers(1, 37)),
        dtype=dtype,
        value=draw(st.sampled_from(values)),
        paddings_dtype=draw(st.sampled_from(["int32", "int64"])),
        activation=draw(st.sampled_from([None, "relu", "relu6"])),
    )


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(pooling=poolings(), threads=st.integers(1, 3), seed=st.integers(0, 2**31))
def test_equals_the_stock_interpreter_and_the_unpatched_runtime(
    tmp_path: Path, patched: Runtime, stock: Runtime, pooling: Pooling, threads: int, seed: int
) -> None:
    model = pooling.write(tmp_path / "pooling.tflite")
    x = pooling.input(np.random.default_rng(seed))
    ran, reference = patched.run(model, x, threads), stock.run(model, x, threads)
    assert ran.whole, "the pair was not handed to XNNPACK"
    assert not reference.whole, "the reference has the PADV2 left in"
    assert ran.outputs[0].shape == pooling.output_shape
    assert ran.outputs[0].tobytes() == reference.outputs[0].tobytes()
    for kernels in KERNELS:
        wanted = run_stock(model, x, kernels)[0]
        # TFLite's own maximum begins at the lowest finite number.
        found = np.maximum(ran.outputs[0], LOWEST) if wanted.dtype == np.float32 else ran.outputs[0]
        np.testing.assert_array_equal(
            found, np.maximum(wanted, LOWEST) if wanted.dtype == np.float32 else wanted
        )


THREE = Axis(7, window=3, stride=2, before=1, after=1)
PLAIN = Pooling(THREE, THREE)


@pytest.mark.parametrize("value", [LOWEST, -np.inf])
def test_where_all_is_minus_infinity_so_is_the_maximum(
    tmp_path: Path, patched: Runtime, value: float
) -> None:
    pooling = Pooling(THREE, THREE, value=value)
    x = np.full(pooling.shape, -np.inf, np.float32)
    ran = patched.run(pooling.write(tmp_path / "model.tflite"), x)
    assert np.isneginf(ran.outputs[0]).all()


def test_between_masked_convolutions(tmp_path: Path, patched: Runtime, stock: Runtime) -> None:
    rng = np.random.default_rng(5)

    def masked(graph: GraphWriter, source: int, size: int) -> int:
        shape = (1, size, size, 8)
        filters = rng.standard_normal((8, 3, 3, 8), np.float32)
        convolved = graph.conv_2d(source, filters, rng.standard_normal(8, np.float32), shape)
        mask = graph.constant(rng.random((1, size, size, 1)) > 0.3)
        fill = graph.constant(rng.standard_normal((1, 1, 1, 8), np.float32))
        return graph.select(mask, convolved, fill, shape)

    pooling = Pooling(THREE, THREE, channels=8)
    graph, x = pooling.start()
    padded = pooling.pad(graph, masked(graph, x, 7))
    output = masked(graph, pooling.pool(graph, padded), 4)
    values = pooling.input(rng).clip(-1, 1)
    fused = patched.run(graph.write(tmp_path / "fused.tflite", [x], [output]), values)
    model = graph.write(tmp_path / "apart.tflite", [x], [output, padded])
    apart, reference = patched.run(model, values), stock.run(model, values)
    assert fused.whole
    assert not apart.whole
    np.testing.assert_array_equal(fused.outputs[0], apart.outputs[0])
    np.testing.assert_allclose(fused.outputs[0], reference.outputs[0], rtol=0, atol=1e-4)
    assert_near_stock(fused.outputs, tmp_path / "fused.tflite", values)


def test_several_in_a_network(tmp_path: Path, patched: Runtime, stock: Runtime) -> None:
    wide = Axis(7, window=4, stride=2, before=2, after=1)
    first, second = PLAIN, Pooling(wide, THREE, value=-np.inf)
    graph, x = first.start()
    inner = graph.operator("ABS", [x], first.shape)
    pooled = [pair.pool(graph, pair.pad(graph, inner)) for pair in (first, second)]
    pooled.append(second.pool(graph, second.pad(graph, x)))
    output = graph.concatenate(pooled, (1, 4, 4, 12))
    model = graph.write(tmp_path / "model.tflite", [x], [output])
    values = np.random.default_rng(5).standard_normal(first.shape, np.float32)
    ran = patched.run(model, values)
    assert ran.whole
    np.testing.assert_array_equal(ran.outputs[0], stock.run(model, values).outputs[0])
    assert_near_stock(ran.outputs, model, values)


def _padded_image_is_an_output(path: Path) -> tuple[Path, Pooling]:
    graph, x = PLAIN.start()
    padded = PLAIN.pad(graph, x)
    return graph.write(path, [x], [PLAIN.pool(graph, padded), padded]), PLAIN


def _padded_image_is_read_twice(path: Path) -> tuple[Path, Pooling]:
    graph, x = PLAIN.start()
    padded = PLAIN.pad(graph, x)
    pooled = [PLAIN.pool(graph, padded), PLAIN.pool(graph, padded)]
    return graph.write(path, [x], [graph.add(pooled[0], pooled[1], PLAIN.output_shape)]), PLAIN


def _padded_image_is_read_by_another(path: Path) -> tuple[Path, Pooling]:
    graph, x = PLAIN.start()
    output = graph.operator("ABS", [PLAIN.pad(graph, x)], PLAIN.padded_shape)
    return graph.write(path, [x], [output]), PLAIN


def _pooling_pads_as_well(path: Path) -> tuple[Path, Pooling]:
    graph, x = PLAIN.start()
    padded = PLAIN.pad(graph, x)
    pooled = graph.max_pool(padded, (3, 3), (1, 5, 5, 4), stride=(2, 2), padding="SAME")
    return graph.write(path, [x], [pooled]), PLAIN


def _value_is_computed(path: Path) -> tuple[Path, Pooling]:
    graph, x = PLAIN.start()
    value = graph.operator("NEG", [graph.constant(np.array([-LOWEST], np.float32))], (1,))
    paddings = graph.constant(np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32))
    padded = graph.pad_v2(x, paddings, value, PLAIN.padded_shape)
    return graph.write(path, [x], [PLAIN.pool(graph, padded)]), PLAIN


def _scales_differ(path: Path) -> tuple[Path, Pooling]:
    pooling = Pooling(THREE, THREE, dtype="int8", value=-128)
    graph = GraphWriter()
    x = graph.tensor(pooling.shape, "int8", Quantization((0.1,), 3))
    return graph.write(path, [x], [pooling.pool(graph, pooling.pad(graph, x))]), pooling


def _pair(pooling: Pooling) -> Callable[[Path], tuple[Path, Pooling]]:
    return lambda path: (pooling.write(path), pooling)


@pytest.mark.parametrize(
    "write",
    [
        _padded_image_is_an_output,
        _padded_image_is_read_twice,
        _padded_image_is_read_by_another,
        _pooling_pads_as_well,
        _value_is_computed,
        _scales_differ,
        pytest.param(_pair(Pooling(THREE, THREE, value=0)), id="zero"),
        pytest.param(_pair(Pooling(THREE, THREE, value=np.nextafter(LOWEST, 0, dtype=np.float32))),
                     id="above_lowest"),
        pytest.param(_pair(Pooling(THREE, THREE, value=np.inf)), id="infinity"),
        pytest.param(_pair(Pooling(THREE, THREE, value=np.nan)), id="not_a_number"),
        pytest.param(_pair(Pooling(THREE, THREE, dtype="int8", value=-127)), id="int8"),
        pytest.param(_pair(Pooling(THREE, THREE, dtype="uint8", value=3)), id="zero_point"),
        pytest.param(_pair(Pooling(THREE, THREE, more=(1, 0))), id="batch_is_padded"),
        pytest.param(_pair(Pooling(THREE, THREE, more=(0, 1))), id="channels_are_padded"),
        pytest.param(_pair(Pooling(Axis(7, 3, 2, 3, 0), THREE)), id="window_above_the_image"),
        pytest.param(_pair(Pooling(THREE, Axis(7, 3, 2, 0, 3))), id="window_beside_the_image"),
        pytest.param(_pair(Pooling(Axis(7, 2, 3, 1, 1), THREE)), id="stride_beyond_the_window"),
        pytest.param(_pair(Pooling(Axis(7, 1, 1, 0, 0), Axis(7, 1, 1, 0, 0))), id="no_window"),
    ],
)  # fmt: skip
def test_runs_what_it_does_not_recognise_as_before(
    tmp_path: Path,
    patched: Runtime,
    stock: Runtime,
    write: Callable[[Path], tuple[Path, Pooling]],
) -> None:
    model, pooling = write(tmp_path / "model.tflite")
    x = pooling.input(np.random.default_rng(7))
    ran, reference = patched.run(model, x), stock.run(model, x)
    assert not ran.whole
    for output, expected in zip(ran.outputs, reference.outputs, strict=True):
        np.testing.assert_array_equal(output, expected)
    if np.isfinite(pooling.value):  # TFLite's own kernels clamp infinite numbers, and sums
        ordinary = x.clip(-4, 4) if x.dtype == np.float32 else x
        assert_near_stock(patched.run(model, ordinary).outputs, model, ordinary)
