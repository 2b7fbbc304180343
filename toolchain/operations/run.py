"""``deploy run``: a model's outputs on inputs, computed on a board."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from toolchain.agreement.differences import Array
from toolchain.agreement.inputs import Batch, model_outputs
from toolchain.board.invoke import Settings
from toolchain.operations.session import BoardSession, Purpose
from toolchain.tflite_file.graph import Model
from toolchain.tflite_file.untrained import is_untrained


@dataclass(frozen=True)
class RunOptions:
    """What is run."""

    model: Model
    """One that the runtime can run, of a file here."""
    inputs: Batch
    threads: int | None = None
    """As the board's file says if ``None``."""


@dataclass(frozen=True, eq=False)
class RunOutput:
    """One output of a model."""

    name: str
    """Of its tensor."""
    array: Array
    """What it holds."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array."""
        return self.array.shape

    @property
    def dtype(self) -> str:
        """Of the array, as numpy calls it."""
        return str(self.array.dtype)


@dataclass(frozen=True, eq=False)
class RunResult(Sequence[Array]):
    """What a model computed: a sequence of its outputs' arrays."""

    inferences: int
    """How many there were."""
    outputs: tuple[RunOutput, ...]
    """In the graph's order."""
    untrained: bool
    """Whether the file says that its masks are for measuring: no training knew of them."""

    @overload
    def __getitem__(self, index: int) -> Array: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Array]: ...

    def __getitem__(self, index: int | slice) -> Array | Sequence[Array]:
        return [output.array for output in self.outputs][index]

    def __len__(self) -> int:
        return len(self.outputs)

    def rows(self, files: Sequence[Path]) -> list[dict[str, Any]]:
        """The outputs for JSON.

        Args:
            files: where each was written.
        """
        return [
            {"file": str(path), "name": output.name, "shape": list(output.shape),
             "dtype": output.dtype}
            for path, output in zip(files, self.outputs, strict=True)
        ]  # fmt: skip


def run(session: BoardSession, options: RunOptions) -> RunResult:
    """Run a model on a board: one inference for each input.

    Args:
        session: of the board.
        options: the model and its inputs.

    Raises:
        ModelError: the board cannot load or run the model.
        BoardError: the runner crashed, or its outputs are not what the model says.
        DeployError: as :meth:`BoardSession.runner`.
    """
    model, batch = options.model, options.inputs
    purpose = Purpose.of("run", [Path(model.path)], shared=True)
    with session.runner(purpose) as runner:
        settings = Settings(threads=options.threads or session.board.threads)
        arrays = batch.shaped(runner.run(model, settings, batch).outputs)
    names = [tensor.name for tensor in model_outputs(model)]
    outputs = tuple(RunOutput(*pair) for pair in zip(names, arrays, strict=True))
    return RunResult(batch.count, outputs, is_untrained(model))
