"""Generated networks of masked convolutions on the cross-built runner, as a Cortex-A76."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.masked_nets import DTYPES, DType, Mask, Net, Step, nets
from support.net_reference import expected
from support.runtimes import ByRunner, run_checked
from toolchain.build.bundle import Bundle
from toolchain.build.qemu_user import emulator_command
from toolchain.profile.runner_output import parse_output

SETTINGS = settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
ALLOWS_FP16 = {"reduced_precision_support": b"fp16accfp16"}
"""With this entry of the file the delegate computes in fp16 on cores that have it."""

EXAMPLE = Net(
    batch=1, shape=(6, 6, 3), dtype="float32", outputs=(1,), seed=1,
    steps=(Step("convolution", (0,), (6, 6, 8), 3, mask=Mask("lattice", 0.4, 1)),),
)  # fmt: skip


@pytest.fixture(scope="module")
def runner(qemu_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> ByRunner:
    """On a core with dot products and fp16."""
    root = tmp_path_factory.mktemp("root")
    return ByRunner(qemu_bundle, under=tuple(emulator_command("cortex-a76", root)))


@pytest.mark.parametrize("dtype", [*DTYPES, "float16"])
def test_cross_built_runtime_equals_torch(
    tmp_path: Path, runner: ByRunner, dtype: DType | Literal["float16"]
) -> None:
    half = dtype == "float16"
    if half:
        model = EXAMPLE.write(tmp_path / "example.tflite", ALLOWS_FP16)
        command = [*runner.under, str(runner.bundle.runner), "--model", str(model)]
        said = run_checked([*command, "--runs", "1", "--per-op", "--json", "-"])
        types = [item.type for item in parse_output(said).ops or []]
        assert [item for item in types if "Convolution (NHWC, F16)" in item], types

    @SETTINGS
    @given(net=nets("float32" if dtype == "float16" else dtype), threads=st.integers(1, 3))
    def every_network(net: Net, threads: int) -> None:
        model = net.write(tmp_path / "net.tflite", ALLOWS_FP16 if half else None)
        x = net.input()
        ran = runner.run(model, x, threads)
        assert ran.whole, "a pair was not handed to XNNPACK"
        for output, value in zip(ran.outputs, expected(net, x), strict=True):
            difference = np.abs(output.astype(np.float64) - value.array).max()
            if net.is_quantized:
                assert difference <= value.steps
            else:
                largest = max(1.0, float(np.abs(value.array).max()))
                assert difference <= (0.05 if half else 1e-4) * largest

    every_network()
