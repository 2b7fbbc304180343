"""Compare a board's outputs with those of the stock TFLite interpreter on this machine.

The stock interpreter computes a file twice: with TFLite's plain kernels and with its XNNPACK. Where
these two differ by more than rounding explains, the file says nothing certain, and that is told. A
board's output is right where it agrees with either.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.agreement.blame import Blame, find_operator
from toolchain.agreement.differences import (
    Array,
    Difference,
    compare_each,
    rounding_noise,
)
from toolchain.agreement.inputs import Batch, random_inputs
from toolchain.agreement.interpreter import Kernels, run_here
from toolchain.board.invoke import BoardRunner, Settings
from toolchain.errors import DeployError, ModelError, VerificationError
from toolchain.storage.files import check_name
from toolchain.storage.scratch import temporary_folder
from toolchain.tflite_file.graph import Model, parse_model, read_model
from toolchain.tflite_file.layers import quantization_of
from toolchain.tflite_file.untrained import is_untrained

DEFAULT_STEPS = 2.0
"""Of quantised outputs. The patched runtime's int8 kernels round as the stock interpreter's: no zoo
network was more than 1 apart, on x86-64 and on aarch64."""
_PLAIN, _XNNPACK = "its plain kernels", "its XNNPACK"
_DYNAMIC_NOISE = 0.4
"""What counts of the noise that half a step of the inputs makes. Two ways to quantise activations
came to 1.5 of it at most; ten times all of it, as of the last bit of a float, would hide much."""


@dataclass(frozen=True)
class OutputCheck:
    """One output of the board beside the host's."""

    difference: Difference
    """To the nearer of the host's two."""
    nearer: str
    """Which of the host's two that is."""
    steps: float | None
    """The largest difference in quantisation steps; ``None`` where it is not quantised."""
    ambiguous: Difference | None
    """How far the host's two are from each other, where rounding does not explain it."""


@dataclass(frozen=True)
class Verification:
    """How far a board's outputs are from the host's."""

    model: str
    """Its file."""
    inputs: int
    """How many random inputs were tried."""
    seed: int
    """Of the inputs."""
    tolerance: float
    """Of the difference beside its scale, see :mod:`toolchain.agreement.differences`."""
    step_tolerance: float
    """Of quantised outputs, in their steps."""
    outputs: tuple[OutputCheck, ...]
    """In the graph's order."""
    blame: Blame | None = None
    """Where board and host part, if they do."""
    untrained: bool = False
    """Whether the file says that its masks are for measuring: no training knew of them."""

    def near(self, check: OutputCheck) -> bool:
        """Whether an output is within the tolerance."""
        if check.steps is not None:
            return check.steps <= self.step_tolerance
        return check.difference.relative_diff <= self.tolerance

    @property
    def worst(self) -> OutputCheck:
        """The output that is furthest from the host's, beside what is let through."""
        return max(self.outputs, key=self._excess)

    @property
    def passed(self) -> bool:
        """Whether every output is within the tolerance."""
        return all(self.near(check) for check in self.outputs)

    @property
    def ambiguous(self) -> bool:
        """Whether the host's two kinds of kernels do not agree about an output."""
        return any(check.ambiguous is not None for check in self.outputs)

    @property
    def worst_output(self) -> str:
        """What the worst output is called: ``output 1``."""
        return self.worst.difference.name

    @property
    def max_difference(self) -> float:
        """The worst output's largest difference to the host's."""
        return self.worst.difference.max_abs_diff

    @property
    def max_output(self) -> float:
        """The largest absolute value of that output on the host."""
        return self.worst.difference.max_output

    @property
    def relative(self) -> float:
        """The difference beside its scale, which ``tolerance`` is for."""
        return self.worst.difference.relative_diff

    @property
    def max_steps(self) -> float | None:
        """The difference in quantisation steps; ``None`` where the output is not quantised."""
        return self.worst.steps

    @property
    def operator(self) -> str | None:
        """Where board and host part, if they do and it was found."""
        return str(self.blame) if self.blame else None

    def notes(self) -> list[str]:
        """What the host itself does not agree about, a sentence an output."""
        return [
            f"{self.model}: the file is ambiguous: the stock interpreter's plain kernels and its "
            f"XNNPACK differ already: {check.ambiguous.describe('XNNPACK')}"
            for check in self.outputs
            if check.ambiguous is not None
        ]

    def document(self) -> dict[str, Any]:
        """What ``--json`` prints."""
        names = (
            *("model", "inputs", "seed", "worst_output", "max_difference", "max_output"),
            *("relative", "tolerance", "max_steps", "step_tolerance", "passed", "ambiguous"),
            *("operator", "untrained"),
        )
        return {
            **{name: getattr(self, name) for name in names},
            "outputs": [
                {
                    **vars(check.difference),
                    "nearer": check.nearer,
                    "max_steps": check.steps,
                    "passed": self.near(check),
                    "ambiguous": vars(check.ambiguous) if check.ambiguous else None,
                }
                for check in self.outputs
            ],
        }

    def require(self, next_command: str | None = None) -> None:
        """Raise unless it passed.

        Args:
            next_command: what to run to find out where the difference comes from.

        Raises:
            VerificationError: it did not.
        """
        if self.passed:
            return
        chief = self.worst
        if chief.steps is not None:
            limit = f"{chief.steps:.3g} quantisation steps; {self.step_tolerance:g} are let through"
        else:
            limit = f"the tolerance is {self.tolerance:.3g}"
        wrong = [
            check.difference.name
            for check in self.outputs
            if check is not chief and not self.near(check)
        ]
        parts = [
            f"{self.model}: the board does not compute what this machine does: "
            f"{chief.difference.describe('the host')}; {limit}"
        ]
        if wrong:
            parts.append("wrong, too: " + ", ".join(wrong))
        if self.ambiguous:
            parts.append("on the host XNNPACK and plain kernels differ already")
        else:
            parts.append("on the host XNNPACK and plain kernels agree")
        if self.blame:
            parts.append(f"board and host part at {self.blame}")
        hint = next_command or f"--seed {self.seed} tries the same inputs again"
        raise VerificationError("; ".join(parts), hint=hint)

    def _excess(self, check: OutputCheck) -> tuple[bool, float]:
        if check.steps is not None:
            return not self.near(check), check.steps / max(self.step_tolerance, 1e-30)
        return not self.near(check), check.difference.relative_diff / max(self.tolerance, 1e-30)


