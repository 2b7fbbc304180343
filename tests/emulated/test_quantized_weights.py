"""Quantised weights, int16 activations and MediaPipe's operators on the cross-built runner."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from support.bundles import CrossBuilt
from support.quantized_ops import NOISE, Case, all_cases
from toolchain.profile.runner_output import parse_output


@pytest.mark.parametrize("case", list(all_cases())[::4], ids=str)
def test_weights_with_any_scales_are_computed_as_the_file_says(
    tmp_path: Path, case: Case, cross_built: CrossBuilt
) -> None:
    path = tmp_path / "model.tflite"
    x, truth, scale, zero_point = case.write(path)
    x.tofile(tmp_path / "input.bin")
    command = [*cross_built.emulator, str(cross_built.bundle.runner), "--model", str(path)]
    command += ["--input", str(tmp_path / "input.bin"), "--output-dir", str(tmp_path)]
    done = subprocess.run(
        [*command, "--runs", "0", "--json", "-"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (facts,) = parse_output(done.stdout).outputs
    found = np.fromfile(tmp_path / "output0.bin", facts.dtype).reshape(facts.shape)
    real = (found.astype(np.float64) - zero_point) * scale
    assert np.abs(real - truth).max() < NOISE[case.activations] * np.abs(truth).max()
