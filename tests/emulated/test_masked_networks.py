"""Generated networks of masked convolutions on the cross-built runner, as on several cores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.masked_nets import DTYPES, DType, Mask, Net, Step, networks
from support.net_reference import expected
from support.runtimes import ByRunner, run_checked
from toolchain.build.bundle import Bundle
from toolchain.build.qemu_user import emulator_command
from toolchain.hardware.facts import Core
from toolchain.profile.runner_output import parse_output

CORES: tuple[Core, ...] = ("cortex-a53", "cortex-a72", "cortex-a76")
SETTINGS = settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
THREADS = st.sampled_from((1, 1, 2, 3))
ALLOWS_FP16 = {"reduced_precision_support": b"fp16accfp16"}
"""With this entry of the file the delegate computes in fp16 on cores that have it."""
EXAMPLE = Net(
    batch=1, shape=(6, 6, 3), dtype="float32", outputs=(1,), seed=1,
    steps=(Step("convolution", (0,), (6, 6, 8), 3, mask=Mask("lattice", 0.4, 1)),),
)  # fmt: skip


@pytest.fixture(scope="module")
def runners(qemu_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> dict[Core, ByRunner]:
    folder = tmp_path_factory.mktemp("roots")
    commands = {core: emulator_command(core, _made(folder / core)) for core in CORES}
    return {core: ByRunner(qemu_bundle, under=tuple(command)) for core, command in commands.items()}


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("core", CORES)
def test_cross_built_runtime_equals_torch(
    tmp_path: Path, runners: dict[Core, ByRunner], core: Core, dtype: DType
) -> None:
    @SETTINGS
    @given(net=networks(dtype), threads=THREADS)
    def every_network(net: Net, threads: int) -> None:
        model = net.write(tmp_path / "net.tflite")
        check(net, model, runners[core], threads, 1e-4)

    every_network()


def test_cross_built_runtime_equals_torch_in_fp16(
    tmp_path: Path, runners: dict[Core, ByRunner]
) -> None:
    runner = runners["cortex-a76"]
    model = EXAMPLE.write(tmp_path / "example.tflite", ALLOWS_FP16)
    command = [*runner.under, str(runner.bundle.runner), "--model", str(model)]
    said = run_checked([*command, "--runs", "1", "--per-op", "--json", "-"])
    types = [item.type for item in parse_output(said).ops or []]
    assert [item for item in types if "Convolution (NHWC, F16)" in item], types

    @SETTINGS
    @given(net=networks("float32"), threads=THREADS)
    def every_network(net: Net, threads: int) -> None:
        model = net.write(tmp_path / "net.tflite", ALLOWS_FP16)
        check(net, model, runner, threads, 0.05)

    every_network()


def check(net: Net, model: Path, runner: ByRunner, threads: int, tolerance: float) -> None:
    """Run the network; ``tolerance`` is of floats, as a part of the largest output."""
    x = net.input()
    ran = runner.run(model, x, threads)
    assert ran.whole, "a pair was not handed to XNNPACK"
    for output, value in zip(ran.outputs, expected(net, x), strict=True):
        difference = np.abs(output.astype(np.float64) - value.array).max()
        if net.is_quantized:
            assert difference <= value.steps
        else:
            assert difference <= tolerance * max(1.0, float(np.abs(value.array).max()))
