"""The cross-built runner under user-mode QEMU: the same program as on the host, on another core."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from support.bundles import CrossBuilt
from support.runner_models import SIDE, mask, write_network
from toolchain.profile.runner_output import REMAINDER, parse_output, parse_versions


def run(cross_built: CrossBuilt, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [*cross_built.emulator, str(cross_built.bundle.runner), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_it_starts_without_any_library_of_the_board(cross_built: CrossBuilt) -> None:
    assert cross_built.bundle.manifest.files["tileskip-run"].elf is not None
    done = run(cross_built, "--version")
    assert done.returncode == 0, done.stderr
    assert parse_versions(done.stdout).patched


@pytest.mark.parametrize("masked", [False, True], ids=["dense", "masked"])
@pytest.mark.parametrize("threads", [1, 3])
def test_outputs_and_report_are_right(
    cross_built: CrossBuilt, tmp_path: Path, masked: bool, threads: int
) -> None:
    model = write_network(tmp_path / "m.tflite", masked=masked)
    x = np.random.default_rng(0).uniform(-1, 1, (2, SIDE, SIDE, 3)).astype(np.float32)
    x.tofile(tmp_path / "x.bin")
    done = run(
        cross_built, "--model", model, "--input", tmp_path / "x.bin", "--output-dir", tmp_path,
        "--threads", threads, "--per-op", "--runs", 3, "--json", "-",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr

    interpreter = Interpreter(
        str(model),
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    found = np.fromfile(tmp_path / "output0.bin", np.float32).reshape(2, -1)
    for i in range(2):
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x[i : i + 1])
        interpreter.invoke()
        expected = interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).ravel()
        np.testing.assert_allclose(found[i], expected, rtol=0, atol=1e-5 * np.abs(expected).max())

    report = parse_output(done.stdout)
    assert report.examples == 2
    assert report.ops is not None
    assert report.ops[-1].type == REMAINDER
    convolutions = report.ops[:3]
    kept = int(mask().sum()) if masked else SIDE * SIDE
    assert [op.kept for op in convolutions] == [kept] * 3
    for op in convolutions:
        assert op.ukernel is not None
        assert "neon" in op.ukernel
    assert sum(op.share or 0 for op in report.ops) == pytest.approx(1)


def test_a_model_that_is_cut_short_is_refused(cross_built: CrossBuilt, tmp_path: Path) -> None:
    whole = write_network(tmp_path / "m.tflite", masked=True).read_bytes()
    path = tmp_path / "cut.tflite"
    for length in np.random.default_rng(0).integers(0, len(whole), 10):
        path.write_bytes(whole[:length])
        done = run(cross_built, "--model", path)
        assert done.returncode == 3
        assert done.stderr.startswith(f"tileskip-run: error: {path}: is ")