Here = Callable[[Model, Batch], dict[str, list[Array]]]
"""What this machine computes: ``[count, *shape]`` of each output, by what it was computed with."""


def computed_here(model: Model, batch: Batch) -> dict[str, list[Array]]:
    """What the stock interpreter computes, with plain kernels and with XNNPACK.

    Raises:
        ModelError: it cannot load or run the model.
    """
    return {_PLAIN: run_here(model, batch, "builtin"), _XNNPACK: run_here(model, batch)}


class ComputedOnce:
    """The same for several boards, of which each asks for each model with the same inputs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, dict[str, list[Array]]] = {}

    def __call__(self, model: Model, batch: Batch) -> dict[str, list[Array]]:
        """See :func:`computed_here`."""
        with self._lock:
            if model.path not in self._known:
                self._known[model.path] = computed_here(model, batch)
            return self._known[model.path]


def verify(
    runner: BoardRunner,
    model_path: Path,
    *,
    inputs: int = 3,
    seed: int = 0,
    tolerance: float = 1e-5,
    steps: float = DEFAULT_STEPS,
    threads: int = 1,
    here: Here = computed_here,
) -> Verification:
    """Run a model on random inputs on the board and here.

    Args:
        runner: of the board.
        model_path: the model.
        inputs: how many.
        seed: of the inputs.
        tolerance: of the difference of outputs that are not quantised, beside their scale.
        steps: the largest difference of quantised outputs, in their quantisation steps. An output
            that a DEQUANTIZE unpacks is a quantised one.
        threads: of the board.
        here: computes on this machine.

    Raises:
        ModelError: one of the two cannot run the model.
        BoardError: something failed on the board.
    """
    check_name(model_path, ModelError)
    model = read_model(model_path)
    batch = random_inputs(model, inputs, seed)
    settings = Settings(threads=threads)
    found = runner.run(model, settings, batch).outputs
    done = judge(
        model,
        batch,
        found,
        here(model, batch),
        seed=seed,
        tolerance=tolerance,
        steps=steps,
    )
    if done.passed:
        return done
    return replace(done, blame=_find(runner, model, settings, batch, done))


def _find(
    runner: BoardRunner, model: Model, settings: Settings, batch: Batch, done: Verification
) -> Blame | None:
    """Where board and host part, on the input on which the worst output is furthest."""
    at = done.worst.difference.inference
    one = Batch(tuple(array[at : at + 1] for array in batch.arrays), joined=False)
    kernels: Kernels = "builtin" if done.worst.nearer == _PLAIN else "xnnpack"

    def on_board(path: Path) -> list[Array]:
        try:
            return runner.run(read_model(path), settings, one).outputs
        finally:
            runner.remove_model(path)

    try:
        return find_operator(
            Path(model.path),
            lambda path: run_here(read_model(path), one, kernels),
            on_board,
            done.worst.difference,
        )
    except DeployError:  # the difference has been found, and is what has to be told
        return None


def judge(
    model: Model,
    batch: Batch,
    found: Sequence[Array],
    host: dict[str, list[Array]],
    *,
    seed: int = 0,
    tolerance: float = 1e-5,
    steps: float = DEFAULT_STEPS,
) -> Verification:
    """Compare a board's outputs with those of the host's two kinds of kernels.

    Args:
        model: the file.
        batch: the inputs.
        found: the board's outputs, ``[count, *shape]``.
        host: the host's, by what it computed them with; the first are plain kernels'.
        seed: of the inputs.
        tolerance: see :func:`verify`.
        steps: likewise.

    Raises:
        ModelError: the stock interpreter cannot run the model.
    """
    names = [f"'{model.graph.tensors[index].name}'" for index in model.graph.outputs]
    units = [_unit(model, index) for index in model.graph.outputs]
    plain, xnnpack = host.values()

    def compared(noise: Sequence[Array] | None) -> Verification:
        def far(have: Sequence[Array], want: Sequence[Array]) -> list[Difference]:
            return compare_each(have, want, names, noise=noise)

        ours = {name: far(found, arrays) for name, arrays in host.items()}
        checks = []
        for index, (unit, between) in enumerate(zip(units, far(plain, xnnpack), strict=True)):
            both = {name: differences[index] for name, differences in ours.items()}
            nearer = min(both, key=lambda name: both[name].relative_diff)
            if unit is None:
                apart = between.relative_diff > tolerance
            else:
                floor = 0.0 if noise is None else float(noise[index].max(initial=0.0))
                apart = between.max_abs_diff > max(steps * unit, floor)
            checks.append(
                OutputCheck(
                    both[nearer],
                    nearer,
                    None if unit is None else both[nearer].max_abs_diff / unit,
                    between if apart else None,
                )
            )
        return Verification(
            str(model.path), batch.count, seed, tolerance, steps, tuple(checks),
            untrained=is_untrained(model),
        )  # fmt: skip

    first = compared(None)
    if first.passed and not first.ambiguous:
        return first
    # What is far may be what rounding makes: look at how far that goes.
    return compared(rounding_noise(_moved_runs(model, batch), xnnpack))


def quantised(model: Model) -> bool:
    """Whether operators of the file compute with whole numbers, or quantise what they read."""
    tensors = model.graph.tensors
    return any(
        tensors[index].dtype in ("int8", "uint8", "int16", "int4")
        for op in model.graph.operators
        if op.op != "DEQUANTIZE"
        for index in (*op.inputs, *op.outputs)
        if index >= 0
    )


def _moved_runs(model: Model, batch: Batch) -> Callable[[int], list[Array]]:
    """Outputs on inputs and constants that are changed by what the file's arithmetic rounds to.

    That is the last bit of a float, and half a step of int8 where activations are quantised.
    """
    coarse = quantised(model)
    dynamic = coarse and all(_unit(model, index) is None for index in model.graph.outputs)

    def run(draw: int) -> list[Array]:
        generator = np.random.default_rng(draw)
        arrays = tuple(_moved(array, generator, coarse=coarse) for array in batch.arrays)
        content = bytearray(Path(model.path).read_bytes())
        for tensor in parse_model(content).graph.tensors:
            if tensor.data is not None and tensor.data.dtype == np.float32:
                tensor.data[...] = _moved(tensor.data, generator, coarse=False)
        with temporary_folder() as folder:
            path = folder / "moved.tflite"
            path.write_bytes(content)
            return run_here(read_model(path), Batch(arrays, batch.joined))

    if not dynamic:
        return run
    still = run_here(model, batch)
    return lambda draw: [
        want + _DYNAMIC_NOISE * (have - want) for have, want in zip(run(draw), still, strict=True)
    ]


def _moved(array: Array, generator: np.random.Generator, *, coarse: bool) -> Array:
    if array.dtype.kind == "b":
        return array
    change = generator.uniform(-1, 1, array.shape)
    if array.dtype.kind == "f" and coarse:
        step = np.abs(array).max(initial=0.0) / 127
        shifted: Array = array + 0.5 * step * change
        return shifted.astype(array.dtype)
    if array.dtype.kind == "f":
        next_one = np.nextafter(array, np.where(change < 0, -np.inf, np.inf).astype(array.dtype))
        moved: Array = np.where(array == 0, array, next_one)
        return moved
    if not coarse:
        return array
    span = np.iinfo(array.dtype)
    steps: Array = np.clip(array + np.rint(0.75 * change), span.min, span.max)
    return steps.astype(array.dtype)


def _unit(model: Model, index: int) -> float | None:
    """One quantisation step of an output, in the numbers that the file gives."""
    found = quantization_of(model.graph, index)
    if found is None:
        return None
    return float(found.scale[0]) if model.graph.tensors[index].dtype.startswith("float") else 1.0
