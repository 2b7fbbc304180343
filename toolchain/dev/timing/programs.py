"""Which program a published row is of, and how that is started under QEMU's user mode.

ncnn's rows are of its benchmark, compiled on the board at the date of the row. What stands for it
is the wheel for aarch64 of the nearest date on PyPI, run as the benchmark runs
(:mod:`toolchain.dev.timing.ncnn_worker`). For rows of XNNPACK and of what runs on it stands our
runner on an XNNPACK that is not patched. TensorFlow Lite's rows are of its kernels on ruy, which
its oldest wheels for aarch64 on PyPI have.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from toolchain.dev.bench import peer_worker
from toolchain.dev.bench.arm_python import NEWEST, OLDER, Guest, Release, arm_python
from toolchain.dev.bench.models import Dtype
from toolchain.dev.bench.peer_estimates import WARM_RUNS
from toolchain.dev.bench.peers import TFLITE
from toolchain.dev.timing import ncnn_worker
from toolchain.dev.timing.models import CONVERTED, network_file
from toolchain.dev.timing.published import Row
from toolchain.errors import DataError
from toolchain.hardware.facts import Core
from toolchain.progress import Progress
from toolchain.storage.cache import digest, sha256_file
from toolchain.timing.guest import HERE

# The versions of ncnn on PyPI that have wheels for manylinux on aarch64; a version is its date.
# 20211208 has one, too, but packed convolutions were rewritten on 2021-12-22 (commit 6941ec8fc).
# 20231027 comes with a Vulkan that asks for X11, which is not there.
# Rows of 2022-01-03 fit what came after it: blazeface is 16 % short, with 20211208 37 % too long.
_WHEELS = (
    "20220216", "20220420", "20220701", "20220721", "20220729", "20221128", "20230223",
    "20230517", "20230816", "20240102", "20240410", "20240820",
)  # fmt: skip
_FIRST_FOR_PYTHON_3_11 = "20221128"
_FIRST_WITHOUT_SLACK = "20221128"
"""benchmark/benchncnn.cpp: before, the pool of workspaces gave out what is up to twice as large."""
_TFLITE = f"{TFLITE}==2.7.0"
"""The oldest with a wheel for aarch64 and Debian's older Python; XNNPACK is off in it by default.

MLPerf's rows are of 2.4.1, built from source."""
_MLPERF = {
    "efficientnet-lite0": "efficientnet_lite0",
    "mobilenet_v1-1.0-224": "mobilenet_v1",
    "mobilenet_v2-1.0-224": "mobilenet_v2",
}
_LATEST_BEFORE = date(2021, 11, 1)
"""int8 convolutions were rewritten until then, and no wheel for aarch64 is older than 20211208."""
_SHORT = frozenset({"blazeface"})
_SHORT_ON_A76 = _SHORT | {
    "shufflenet", "FastestDet", "yolo-fastest-1.1", "squeezenet", "mobilenet", "mobilenet_v2",
    "mnasnet", "efficientnet_b0",
}  # fmt: skip
"""Networks that run in less than 60 million cycles with one thread. It matters to them what the
caches hold at the beginning: to fill the 1 to 2.5 MiB of a board takes more than a hundredth of it.
So the run before is simulated, too, which takes twice as long."""


