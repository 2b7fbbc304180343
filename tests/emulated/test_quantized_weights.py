"""Quantised weights on the cross-built runner, as several cores; and int16 activations."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from support.bundles import CrossBuilt
from support.quantized_ops import NOISE, Case, all_cases
from toolchain.build.bundle import Bundle
from toolchain.build.qemu_user import emulator_command
from toolchain.profile.runner_output import parse_output

_CASES = list(all_cases())


def _check(folder: Path, case: Case, command: Sequence[str]) -> None:
    path = folder / "model.tflite"
    x, truth, scale, zero_point = case.write(path)
    x.tofile(folder / "input.bin")
    options = ["--input", str(folder / "input.bin"), "--output-dir", str(folder)]
    done = subprocess.run(
        [*command, "--model", str(path), *options, "--runs", "0", "--json", "-"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (facts,) = parse_output(done.stdout).outputs
    found = np.fromfile(folder / "output0.bin", facts.dtype).reshape(facts.shape)
    real = (found.astype(np.float64) - zero_point) * scale
    assert np.abs(real - truth).max() < NOISE[case.activations] * np.abs(truth).max()


@pytest.mark.parametrize("case", _CASES[::4], ids=str)
def test_weights_with_any_scales_are_computed_as_the_file_says(
    tmp_path: Path, case: Case, cross_built: CrossBuilt
) -> None:
    _check(tmp_path, case, [*cross_built.emulator, str(cross_built.bundle.runner)])


@pytest.mark.parametrize(
    "case",
    [item for item in _CASES if item.wide or (not item.bias and item.op == "FULLY_CONNECTED")][::2],
    ids=str,
)
def test_so_they_are_on_a_core_with_dot_products(
    tmp_path: Path, case: Case, qemu_bundle: Bundle
) -> None:
    (tmp_path / "root").mkdir()
    command = emulator_command("cortex-a76", tmp_path / "root", qemu_bundle.manifest.isa)
    _check(tmp_path, case, [*command, str(qemu_bundle.runner)])
