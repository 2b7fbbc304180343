"""Several threads beside busy processes: every runtime takes its turns, and nothing is left."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from support.bundles import write_masked_model
from support.processes import running
from toolchain.build.bundle import Bundle
from toolchain.dev.bench.peers import LITERT, OURS, TFLITE
from toolchain.dev.bench.threads import BEFORE, ThreadResults, busy_processes, measure_threads
from toolchain.dev.bench.threads_page import write_threads
from toolchain.errors import MissingToolError

_ROOT = Path(__file__).resolve().parents[2]
_TFLITE_PYTHON = _ROOT / os.environ.get("VENV_TFLITE", ".venv-tflite") / "bin/python"


def _children() -> set[int]:
    tasks = Path("/proc/self/task").iterdir()
    return {int(pid) for task in tasks for pid in (task / "children").read_text().split()}


def test_every_runtime_runs_every_case(host_bundle: Bundle, tmp_path: Path) -> None:
    for name, sparsity in (("fashion_resnet_dense", 0.0), ("fashion_resnet_s20", 0.2)):
        write_masked_model(tmp_path / f"{name}.tflite", sparsity=sparsity)
    before = _children()
    found = measure_threads(
        ["fashion_resnet"], delegate=host_bundle.delegate, before=host_bundle.delegate,
        tflite_python=_TFLITE_PYTHON, threads=[2], busy=[0, 1], models=tmp_path, rounds=3,
    )  # fmt: skip
    assert _children() == before
    assert [(one.sparsity, one.threads, one.busy) for one in found.cases] == [
        (0, 2, 0), (0, 2, 1), (0.2, 2, 0), (0.2, 2, 1),
    ]  # fmt: skip
    for case in found.cases:
        assert [one.runtime for one in case.entries] == [OURS, BEFORE, TFLITE, LITERT]
        assert {one.us.samples for one in case.entries} == {3}
        assert case.over_before is not None
    page, results = write_threads(found, tmp_path)
    assert ThreadResults.model_validate_json(results.read_bytes()) == found
    rows = [line for line in page.read_text().splitlines() if line.startswith(("| dense", "| s ="))]
    assert len(rows) == 4


def test_busy_processes_end_with_whoever_wanted_them() -> None:
    before = _children()
    with suppress(KeyboardInterrupt), busy_processes(3):
        assert len(_children() - before) == 3
        raise KeyboardInterrupt
    assert _children() == before


def test_busy_processes_end_with_whoever_is_killed() -> None:
    program = """if True:
        import os, signal
        from toolchain.dev.bench.threads import busy_processes
        with busy_processes(2):
            os.kill(os.getpid(), signal.SIGKILL)
    """
    killed = subprocess.Popen([sys.executable, "-c", program], cwd=_ROOT)
    killed.wait()
    while running(f"pass\n\0{killed.pid}\0"):
        time.sleep(0.05)


def test_a_runtime_that_is_not_there_is_told(host_bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(MissingToolError, match="for tflite-runtime"):
        measure_threads(
            [], delegate=host_bundle.delegate, tflite_python=tmp_path / Path(sys.executable).name
        )
