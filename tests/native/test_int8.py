"""int8 models: run by XNNPACK's kernels, which TensorFlow Lite 2.14 leaves off unless asked."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from ai_edge_quantizer import quantizer, recipe

from toolchain.agreement.inputs import random_inputs
from toolchain.agreement.interpreter import run_here
from toolchain.build.bundle import Bundle
from toolchain.convert.conversion import convert
from toolchain.profile.runner_output import parse_output
from toolchain.tflite_file.graph import read_model
from toolchain.zoo.catalog import CHECKPOINTS


@pytest.fixture(scope="module")
def int8_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The masked Fashion-MNIST network, quantised per channel with calibration data."""
    folder = tmp_path_factory.mktemp("int8")
    fp32 = convert(CHECKPOINTS / "fashion_resnet_s20.safetensors", folder / "s20.tflite").path
    rng = np.random.default_rng(0)
    images = [rng.standard_normal((1, 28, 28, 1)).astype(np.float32) for _ in range(8)]
    work = quantizer.Quantizer(str(fp32), recipe.static_wi8_ai8())
    statistics = work.calibrate({"serving_default": [{"args_0": image} for image in images]})
    path = folder / "s20_int8.tflite"
    work.quantize(statistics).export_model(str(path))
    return path


def test_convolutions_of_an_int8_model_run_on_xnnpacks_int8_kernels(
    tmp_path: Path, host_bundle: Bundle, int8_model: Path
) -> None:
    model = read_model(int8_model)
    batch = random_inputs(model, 3, seed=1)
    batch.arrays[0].tofile(tmp_path / "input.bin")
    command = [str(host_bundle.runner), "--model", str(int8_model), "--per-op", "--runs", "1"]
    command += ["--input", str(tmp_path / "input.bin"), "--output-dir", str(tmp_path)]
    done = subprocess.run([*command, "--json", "-"], check=True, capture_output=True, text=True)
    operators = parse_output(done.stdout).ops
    assert operators is not None
    kernels = [item.ukernel for item in operators if item.pixels is not None]
    assert len(kernels) == 9
    assert all(name is not None and ("_qs8_" in name or "_qc8w" in name) for name in kernels)
    (expected,) = run_here(model, batch)
    output = np.fromfile(tmp_path / "output0.bin", expected.dtype).reshape(expected.shape)
    assert int(np.abs(output.astype(int) - expected.astype(int)).max()) <= 1
