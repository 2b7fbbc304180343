"""Compare a file's outputs, on every runtime, with torch's and with each other."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from toolchain.convert.ports import channel_last_array, read_ports
from toolchain.convert.runtimes import Runtime, Runtimes
from toolchain.convert.source import Source
from toolchain.errors import VerificationError

Array = npt.NDArray[Any]
SAMPLES = 5
"""Random inputs: three of mean 0 and variance 1, two uniform in [0, 1) like an image."""


@dataclass(frozen=True)
class Agreement:
    """How far a file's outputs on one runtime are from torch's."""

    runtime: str
    kernels: str
    inferences: int
    max_abs_diff: float
    max_output: float
    """The largest absolute value of torch's outputs."""
    sqnr_db: float
    """Power of torch's output over that of the difference, in decibels; of the worst output, over
    all inferences. Infinite where they are equal, minus infinity where the file gives NaN."""
    max_steps: float | None
    """The largest difference in quantisation steps of its output; ``None`` for float outputs."""

    @property
    def relative_diff(self) -> float:
        """The difference over the largest output."""
        return self.max_abs_diff / self.max_output if self.max_output else self.max_abs_diff

    @property
    def where(self) -> str:
        """``ai-edge-litert 2.3.0, builtin kernels``."""
        return f"{self.runtime}, {self.kernels} kernels"


@dataclass(frozen=True)
class Distance:
    """How far two runtimes' outputs of one file are from each other."""

    first: str
    second: str
    sqnr_db: float
    """Power of torch's output over that of the difference between the two, in decibels."""
    max_steps: float | None


@dataclass(frozen=True)
class Comparison:
    """A file on every runtime that was found."""

    agreements: tuple[Agreement, ...]
    distances: tuple[Distance, ...]
    """Of every two."""
    missing: tuple[str, ...]
    """Runtimes that were not tried, and why."""

    @property
    def worst(self) -> Agreement:
        """The runtime whose outputs differ most from torch's."""
        return max(self.agreements, key=lambda item: _order(item.max_abs_diff))

    @property
    def sqnr_db(self) -> float:
        """To torch, of the worst runtime."""
        return min(item.sqnr_db for item in self.agreements)

    @property
    def max_steps(self) -> float | None:
        """To torch, of the worst runtime."""
        return _largest_of(item.max_steps for item in self.agreements)

    @property
    def furthest(self) -> Distance | None:
        """The two runtimes that differ most from each other."""
        return min(self.distances, key=lambda item: item.sqnr_db, default=None)


def random_inputs(source: Source, seed: int) -> list[list[Tensor]]:
    """``SAMPLES`` inferences' inputs."""
    generator = torch.Generator().manual_seed(seed)
    makers = [torch.randn if index < SAMPLES - 2 else torch.rand for index in range(SAMPLES)]
    return [[make(shape, generator=generator) for shape in source.inputs] for make in makers]


def compare_outputs(
    source: Source,
    path: Path,
    samples: Sequence[Sequence[Tensor]],
    runtimes: Runtimes,
    *,
    step: Callable[[], None],
) -> Comparison:
    """Run the file on every runtime, and torch, on the same inputs.

    Args:
        source: the original model.
        path: the file; int8 inputs and outputs are converted with their own scales.
        samples: inputs of each inference, as torch has them. Plain kernels, which are slow, get
            the first and the last.
        runtimes: what to run the file on.
        step: called after each of ``1 + len(runtimes.found)`` steps.

    Raises:
        VerificationError: a runtime cannot run the file, its outputs have other shapes, or
            torch's outputs are not finite.
    """
    wanted = [_wanted(source, inputs) for inputs in samples]
    step()
    ports = read_ports(path)
    given = [
        [
            port.to_file(channel_last_array(tensor))
            for port, tensor in zip(ports.inputs, row, strict=True)
        ]
        for row in samples
    ]
    found: list[tuple[Runtime, dict[int, list[Array]]]] = []
    for runtime in runtimes.found:
        chosen = (
            sorted({0, len(samples) - 1}) if runtime.kernels == "builtin" else range(len(given))
        )
        rows = runtime.run(path, [given[index] for index in chosen])
        for index, row in zip(chosen, rows, strict=True):
            if [array.shape for array in row] != [array.shape for array in wanted[index]]:
                raise VerificationError(
                    f"the file's outputs have shapes {[array.shape for array in row]}, "
                    f"torch's have {[array.shape for array in wanted[index]]}"
                )
        real = [
            [port.from_file(array) for port, array in zip(ports.outputs, row, strict=True)]
            for row in rows
        ]
        found.append((runtime, dict(zip(chosen, real, strict=True))))
        step()
    steps = [port.step for port in ports.outputs]
    return Comparison(
        tuple(_agreement(runtime, runs, wanted, steps) for runtime, runs in found),
        tuple(_distance(*pair, wanted, steps) for pair in itertools.combinations(found, 2)),
        runtimes.missing,
    )


