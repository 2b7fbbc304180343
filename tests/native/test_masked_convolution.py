"""Masked convolutions in the patched delegate against torch, the stock interpreter, and our own.

Our unpatched delegate runs the very same file with SELECT_V2 left in, and to it bits are compared.
What both have in common, XNNPACK and the delegate over it, torch and the stock interpreter judge.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.masked_case import Case, cases
from support.runtimes import Runtime
from support.stock_interpreter import assert_near_stock
from support.tflite_writer import GraphWriter


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(case=cases(), threads=st.integers(1, 4))
def test_equals_torch_and_the_unpatched_runtime(
    tmp_path: Path, patched: Runtime, stock: Runtime, case: Case, threads: int
) -> None:
    model = case.write(tmp_path / "case.tflite")
    x = case.input()
    ran, reference = patched.run(model, x, threads), stock.run(model, x, threads)
    masked, unmasked = ran.outputs[0], reference.outputs[0]
    tolerance = 1e-5 * max(1.0, float(np.abs(unmasked).max()))
    np.testing.assert_allclose(masked, unmasked, rtol=0, atol=tolerance)
    np.testing.assert_allclose(masked, case.expected(x), rtol=0, atol=10 * tolerance)
    assert ran.whole, "the pair was not handed to XNNPACK"
    assert reference.whole == (case.form == "multiply"), "the reference has the SELECT_V2 left in"
    skipped = np.broadcast_to(~case.mask[None, :, :, None], masked.shape)
    np.testing.assert_array_equal(masked[skipped], unmasked[skipped])


def _graph_with_a_mask(
    rng: np.random.Generator,
) -> tuple[GraphWriter, int, int, int, int]:
    graph = GraphWriter()
    x = graph.tensor((1, 6, 5, 3))
    filters = rng.standard_normal((4, 3, 3, 3), np.float32)
    convolved = graph.conv_2d(x, filters, rng.standard_normal(4, np.float32), (1, 6, 5, 4))
    mask = graph.constant(rng.random((1, 6, 5, 1)) > 0.4)
    fill = graph.constant(rng.standard_normal((1, 1, 1, 4), np.float32))
    return graph, x, convolved, mask, fill


SHAPE = (1, 6, 5, 4)


def _second_consumer(rng: np.random.Generator, path: Path) -> Path:
    graph, x, convolved, mask, fill = _graph_with_a_mask(rng)
    masked = graph.select(mask, convolved, fill, SHAPE)
    return graph.write(path, [x], [graph.operator("MAXIMUM", [masked, convolved], SHAPE)])


def _convolution_is_an_output(rng: np.random.Generator, path: Path) -> Path:
    graph, x, convolved, mask, fill = _graph_with_a_mask(rng)
    return graph.write(path, [x], [graph.select(mask, convolved, fill, SHAPE), convolved])


def _both_operands_are_the_convolution(rng: np.random.Generator, path: Path) -> Path:
    graph, x, convolved, mask, _ = _graph_with_a_mask(rng)
    return graph.write(path, [x], [graph.select(mask, convolved, convolved, SHAPE)])


def _mask_is_computed(rng: np.random.Generator, path: Path) -> Path:
    graph, x, convolved, _, fill = _graph_with_a_mask(rng)
    zero = graph.constant(np.zeros((1, 1, 1, 1), np.float32))
    greater = graph.comparison("GREATER", [convolved, zero], SHAPE)
    return graph.write(path, [x], [graph.select(greater, convolved, fill, SHAPE)])


def _mask_has_channels(rng: np.random.Generator, path: Path) -> Path:
    graph, x, convolved, _, fill = _graph_with_a_mask(rng)
    mask = graph.constant(rng.random(SHAPE) > 0.4)
    return graph.write(path, [x], [graph.select(mask, convolved, fill, SHAPE)])


def _fill_has_pixels(rng: np.random.Generator, path: Path) -> Path:
    graph, x, convolved, mask, _ = _graph_with_a_mask(rng)
    fill = graph.constant(rng.standard_normal(SHAPE, np.float32))
    return graph.write(path, [x], [graph.select(mask, convolved, fill, SHAPE)])


def _fill_is_computed(rng: np.random.Generator, path: Path) -> Path:
    graph, x, convolved, mask, _ = _graph_with_a_mask(rng)
    bias = graph.constant(rng.standard_normal((1, 1, 1, 1), np.float32))
    other = graph.operator("ABS", [bias], (1, 1, 1, 1))
    return graph.write(path, [x], [graph.select(mask, convolved, other, SHAPE)])


def _select_grows_the_batch(rng: np.random.Generator, path: Path) -> Path:
    graph, x, convolved, mask, _ = _graph_with_a_mask(rng)
    fill = graph.constant(rng.standard_normal((2, 1, 1, 4), np.float32))
    return graph.write(path, [x], [graph.select(mask, convolved, fill, (2, 6, 5, 4))])


def _factors_other_than_0_and_1(rng: np.random.Generator, path: Path) -> Path:
    graph, x, convolved, _, _ = _graph_with_a_mask(rng)
    factors = graph.constant(rng.random((1, 6, 5, 1), np.float32))
    return graph.write(path, [x], [graph.multiply(convolved, factors, SHAPE)])


def _residual_add_reads_the_convolution(rng: np.random.Generator, path: Path) -> Path:
    graph, x, convolved, mask, fill = _graph_with_a_mask(rng)
    second = graph.conv_2d(
        convolved,
        rng.standard_normal((4, 3, 3, 4), np.float32),
        rng.standard_normal(4, np.float32),
        SHAPE,
    )
    masked = graph.select(mask, convolved, fill, SHAPE)
    return graph.write(path, [x], [graph.add(masked, second, SHAPE)])


@pytest.mark.parametrize(
    "write",
    [
        _second_consumer,
        _convolution_is_an_output,
        _both_operands_are_the_convolution,
        _mask_is_computed,
        _mask_has_channels,
        _fill_has_pixels,
        _fill_is_computed,
        _select_grows_the_batch,
        _factors_other_than_0_and_1,
        _residual_add_reads_the_convolution,
    ],
    ids=lambda write: write.__name__.strip("_"),
)
def test_runs_what_it_does_not_recognise_as_before(
    tmp_path: Path, patched: Runtime, stock: Runtime, write: object
) -> None:
    assert callable(write)
    rng = np.random.default_rng(7)
    model = write(rng, tmp_path / "model.tflite")
    x = rng.standard_normal((1, 6, 5, 3), np.float32)
    ran = patched.run(model, x)
    np.testing.assert_array_equal(ran.outputs[0], stock.run(model, x).outputs[0])
    assert_near_stock(ran.outputs, model, x)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(case=cases(masks=False), threads=st.integers(1, 4))
def test_dense_model_gives_the_bits_of_the_unpatched_runtime(
    tmp_path: Path, patched: Runtime, stock: Runtime, case: Case, threads: int
) -> None:
    model = case.write(tmp_path / "dense.tflite")
    x = case.input()
    ran = patched.run(model, x, threads)
    np.testing.assert_array_equal(ran.outputs[0], stock.run(model, x, threads).outputs[0])
    assert_near_stock(ran.outputs, model, x)
