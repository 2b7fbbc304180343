"""A sample of the property tests on the cross-built runner, under user-mode QEMU."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.bundles import CrossBuilt
from support.masked_case import Case, cases
from toolchain.profile.runner_output import parse_output


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(case=cases(max_size=8), threads=st.integers(1, 4))
def test_cross_built_runtime_equals_torch_and_skips_what_the_mask_says(
    tmp_path: Path, cross_built: CrossBuilt, case: Case, threads: int
) -> None:
    model = case.write(tmp_path / "case.tflite")
    x = case.input()
    x.tofile(tmp_path / "input.bin")
    command = [*cross_built.emulator, str(cross_built.bundle.runner)]
    command += ["--model", str(model), "--input", str(tmp_path / "input.bin")]
    command += ["--output-dir", str(tmp_path), "--threads", str(threads)]
    command += ["--runs", "1", "--per-op", "--json", "-"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    expected = case.expected(x)
    output = np.fromfile(tmp_path / "output0.bin", np.float32).reshape(expected.shape)
    tolerance = 1e-4 * max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(output, expected, rtol=0, atol=tolerance)

    operators = parse_output(done.stdout).ops
    assert operators is not None
    convolutions = [item for item in operators if item.pixels is not None]
    assert [item.kept for item in convolutions] == [int(case.mask.sum())]
    assert [item.pixels for item in convolutions] == [case.mask.size]
    assert all(item.ukernel is not None for item in convolutions)
