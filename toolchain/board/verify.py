"""Compare a board's outputs with those of the stock TFLite interpreter on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.board.arrays import Array, Batch, random_inputs
from toolchain.board.invoke import BoardRunner, Settings
from toolchain.convert.silence import quiet
from toolchain.errors import ModelError, VerificationError
from toolchain.model.graph import Model, read_model


@dataclass(frozen=True)
class Verification:
    """How far a board's outputs are from the host's."""

    model: str
    inputs: int
    """How many random inputs were tried."""
    seed: int
    max_difference: float
    """Largest absolute difference; infinite where one side is not a number."""
    max_output: float
    """Largest absolute output of the host."""
    tolerance: float

    @property
    def relative(self) -> float:
        """The difference over the largest output."""
        return self.max_difference / self.max_output if self.max_output else self.max_difference

    @property
    def passed(self) -> bool:
        """Whether the relative difference is within the tolerance."""
        return self.relative <= self.tolerance

    def require(self) -> None:
        """Raise unless it passed.

        Raises:
            VerificationError: it did not.
        """
        if not self.passed:
            raise VerificationError(
                f"{self.model}: the board's outputs differ from the host's by "
                f"{self.max_difference:.3g}, {self.relative:.3g} of the largest output; "
                f"the tolerance is {self.tolerance:.3g}",
                hint=f"--seed {self.seed} tries the same inputs again; if a board's kernels round "
                "differently (int8, fp16), a larger --tolerance is right",
            )


def verify(
    runner: BoardRunner,
    model_path: Path,
    *,
    inputs: int = 3,
    seed: int = 0,
    tolerance: float = 1e-5,
    threads: int = 1,
) -> Verification:
    """Run a model on random inputs on the board and here.

    Raises:
        ModelError: one of the two cannot run the model.
        BoardError: something failed on the board.
    """
    model = read_model(model_path)
    batch = random_inputs(model, inputs, seed)
    expected = run_here(model, batch)
    found = runner.run(model, Settings(threads=threads), batch).outputs
    difference, largest = compare_outputs(found, expected)
    return Verification(str(model_path), inputs, seed, difference, largest, tolerance)


def compare_outputs(found: Sequence[Array], expected: Sequence[Array]) -> tuple[float, float]:
    """Largest absolute difference, and largest absolute value that was expected."""
    pairs = zip(found, expected, strict=True)
    return (
        max((_difference(have, want) for have, want in pairs), default=0.0),
        max((_largest(want) for want in expected), default=0.0),
    )


def run_here(model: Model, batch: Batch) -> list[Array]:
    """Outputs ``[count, *shape]`` of the stock interpreter (pip's ``ai-edge-litert``).

    Raises:
        ModelError: it cannot load or run the model.
    """
    from ai_edge_litert.interpreter import Interpreter

    collected: list[list[Array]] = []
    try:
        with quiet():
            interpreter: Any = Interpreter(model_path=model.path, num_threads=1)
            interpreter.allocate_tensors()
            details = interpreter.get_input_details(), interpreter.get_output_details()
            for index in range(batch.count):
                for detail, array in zip(details[0], batch.arrays, strict=True):
                    interpreter.set_tensor(detail["index"], array[index])
                interpreter.invoke()
                collected.append([interpreter.get_tensor(item["index"]) for item in details[1]])
    except (ValueError, RuntimeError) as error:
        raise ModelError(
            f"{model.path}: the stock interpreter on this machine cannot run it: {error}"
        ) from error
    return [np.stack(arrays) for arrays in zip(*collected, strict=True)]


def _difference(have: Array, want: Array) -> float:
    if not have.size:
        return 0.0
    with np.errstate(invalid="ignore"):
        difference = np.abs(have.astype(np.float64) - want.astype(np.float64))
    # Equal infinities and NaN on both sides are equal results; NaN on one side is not.
    same = (have == want) | ((have != have) & (want != want))
    difference = np.where(same, 0.0, np.where(np.isnan(difference), np.inf, difference))
    return float(difference.max())


def _largest(array: Array) -> float:
    finite = np.abs(array.astype(np.float64))
    finite = finite[np.isfinite(finite)]
    return float(finite.max()) if finite.size else 0.0
