"""Generated networks of masked convolutions, in every type, against torch and the stock delegate.

Where neighbours share a mask they run on compact rows; how the unpatched delegate computes the
same file has nothing in common with that. Quantised outputs have to be equal to the last bit.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from support.masked_nets import DTYPES, DType, Mask, Net, Step, networks
from support.net_reference import expected
from support.runtimes import Ran, Runtime, ThroughCLibrary
from support.tflite_writer import Array
from toolchain.build.bundle import Bundle
from toolchain.build.sanitizers import Sanitizer

SETTINGS = settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
# More threads than cores wait for each other, and slowly where others use the cores, too.
THREADS = st.sampled_from((1, 1, 1, 2, 2, 3, 4))
FP16_TOLERANCE = 0.02
"""Of the largest value. fp16 has 11 bits, and there are up to seven layers and 800 products a sum;
a pixel in the wrong place is off by about the largest value."""

_ONE_TAP = Step(
    op="convolution", inputs=(0,), shape=(5, 9, 1), kernel=1, stride=1, padding="SAME",
    activation=None, mask=Mask(kind="lattice", sparsity=0.4, seed=0), form="select", palette=0,
)  # fmt: skip
SMALL_KERNELS = Net(
    batch=1, shape=(5, 9, 1), dtype="float32", steps=(_ONE_TAP, replace(_ONE_TAP, inputs=(1,))),
    outputs=(2,), seed=0,
)  # fmt: skip
"""One channel and one tap are a depthwise convolution, whose micro-kernel has more taps than that;
what it reads for them past the last pixel has to be a row of the compact input, too."""


def check(net: Net, x: Array, ran: Ran, reference: Ran, tolerance: float = 1e-5) -> None:
    """Compare with the unpatched runtime and, ten times as lenient if in floats, with torch."""
    wanted = expected(net, x)
    assert len(ran.outputs) == len(reference.outputs) == len(wanted)
    for output, stock, value in zip(ran.outputs, reference.outputs, wanted, strict=True):
        if net.is_quantized:
            np.testing.assert_array_equal(output, stock)
            difference = np.abs(output.astype(np.float64) - value.array)
            assert difference.max() <= value.steps
        else:
            limit = tolerance * max(1.0, float(np.abs(value.array).max()))
            np.testing.assert_allclose(output, stock, rtol=0, atol=limit)
            np.testing.assert_allclose(output, value.array, rtol=0, atol=10 * limit)


@pytest.mark.parametrize("dtype", DTYPES)
def test_equals_torch_and_the_unpatched_runtime(
    tmp_path: Path, patched: Runtime, stock: Runtime, dtype: DType
) -> None:
    @SETTINGS
    @given(net=networks(dtype), threads=THREADS)
    @example(net=replace(SMALL_KERNELS, dtype=dtype), threads=1)
    def every_network(net: Net, threads: int) -> None:
        model, x = net.write(tmp_path / "net.tflite"), net.input()
        ran = patched.run(model, x, threads)
        assert ran.whole, "a pair was not handed to XNNPACK"
        check(net, x, ran, stock.run(model, x, threads))

    every_network()


def test_a_gate_whose_input_stays_dense_equals_torch_and_the_unpatched_runtime(
    tmp_path: Path, patched: Runtime, stock: Runtime
) -> None:
    """The mean needs a dense tensor; expanding one would need a larger arena."""
    shape, mask = (3, 3, 8), Mask("lattice", 0.2, 0)
    steps = (
        Step("convolution", (0,), shape, mask=mask),
        Step("gate", (1,), shape),
        Step("convolution", (2,), shape),
    )
    net = Net(batch=1, shape=shape, dtype="float32", steps=steps, outputs=(3,), seed=0)
    model, x = net.write(tmp_path / "net.tflite"), net.input()
    check(net, x, patched.run(model, x), stock.run(model, x))


@SETTINGS
@given(net=networks("float32"), threads=THREADS)
@example(net=SMALL_KERNELS, threads=1)
def test_equals_torch_and_the_unpatched_runtime_in_fp16(
    tmp_path: Path,
    through_c_library: ThroughCLibrary,
    stock_through_c_library: ThroughCLibrary,
    net: Net,
    threads: int,
) -> None:
    model, x = net.write(tmp_path / "net.tflite"), net.input()
    ran = replace(through_c_library, fp16=True).run(model, x, threads)
    reference = replace(stock_through_c_library, fp16=True).run(model, x, threads)
    check(net, x, ran, reference, FP16_TOLERANCE)


@pytest.fixture(scope="module")
def through_c_library(
    host_bundle: Bundle, sanitizer: Sanitizer | None, tmp_path_factory: pytest.TempPathFactory
) -> ThroughCLibrary:
    return ThroughCLibrary.build(host_bundle, tmp_path_factory.mktemp("patched"), sanitizer)


@pytest.fixture(scope="module")
def stock_through_c_library(
    host_stock_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> ThroughCLibrary:
    return ThroughCLibrary.build(host_stock_bundle, tmp_path_factory.mktemp("stock"))