def require_agreement(comparison: Comparison, tolerance: float, *, hint: str) -> None:
    """Raise unless each runtime's difference is within ``tolerance`` of the largest output.

    Raises:
        VerificationError: one is not; says which.
    """
    for item in comparison.agreements:
        if not item.relative_diff <= tolerance:  # true for NaN too
            raise VerificationError(
                f"the converted file differs from torch by {item.max_abs_diff:.3g}, "
                f"{item.relative_diff:.3g} of the largest output ({item.max_output:.3g}), on "
                f"{item.where}; the tolerance is {tolerance:.3g}",
                hint=hint,
            )


def require_quality(comparison: Comparison, least_db: float, *, hint: str) -> None:
    """Raise unless each runtime is so near to torch, and every two to each other.

    Args:
        comparison: of a quantised file.
        least_db: the least signal-to-quantisation-noise ratio, decibels.
        hint: what to do about it.

    Raises:
        VerificationError: one is not, or two are not; says which, and how far.
    """
    bad = [item for item in comparison.agreements if not item.sqnr_db >= least_db]
    if bad:
        others = [item for item in comparison.agreements if item not in bad]
        raise VerificationError(
            "the quantised file is too far from torch on "
            + "; ".join(f"{item.where}: {_far(item.sqnr_db, item.max_steps)}" for item in bad)
            + "".join(f"; {item.where}: {_far(item.sqnr_db, item.max_steps)}" for item in others)
            + f"; {least_db:g} dB are wanted",
            hint=hint,
        )
    furthest = comparison.furthest
    if furthest is not None and not furthest.sqnr_db >= least_db:
        raise VerificationError(
            f"two runtimes disagree about the quantised file: {furthest.first}, and "
            f"{furthest.second}: {_far(furthest.sqnr_db, furthest.max_steps)}; "
            f"{least_db:g} dB are wanted",
            hint=hint,
        )


def _wanted(source: Source, inputs: Sequence[Tensor]) -> list[Array]:
    with torch.no_grad():
        outputs = [channel_last_array(output) for output in source.reference(*inputs)]
    if not all(np.isfinite(array).all() for array in outputs):
        raise VerificationError(
            "torch's own outputs are not finite on the inputs of the check, so nothing can be "
            "compared",
            hint="look for NaN or infinity in the weights and in BatchNorm's variances",
        )
    return outputs


_Runs = dict[int, list[Array]]
"""Index of the inference -> its outputs, as real numbers."""


def _agreement(
    runtime: Runtime, runs: _Runs, wanted: list[list[Array]], steps: list[float | None]
) -> Agreement:
    difference, sqnr_db, most = _compare(runs, dict(enumerate(wanted)), wanted, steps)
    largest = max((_largest(array) for index in runs for array in wanted[index]), default=0.0)
    return Agreement(runtime.name, runtime.kernels, len(runs), difference, largest, sqnr_db, most)


def _distance(
    one: tuple[Runtime, _Runs],
    other: tuple[Runtime, _Runs],
    wanted: list[list[Array]],
    steps: list[float | None],
) -> Distance:
    _, sqnr_db, most = _compare(one[1], other[1], wanted, steps)
    first, second = (f"{runtime.name}, {runtime.kernels} kernels" for runtime, _ in (one, other))
    return Distance(first, second, sqnr_db, most)


def _compare(
    one: _Runs, other: _Runs, wanted: list[list[Array]], steps: list[float | None]
) -> tuple[float, float, float | None]:
    """Largest difference, the worst output's ratio in decibels, and the difference in steps."""
    largest, worst = 0.0, math.inf
    most: list[float | None] = []
    common = sorted(set(one) & set(other))
    for position, step in enumerate(steps):
        signal = noise = difference = 0.0
        for index in common:
            gap = one[index][position].astype(np.float64) - other[index][position]
            signal += float(np.square(wanted[index][position].astype(np.float64)).sum())
            noise += float(np.square(gap).sum())
            difference = max(difference, _order(_largest(gap)))
        largest = max(largest, difference)
        worst = min(worst, decibels(signal, noise))
        most.append(None if step is None else difference / step)
    return largest, worst, _largest_of(most)


def decibels(signal: float, noise: float) -> float:
    """``10 log10(signal / noise)`` of two powers; infinite without noise, minus that for NaN."""
    if not noise >= 0 or math.isinf(noise):
        return -math.inf
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal > 0 else -math.inf


def _order(difference: float) -> float:
    """A difference to be compared: NaN, which ``max`` would drop, is the largest."""
    return math.inf if math.isnan(difference) else difference


def _largest(array: Array) -> float:
    return float(np.abs(array).max()) if array.size else 0.0


def _largest_of(numbers: Iterable[float | None]) -> float | None:
    return max((number for number in numbers if number is not None), default=None)


def _far(sqnr_db: float, max_steps: float | None) -> str:
    steps = "" if max_steps is None else f", up to {max_steps:.3g} quantisation steps"
    return f"{sqnr_db:.1f} dB{steps}"
