"""Runs benchmark tools on small models, and keeps what they print."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from toolchain import children
from toolchain.errors import BuildError
from toolchain.storage.scratch import temporary_folder

_WORKER = Path(__file__).with_name("executorch_worker.py")
_NET = "net.tflite"
_GRAPH = f"--graph={_NET}"
_FEW = ("--num_runs=10", "--min_secs=0", "--warmup_min_secs=0")
_OPERATORS = (*_FEW, "--enable_op_profiling=true")
_CSV = "operators.csv"
# The longest part of the tensors' names, which says nothing.
_LONG = ("litert_torch._convert.to_channel_last_io.ChannelLastIOWrapper/"
         "toolchain.convert.interface.Flat_wrapped")  # fmt: skip
_SHORT = "net"

BENCHMARK_MODEL = {
    "xnnpack.txt": (*_OPERATORS, "--use_xnnpack=true", "--num_threads=1",
                    "--report_peak_memory_footprint=true"),
    "reference.txt": (*_OPERATORS, "--use_xnnpack=false", "--num_threads=2"),
    "every_parameter.txt": (*_FEW, "--verbose=true"),
    "not_warmed_up.txt": ("--num_runs=1", "--min_secs=0", "--warmup_runs=0",
                          "--warmup_min_secs=-1"),
    "dry_run.txt": (*_FEW, "--dry_run=true"),
    "no_model.txt": (*_FEW, "--graph=absent.tflite"),
    "xnnpack.csv": (*_OPERATORS, "--use_xnnpack=true", f"--profiling_output_csv_file={_CSV}"),
    "reference.csv": (*_OPERATORS, "--use_xnnpack=false", f"--profiling_output_csv_file={_CSV}"),
}  # fmt: skip
"""File to the options that it is made with."""

_LAYERS = """7767517
3 3
Input            data     0 1 data
Convolution      conv     1 1 data conv 0=16 1=3 4=1 5=1 6=432
{last:16} last     1 1 conv last
"""
_PARAMS = {
    "small_net.param": _LAYERS.format(last="ReLU"),
    "unknown_layer.param": _LAYERS.format(last="Nothing"),
}
_SHAPE = "shape=[32,32,3]"
BENCHNCNN = {
    "all_models.txt": ("3", "1", "0", "-1", "0"),
    "one_model.txt": ("8", "2", "2", "-1", "0", "param=small_net.param", _SHAPE),
    "gpu_without_vulkan.txt": ("8", "1", "0", "0", "0", "param=small_net.param", _SHAPE),
    "unknown_layer.txt": ("8", "1", "0", "-1", "0", "param=unknown_layer.param", _SHAPE),
    "no_model.txt": ("8", "1", "0", "-1", "0", "param=absent.param", _SHAPE),
    "no_loops.txt": ("0", "1", "0", "-1", "0", "param=small_net.param", _SHAPE),
}
"""File to benchncnn's arguments: loops, threads, cores, GPU, pauses between models, model."""


def benchmark_model(program: Path, model: Path, folder: Path) -> list[Path]:
    """Write what TensorFlow Lite's ``benchmark_model`` says of a model; returns the files.

    Args:
        program: the tool.
        model: a ``.tflite`` file.
        folder: of the files.

    Raises:
        BuildError: it did not end in time, or wrote no CSV.
    """
    made = []
    with temporary_folder() as scratch:
        shutil.copyfile(model, scratch / _NET)
        for name, options in BENCHMARK_MODEL.items():
            graph = [] if any(one.startswith("--graph=") for one in options) else [_GRAPH]
            text = _output([program, *graph, *options], scratch)
            if name.endswith(".csv"):
                if not (scratch / _CSV).is_file():
                    said = (text.strip().splitlines() or ["nothing"])[-1]
                    raise BuildError(f"{program}: wrote no CSV, and said: {said}")
                text = (scratch / _CSV).read_text(encoding="utf-8")
            made.append(_written(folder / name, text.replace(_LONG, _SHORT)))
    return made


def benchncnn(program: Path, folder: Path) -> list[Path]:
    """Write what ncnn's ``benchncnn`` says of its models and of a small one; returns the files.

    Args:
        program: the tool.
        folder: of the files.

    Raises:
        BuildError: it did not end in time.
    """
    with temporary_folder() as scratch:
        for name, text in _PARAMS.items():
            (scratch / name).write_text(text)
        return [
            _written(folder / name, _output([program, *arguments], scratch))
            for name, arguments in BENCHNCNN.items()
        ]


def executorch(python: Path, folder: Path) -> list[Path]:
    """Write what ExecuTorch's Inspector tells of a small network; returns the files.

    Args:
        python: of an environment that has ExecuTorch.
        folder: of the files.

    Raises:
        BuildError: it failed, or did not end in time.
    """
    with temporary_folder() as scratch:
        command = [str(python), str(_WORKER), str(scratch)]
        result = children.run(command, limit=children.WORK_S, fault=BuildError, cwd=scratch)
        if result.returncode:
            last = (result.stderr.strip().splitlines() or ["nothing was said"])[-1]
            raise BuildError(f"{python}: ExecuTorch failed: {last}")
        return [
            _written(folder / made.name, made.read_text(encoding="utf-8"))
            for made in sorted(scratch.iterdir())
        ]


def _output(command: Sequence[str | Path], scratch: Path) -> str:
    """All that a program prints, in the order in which it does, whether it fails or not."""
    together = ["sh", "-c", 'exec "$@" 2>&1', "sh", *map(str, command)]
    return children.run(together, limit=children.WORK_S, fault=BuildError, cwd=scratch).stdout


def _written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path
