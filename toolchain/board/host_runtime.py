"""The runtime that ships, built for this machine, as one that converted files are tried on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from toolchain.agreement.differences import Array
from toolchain.agreement.inputs import Batch
from toolchain.agreement.interpreter import signature_order
from toolchain.agreement.runtimes import Runtimes
from toolchain.board.invoke import BoardRunner, Settings
from toolchain.board.local import LocalConnection
from toolchain.build.bundle import MANIFEST, Bundle, bundle_path
from toolchain.errors import BoardError, DeployError, ModelError, VerificationError
from toolchain.hardware.board_file import load_board
from toolchain.progress import Silent
from toolchain.storage.scratch import temporary_folder
from toolchain.tflite_file.graph import read_model

HOST = "host"
"""The board that this machine is."""


@dataclass(frozen=True)
class HostRuntime:
    """A bundle for this machine; see :class:`toolchain.agreement.runtimes.Runtime`."""

    bundle: Bundle
    kernels: Literal["xnnpack"] = "xnnpack"

    @property
    def name(self) -> str:
        """``tileskip 0.1.0 (build/host)``."""
        stock = " without patches" if self.bundle.manifest.stock else ""
        return f"tileskip {self.bundle.manifest.version}{stock} ({self.bundle.path})"

    @contextmanager
    def runner(self) -> Iterator[BoardRunner]:
        """The bundle, ready to run models in a folder that goes away.

        Raises:
            BoardError: this machine cannot run it.
        """
        with (
            temporary_folder() as home,
            LocalConnection("this machine", home) as connection,
        ):
            yield BoardRunner(connection, load_board(HOST), self.bundle, Silent())

    def run(self, path: Path, inputs: Sequence[Sequence[Array]]) -> list[list[Array]]:
        """See :meth:`toolchain.agreement.runtimes.Runtime.run`.

        Raises:
            VerificationError: it cannot load or run the file, or crashes.
        """
        model, order = read_model(path), signature_order(path)
        columns = [np.stack(arrays) for arrays in zip(*inputs, strict=True)]
        batch = Batch(tuple(columns[position] for position in order.inputs), joined=False)
        try:
            with self.runner() as runner:
                outputs = runner.run(model, Settings(), batch).outputs
        except (ModelError, BoardError) as error:
            reason = error.what.rpartition(f"{path.name}: ")[2]
            raise VerificationError(
                f"{self.name} cannot run the converted file: {reason}", hint=error.hint
            ) from error
        ordered = [outputs[position] for position in order.outputs]
        return [[array[number] for array in ordered] for number in range(len(inputs))]


def host_runtimes(folder: Path | None = None) -> Runtimes:
    """The bundle that ``deploy build --board host`` leaves, if it is there and runs here.

    Args:
        folder: of the bundle; ``build/host`` in the current one by default.

    Returns:
        The runtime, or none and why it is not to be had.
    """
    folder = folder or bundle_path(load_board(HOST))
    build = f"deploy build --board {HOST}"
    if not (folder / MANIFEST).is_file():
        return Runtimes((), (f"this project's runtime: {folder} is not there ({build})",))
    try:
        runtime = HostRuntime(Bundle.load(folder))
        with runtime.runner():
            pass  # this machine may be one that the bundle does not run on
    except DeployError as error:
        return Runtimes((), (f"this project's runtime: {error.what} ({build})",))
    return Runtimes((runtime,), ())
