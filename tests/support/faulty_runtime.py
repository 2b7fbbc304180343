"""A runtime that gives wrong outputs, refuses files, or writes into what it is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from toolchain.agreement.differences import Array
from toolchain.agreement.runtimes import Litert
from toolchain.errors import VerificationError
from toolchain.tflite_file.graph import read_model


@dataclass
class FaultyRuntime:
    """The stock interpreter's outputs, changed.

    Args:
        change: of the outputs of one inference, in place or not; ``None``: unchanged.
        fault_of: only of files that hold such an operator, ``MEAN`` for example.
        refuses: an operator that it cannot run.
        spoils: whether its inputs are zeroed once it has run.
    """

    change: Callable[[list[Array]], list[Array]] | None = None
    fault_of: str | None = None
    refuses: str | None = None
    spoils: bool = False
    kernels: Literal["xnnpack"] = "xnnpack"
    name: str = "faulty 1.0"
    ran: list[Path] = field(default_factory=list)

    def run(self, path: Path, inputs: Sequence[Sequence[Array]]) -> list[list[Array]]:
        """See :meth:`toolchain.agreement.runtimes.Runtime.run`."""
        self.ran.append(path)
        operators = {op.op for op in read_model(path).graph.operators}
        if self.refuses in operators:
            raise VerificationError(f"{self.name} cannot run the converted file: no reason given")
        rows = Litert("xnnpack").run(path, inputs)
        if self.change is not None and (self.fault_of is None or self.fault_of in operators):
            rows = [self.change(row) for row in rows]
        if self.spoils:
            for array in (array for row in inputs for array in row):
                array[...] = 0
        return rows
