"""Networks of the zoo for runtimes that read ONNX: onnxruntime, and MNN by its converter.

The tools are in the environment of the peers. Torch's exporter runs in ours, which has the networks
and torch, and finds the package ``onnx`` in theirs.
"""

from __future__ import annotations

import sys
from pathlib import Path

import toolchain
from toolchain import children
from toolchain.dev.bench import onnx_worker
from toolchain.dev.bench.models import Dtype, source_hash
from toolchain.errors import MissingToolError, ModelError
from toolchain.progress import Progress, Silent
from toolchain.storage.cache import digest, entry

_WHERE = (
    "import importlib.metadata as m, sysconfig as s; print(s.get_paths()['purelib'],"
    "*(m.version(name) for name in ('onnx', 'onnxruntime', 'mnn')))"
)


def onnx_model(name: str, dtype: Dtype, python: Path, *, progress: Progress | None = None) -> Path:
    """Convert a network to ONNX; kept in the cache.

    Args:
        name: in the zoo.
        dtype: int8 is quantized by onnxruntime's own tool as its documents say for CPUs: weights by
            channel, calibrated on random inputs.
        python: of the environment that has onnx and onnxruntime.
        progress: where the conversion is announced.

    Raises:
        MissingToolError: the tools are not installed.
        ModelError: one fails.
    """
    if dtype == "fp32":
        return _made("export", name, "onnx", None, python, progress)
    dense = onnx_model(name, "fp32", python, progress=progress)
    return _made("quantize", name, "int8.onnx", dense, python, progress)


def mnn_model(name: str, python: Path, *, progress: Progress | None = None) -> Path:
    """The same for MNN, in fp32.

    Args:
        name: in the zoo.
        python: of the environment that has MNN, too.
        progress: where the conversion is announced.

    Raises:
        MissingToolError: the tools are not installed.
        ModelError: one fails.
    """
    dense = onnx_model(name, "fp32", python, progress=progress)
    return _made("mnn", name, "mnn", dense, python, progress)


def _made(
    step: str, name: str, ending: str, source: Path | None, python: Path, progress: Progress | None
) -> Path:
    found = children.run([str(python), "-c", _WHERE], limit=children.LOOK_S, fault=MissingToolError)
    if found.returncode:
        raise MissingToolError(f"{python} has no onnx", hint="run: make bench-peers")
    site, *versions = found.stdout.split()
    worker = Path(onnx_worker.__file__)
    key = digest(
        "onnx 1", step, name, *versions, worker.read_bytes(), toolchain.__version__, source_hash()
    )
    file = f"{name}.{ending}"

    def fill(folder: Path) -> None:
        runs = sys.executable if step == "export" else str(python)
        given = [name, site] if source is None else [str(source)]
        # Without the worker's folder, whose modules have names that packages import, too.
        command = [runs, "-P", str(worker), step, *given, str(folder / file)]
        with (progress or Silent()).stage(f"make {file}", 1) as stage:
            done = children.run(command, limit=children.WORK_S, fault=ModelError)
            if done.returncode or not (folder / file).is_file():
                said = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
                raise ModelError(f"{file} cannot be made: {said[-1]}")
            stage.advance()

    return entry("bench-onnx", key, fill) / file
