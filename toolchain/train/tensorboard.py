"""The curves of a run, in TensorBoard's format."""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from torch.utils.tensorboard import SummaryWriter

from toolchain.errors import OutputError
from toolchain.storage.files import FULL
from toolchain.train.trainer import Epoch


class ScalarLog:
    """Writes losses and learning rates each step, accuracy and sparsity each epoch.

    Args:
        folder: made if it is not there; ``tensorboard --logdir`` takes it or any folder above it.
        steps_done: what an earlier, stopped run wrote about later steps is hidden.

    Raises:
        OutputError: the folder cannot be written.
    """

    def __init__(self, folder: Path, steps_done: int) -> None:
        self._folder = folder
        self._hook = threading.excepthook
        threading.excepthook = self._thread_failed
        try:
            self._writer = SummaryWriter(str(folder), purge_step=steps_done + 1)
        except OSError as error:
            raise self._refused(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._writer.close()
        except OSError as failed:
            if error is None:  # else the first one is told
                raise self._refused(failed) from failed
        finally:
            threading.excepthook = self._hook

    def step(self, steps_done: int, loss: float, learning_rate: float) -> None:
        """One optimizer step."""
        self._add("train/loss", loss, steps_done)
        self._add("train/learning_rate", learning_rate, steps_done)

    def epoch(self, epoch: Epoch) -> None:
        """One epoch."""
        self._add("test/accuracy", epoch.accuracy, epoch.step)
        self._add("masks/sparsity", epoch.sparsity, epoch.step)

    def flush(self) -> None:
        """Bring all of it to the file: a killed run goes on after its state, and logs no less."""
        try:
            self._writer.flush()
        except OSError as error:
            raise self._refused(error) from error

    def _add(self, name: str, value: float, step: int) -> None:
        try:
            self._writer.add_scalar(name, value, step)
        except OSError as error:
            raise self._refused(error) from error

    def _thread_failed(self, failure: threading.ExceptHookArgs) -> None:
        # The writer's thread dies of a full disk, and the next call raises it once more.
        error = failure.exc_value
        if not isinstance(error, OSError) or error.errno not in FULL:
            self._hook(failure)

    def _refused(self, error: OSError) -> OutputError:
        return OutputError(f"{self._folder}: cannot be written: {error.strerror or error}")
