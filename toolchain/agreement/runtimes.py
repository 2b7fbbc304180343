"""The stock interpreters that a converted file is run on."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np

from toolchain import children
from toolchain.agreement.differences import Array
from toolchain.agreement.interpreter import Kernels, feed, load, refusals
from toolchain.errors import MissingToolError, VerificationError
from toolchain.storage.scratch import temporary_folder

_WORKER = Path(__file__).with_name("tflite_worker.py")
_ENVIRONMENT = "VENV_TFLITE"
_DEFAULT_FOLDER = ".venv-tflite"


class Runtime(Protocol):
    """An interpreter with one choice of kernels."""

    @property
    def name(self) -> str:
        """``ai-edge-litert 2.3.0``."""

    @property
    def kernels(self) -> Kernels:
        """Which kernels it takes."""

    def run(self, path: Path, inputs: Sequence[Sequence[Array]]) -> list[list[Array]]:
        """Outputs of each inference, in the signature's order.

        Args:
            path: a ``.tflite`` file with a signature of ``args_0`` ... and ``output_0`` ...
            inputs: of each inference, in the signature's order, types as the file has them.

        Raises:
            VerificationError: it cannot load or run the file.
        """
        ...


@dataclass(frozen=True)
class Litert:
    """``ai-edge-litert``, in this process."""

    kernels: Kernels

    @cached_property
    def name(self) -> str:
        """With its version."""
        return f"ai-edge-litert {importlib.metadata.version('ai-edge-litert')}"

    def run(self, path: Path, inputs: Sequence[Sequence[Array]]) -> list[list[Array]]:
        """See :meth:`Runtime.run`."""
        with refusals(VerificationError, f"{self.name} cannot run the converted file"):
            signature = load(path, self.kernels).get_signature_runner()
            return [feed(signature, arrays) for arrays in inputs]


@dataclass(frozen=True)
class TfliteRuntime:
    """``tflite-runtime``, in an environment of its own: it needs numpy 1."""

    python: Path
    version: str
    kernels: Kernels

    @property
    def name(self) -> str:
        """With its version."""
        return f"tflite-runtime {self.version}"

    def run(self, path: Path, inputs: Sequence[Sequence[Array]]) -> list[list[Array]]:
        """See :meth:`Runtime.run`."""
        with temporary_folder() as folder:
            given, results = folder / "inputs.npz", folder / "outputs.npz"
            arrays = {
                f"{number}/args_{i}": array
                for number, row in enumerate(inputs)
                for i, array in enumerate(row)
            }
            np.savez(given, **arrays)  # type: ignore[arg-type]
            done = children.run(
                [self.python, "-I", _WORKER, path.resolve(), given, results, self.kernels],
                limit=_RUN_S,
                fault=VerificationError,
            )
            if done.returncode < 0:
                raise VerificationError(
                    f"{self.name} crashed on the converted file (signal {-done.returncode})"
                )
            if done.returncode:
                last = done.stderr.strip().splitlines()[-1:] or ["no message"]
                raise VerificationError(f"{self.name} cannot run the converted file: {last[0]}")
            with np.load(results) as archive:
                count = len(archive.files) // max(len(inputs), 1)
                return [
                    [archive[f"{number}/output_{i}"] for i in range(count)]
                    for number in range(len(inputs))
                ]


@dataclass(frozen=True)
class Runtimes:
    """What a file is run on."""

    found: tuple[Runtime, ...]
    missing: tuple[str, ...]
    """Why a runtime that should have been tried was not, a sentence each."""


NONE = Runtimes((), ())
_RUN_S = children.WORK_S
"""Seconds that a file may be run for."""


def find_runtimes() -> Runtimes:
    """``ai-edge-litert``, and ``tflite-runtime`` where an environment with it is found.

    That is the folder which the variable ``VENV_TFLITE`` names, else ``.venv-tflite`` in the
    current folder or beside this environment.

    Raises:
        MissingToolError: the variable names something else.
    """
    here: tuple[Runtime, ...] = (Litert("xnnpack"), Litert("builtin"))
    named = os.environ.get(_ENVIRONMENT)
    folders = [Path(named)] if named else [Path(), Path(sys.prefix).parent]
    for folder in folders:
        python = (folder if named else folder / _DEFAULT_FOLDER) / "bin" / "python"
        version = _tflite_version(python) if python.exists() else None
        if version:
            python = python.absolute()  # a link: its place is what makes it the environment's
            others = (TfliteRuntime(python, version, "xnnpack"),
                      TfliteRuntime(python, version, "builtin"))  # fmt: skip
            return Runtimes((*here, *others), ())
        if named:
            raise MissingToolError(
                f"{_ENVIRONMENT}={named}: is no environment with tflite-runtime",
                hint="make one (below), or unset the variable: " + _HOW,
            )
    return Runtimes(here, (f"tflite-runtime 2.14.0: no environment with it was found ({_HOW})",))


_HOW = (
    f"python3.11 -m venv {_DEFAULT_FOLDER} && "
    f"{_DEFAULT_FOLDER}/bin/pip install tflite-runtime==2.14.0 'numpy<2'"
)


def _tflite_version(python: Path) -> str | None:
    command = [str(python), "-I", "-c", "import tflite_runtime as t; print(t.__version__)"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
