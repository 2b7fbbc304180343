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
from toolchain.files import check_name
from toolchain.model.graph import Model, read_model
from toolchain.model.layers import quantization_of

DEFAULT_STEPS = 2.0
"""Of quantised outputs. The patched runtime's int8 kernels round as the stock interpreter's: no zoo
network was more than 1 apart, on x86-64 and on aarch64."""


@dataclass(frozen=True)
class Verification:
    """How far a board's outputs are from the host's."""

    model: str
    inputs: int
    """How many random inputs were tried."""
    seed: int
    max_difference: float
    """Largest absolute difference; infinite where one side is not a number. Of outputs that are not
    quantised, where there are some."""
    max_output: float
    """Largest absolute output of the host, of the same outputs."""
    tolerance: float
    """Of the relative difference."""
    max_steps: float | None = None
    """Largest difference of quantised outputs, in their steps; ``None`` where none is quantised."""
    step_tolerance: float = DEFAULT_STEPS
    only_steps: bool = False
    """Whether every output is quantised, so that only steps count."""

    @property
    def relative(self) -> float:
        """The difference over the largest output."""
        return self.max_difference / self.max_output if self.max_output else self.max_difference

    @property
    def passed(self) -> bool:
        """Whether the differences are within the tolerances."""
        near = self.only_steps or self.relative <= self.tolerance
        return near and (self.max_steps is None or self.max_steps <= self.step_tolerance)

    def require(self) -> None:
        """Raise unless it passed.

        Raises:
            VerificationError: it did not.
        """
        if self.max_steps is not None and not self.max_steps <= self.step_tolerance:
            raise VerificationError(
                f"{self.model}: the board's quantised outputs differ from the host's by up to "
                f"{self.max_steps:.3g} steps; {self.step_tolerance:g} are let through",
                hint=f"--seed {self.seed} tries the same inputs again; if a board's kernels round "
                "differently, a larger --steps is right",
            )
        if not self.passed:
            raise VerificationError(
                f"{self.model}: the board's outputs differ from the host's by "
                f"{self.max_difference:.3g}, {self.relative:.3g} of the largest output; "
                f"the tolerance is {self.tolerance:.3g}",
                hint=f"--seed {self.seed} tries the same inputs again; if a board's kernels round "
                "differently (dynamic range, fp16), a larger --tolerance is right",
            )


def verify(
    runner: BoardRunner,
    model_path: Path,
    *,
    inputs: int = 3,
    seed: int = 0,
    tolerance: float = 1e-5,
    steps: float = DEFAULT_STEPS,
    threads: int = 1,
) -> Verification:
    """Run a model on random inputs on the board and here.

    Args:
        runner: of the board.
        model_path: the model.
        inputs: how many.
        seed: of the inputs.
        tolerance: of the relative difference of outputs that are not quantised.
        steps: the largest difference of quantised outputs, in their quantisation steps. An output
            that a DEQUANTIZE unpacks is a quantised one.
        threads: of the board.

    Raises:
        ModelError: one of the two cannot run the model.
        BoardError: something failed on the board.
    """
    check_name(model_path, ModelError)
    model = read_model(model_path)
    batch = random_inputs(model, inputs, seed)
    expected = run_here(model, batch)
    found = runner.run(model, Settings(threads=threads), batch).outputs
    units = [_unit(model, index) for index in model.graph.outputs]
    exact = [position for position, unit in enumerate(units) if unit is None]
    shown = exact or range(len(units))
    difference, largest = compare_outputs(
        [found[position] for position in shown], [expected[position] for position in shown]
    )
    apart = [
        _difference(have, want) / unit
        for have, want, unit in zip(found, expected, units, strict=True)
        if unit is not None
    ]
    return Verification(
        str(model_path),
        inputs,
        seed,
        difference,
        largest,
        tolerance,
        max_steps=max(apart, default=None),
        step_tolerance=steps,
        only_steps=not exact,
    )


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


def _unit(model: Model, index: int) -> float | None:
    """One quantisation step of an output, in the numbers that the file gives."""
    found = quantization_of(model.graph, index)
    if found is None:
        return None
    return float(found.scale[0]) if model.graph.tensors[index].dtype.startswith("float") else 1.0


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