@dataclass(frozen=True)
class NcnnProgram:
    """ncnn's benchmark with one network."""

    requirement: str
    """``ncnn==1.0.20230517``."""
    release: Release
    param: Path
    width: int
    height: int
    threads: int
    core: Core
    workspace_ratio: float
    warm_caches: bool
    """Whether the simulated caches hold what the run before has left."""

    @property
    def settings(self) -> str:
        """What the worker is given, beside the network: JSON."""
        return json.dumps(
            {
                "width": self.width,
                "height": self.height,
                "threads": self.threads,
                "workspace_ratio": self.workspace_ratio,
                "warm_caches": self.warm_caches,
            }
        )

    @property
    def key(self) -> str:
        """A hash of all that decides which instructions run; not of where files lie."""
        worker = Path(ncnn_worker.__file__).read_bytes()
        return digest(
            "ncnn program 4", self.requirement, self.release.python, self.param.read_bytes(),
            self.settings, worker, self.core,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _ModelProgram:
    """A program that runs one of our converted models."""

    network: str
    precision: Dtype
    threads: int
    core: Core

    @property
    def model(self) -> Path:
        """The converted file."""
        return network_file(self.network, self.precision)


@dataclass(frozen=True, kw_only=True)
class RunnerProgram(_ModelProgram):
    """Our runner with one model."""

    runner: Path

    @property
    def key(self) -> str:
        """A hash of all that decides which instructions run."""
        files = (sha256_file(self.runner), sha256_file(self.model))
        return digest("runner program 1", *files, str(self.threads), self.core)


@dataclass(frozen=True, kw_only=True)
class TfliteProgram(_ModelProgram):
    """TensorFlow Lite's own kernels with one model."""

    @property
    def settings(self) -> str:
        """What the worker is given: JSON."""
        return json.dumps(
            {
                "kind": TFLITE,
                "model": f"{HERE}/model.tflite",
                "threads": self.threads,
                "delegate": None,
                "input": None,
                "output": "output.npz",
                "marked": WARM_RUNS,
            }
        )

    @property
    def key(self) -> str:
        """A hash of all that decides which instructions run."""
        worker = Path(peer_worker.__file__).read_bytes()
        return digest(
            "tflite program 1", _TFLITE, self.settings, sha256_file(self.model), worker, self.core
        )


Program = NcnnProgram | RunnerProgram | TfliteProgram


def program_of(row: Row, folder: Path, runner: Path | None = None) -> Program | str:
    """The program of a row, or why there is none.

    Args:
        row: a published time.
        folder: with ``ncnn_networks``.
        runner: on an XNNPACK that is not patched.
    """
    core = row.core
    if core is None:
        return "of no board"
    if row.runtime in ("xnnpack", "executorch"):
        return _runner_program(row, core, runner)
    if row.runtime == "tflite":
        return _tflite_program(row, core)
    if row.published < _LATEST_BEFORE:
        return "no wheel for aarch64 is near: int8 was rewritten between it and the first one"
    param = folder / "ncnn_networks" / f"{row.title}.param"
    if not param.is_file():
        return f"{param.name} is not there"
    version = nearest_wheel(row.published)
    return NcnnProgram(
        requirement=f"ncnn==1.0.{version}",
        release=NEWEST if version >= _FIRST_FOR_PYTHON_3_11 else OLDER,
        param=param,
        width=row.width,
        height=row.height,
        threads=row.threads,
        core=core,
        workspace_ratio=0.0 if version >= _FIRST_WITHOUT_SLACK else 0.5,
        warm_caches=row.network in (_SHORT_ON_A76 if core == "cortex-a76" else _SHORT),
    )


def _runner_program(row: Row, core: Core, runner: Path | None) -> RunnerProgram | str:
    if row.precision == "fp16" or (row.network, row.width) not in CONVERTED:
        return f"{row.runtime}: no model of {row.network} is here"
    if runner is None:
        return f"{row.runtime}: no runner was given"
    return RunnerProgram(
        runner=runner,
        network=row.network,
        precision=row.precision,
        threads=row.threads,
        core=core,
    )


def _tflite_program(row: Row, core: Core) -> TfliteProgram | str:
    network = _MLPERF.get(row.network)
    if network is None or (network, row.width) not in CONVERTED:
        return f"{row.runtime}: no model of {row.network} is here"
    if row.precision != "fp32":
        return f"{row.runtime}: {_TFLITE} does not run our {row.precision} files"
    return TfliteProgram(network=network, precision=row.precision, threads=row.threads, core=core)


def nearest_wheel(published: date) -> str:
    """The version of ncnn on PyPI that is nearest to a date."""
    return min(_WHEELS, key=lambda version: abs(_dated(version) - published))


def _dated(version: str) -> date:
    return date(int(version[:4]), int(version[4:6]), int(version[6:]))


def guest(program: Program, *, progress: Progress | None = None) -> Guest:
    """Prepare a program to run.

    Args:
        program: which.
        progress: where downloads are announced.

    Raises:
        DataError: its network is not there.
        ModelError: its model cannot be converted.
        SourceError: Python or the runtime cannot be had for aarch64.
    """
    if isinstance(program, RunnerProgram):
        options = ("--marks", "--warmup", "0", "--runs", "1", "--threads", str(program.threads))
        return Guest((program.runner, "--model", program.model, *options, "--json", "output.json"))
    if isinstance(program, TfliteProgram):
        python = arm_python(_TFLITE, release=OLDER, progress=progress)
        files = {"model.tflite": program.model}
        return python.guest(Path(peer_worker.__file__), program.settings, files=files)
    if not program.param.is_file():
        raise DataError(f"{program.param} is not there")
    python = arm_python(program.requirement, release=program.release, progress=progress)
    return python.guest(Path(ncnn_worker.__file__), program.settings, program.param)
