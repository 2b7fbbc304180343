"""Compare a file's outputs, on every runtime, with torch's and with each other."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from torch import Tensor

from toolchain.agreement.differences import Array, Difference, compare_each, output_name, worst
from toolchain.agreement.runtimes import Runtime, Runtimes
from toolchain.convert.original import Original
from toolchain.convert.ports import channel_last_array, read_ports
from toolchain.convert.quality import Quality, Slices, output_quality
from toolchain.convert.reference import reference_noise, reference_outputs
from toolchain.errors import VerificationError


class Refused(Exception):  # noqa: N818 (a runtime's answer, caught where it is explained)
    """A runtime cannot run a file.

    Args:
        runtime: which one.
        error: what is told of it.
    """

    def __init__(self, runtime: Runtime, error: VerificationError) -> None:
        super().__init__(error.what)
        self.runtime, self.error = runtime, error


@dataclass(frozen=True)
class Output:
    """One output of a file on one runtime, beside torch's."""

    difference: Difference
    sqnr_db: float
    """Power of torch's output over that of the difference, in decibels. Infinite where they are
    equal, minus infinity where the file gives NaN."""
    max_steps: float | None
    """The largest difference in quantisation steps of the output; ``None`` for float ones."""
    weak: Slices | None
    """Of a quantised file: where noise is stronger than what torch gives."""


@dataclass(frozen=True)
class Agreement:
    """How far a file's outputs on one runtime are from torch's."""

    runtime: str
    kernels: str
    inferences: int
    outputs: tuple[Output, ...]
    """In torch's order."""

    @cached_property
    def worst(self) -> Difference:
        """The output that is furthest beside its scale."""
        found = worst([item.difference for item in self.outputs])
        assert found is not None  # noqa: S101 (a model without outputs is refused)
        return found

    @property
    def relative_diff(self) -> float:
        """The worst output's difference over its scale."""
        return self.worst.relative_diff

    @property
    def noisiest(self) -> Output:
        """The output that the quantisation costs most."""
        return min(self.outputs, key=lambda item: item.sqnr_db)

    @property
    def sqnr_db(self) -> float:
        """Of the noisiest output."""
        return self.noisiest.sqnr_db

    @property
    def max_steps(self) -> float | None:
        """The largest difference in steps."""
        return _largest_of(item.max_steps for item in self.outputs)

    @property
    def where(self) -> str:
        """``ai-edge-litert 2.3.0, builtin kernels``."""
        return named(self.runtime, self.kernels)


@dataclass(frozen=True)
class Distance:
    """How far two runtimes' outputs of one file are from each other."""

    first: str
    second: str
    sqnr_db: float
    """Power of torch's output over that of the difference between the two, in decibels; of the
    output where that is least."""
    max_steps: float | None
    output: str
    """Which one that is."""


@dataclass(frozen=True)
class Comparison:
    """A file on every runtime that was found."""

    agreements: tuple[Agreement, ...]
    distances: tuple[Distance, ...]
    """Of every two."""
    missing: tuple[str, ...]
    """Runtimes that were not tried, and why."""
    framework: str = "torch"
    """Whose outputs the file's are compared with."""

    @property
    def worst(self) -> Agreement:
        """The runtime whose outputs differ most from torch's."""
        return max(self.agreements, key=lambda item: item.relative_diff)

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


def named(runtime: str, kernels: str) -> str:
    """A runtime with its kernels, for messages."""
    return f"{runtime}, {kernels} kernels"


def compare_outputs(
    source: Original,
    path: Path,
    samples: Sequence[Sequence[Tensor]],
    runtimes: Runtimes,
    *,
    tolerance: float | None,
    step: Callable[[], None],
) -> Comparison:
    """Run the file on every runtime, and torch, on the same inputs.

    Args:
        source: the original model.
        path: the file; int8 inputs and outputs are converted with their own scales.
        samples: inputs of each inference, as torch has them. Plain kernels, which are slow, get
            the first and the last.
        runtimes: what to run the file on.
        tolerance: of differences beside their scale; where one is above it, the noise of rounding
            is measured, which may be what made it. ``None``: the file is quantised, and noise is
            measured where a part of an output is lost.
        step: called after each of ``1 + len(runtimes.found)`` steps.

    Raises:
        Refused: a runtime cannot run the file.
        VerificationError: the file's outputs have other shapes, or torch's are not finite.
    """
    wanted = reference_outputs(source, samples)
    step()
    ports = read_ports(path)
    given = file_inputs(path, samples)
    found: list[_Run] = []
    for runtime in runtimes.found:
        plain = runtime.kernels == "builtin"
        chosen = tuple(dict.fromkeys((0, len(samples) - 1) if plain else range(len(samples))))
        # Each runtime gets arrays of its own: nothing that one does to them reaches another.
        fresh = [[array.copy() for array in given[index]] for index in chosen]
        try:
            rows = runtime.run(path, fresh)
        except VerificationError as error:
            raise Refused(runtime, error) from error
        for row in rows:
            if [array.shape for array in row] != [array.shape[1:] for array in wanted]:
                raise VerificationError(
                    f"the file's outputs have shapes {[array.shape for array in row]}, "
                    f"{source.framework}'s have {[array.shape[1:] for array in wanted]}"
                )
        outputs = [
            np.stack([port.from_file(row[position]) for row in rows])
            for position, port in enumerate(ports.outputs)
        ]
        found.append(_Run(runtime, chosen, outputs))
        step()
    judge = _Judge(wanted, [port.step for port in ports.outputs], list(source.output_names))
    agreements = [judge.agreement(run) for run in found]
    if judge.doubtful(agreements, tolerance):
        judge.noise = reference_noise(source, samples, wanted)
        agreements = [judge.agreement(run) for run in found]
    return Comparison(
        tuple(agreements),
        tuple(judge.distance(*pair) for pair in itertools.combinations(found, 2)),
        runtimes.missing,
        source.framework,
    )


def file_inputs(path: Path, samples: Sequence[Sequence[Tensor]]) -> list[list[Array]]:
    """Inputs of each inference as the file takes them, in its signature's order."""
    ports = read_ports(path).inputs
    return [
        [
            port.to_file(channel_last_array(tensor)).copy()
            for port, tensor in zip(ports, row, strict=True)
        ]
        for row in samples
    ]


@dataclass(frozen=True)
class _Run:
    """What a runtime gave."""

    runtime: Runtime
    inferences: tuple[int, ...]
    """Which of the samples."""
    outputs: list[Array]
    """``[inferences, *shape]`` of each, as real numbers."""

    def only(self, inferences: Sequence[int]) -> list[Array]:
        rows = [self.inferences.index(number) for number in inferences]
        return [array[rows] for array in self.outputs]


@dataclass
class _Judge:
    wanted: list[Array]
    steps: list[float | None]
    names: list[str]
    noise: list[Array] | None = None

    def agreement(self, run: _Run) -> Agreement:
        rows = list(run.inferences)
        wanted = [array[rows] for array in self.wanted]
        far = compare_each(run.outputs, wanted, self.names, noise=self.noise, classes=True)
        outputs = []
        for index, difference in enumerate(far):
            noise = None if self.noise is None else self.noise[index]
            want, step = wanted[index], self.steps[index]
            quality = output_quality(run.outputs[index], want, want, step, noise)
            outputs.append(Output(difference, *_parts(quality)))
        return Agreement(run.runtime.name, run.runtime.kernels, len(rows), tuple(outputs))

    def doubtful(self, agreements: Sequence[Agreement], tolerance: float | None) -> bool:
        """Whether the noise of rounding has a say."""
        if tolerance is None:
            return any(item.weak for one in agreements for item in one.outputs)
        return any(one.relative_diff > tolerance for one in agreements)

    def distance(self, one: _Run, other: _Run) -> Distance:
        common = sorted(set(one.inferences) & set(other.inferences))
        qualities = [
            output_quality(first, second, wanted[common], step)
            for first, second, wanted, step in zip(
                one.only(common), other.only(common), self.wanted, self.steps, strict=True
            )
        ]
        at = min(range(len(qualities)), key=lambda index: qualities[index].sqnr_db)
        return Distance(
            named(one.runtime.name, one.runtime.kernels),
            named(other.runtime.name, other.runtime.kernels),
            qualities[at].sqnr_db,
            _largest_of(item.max_steps for item in qualities),
            output_name(at, self.names[at]),
        )


def _parts(quality: Quality) -> tuple[float, float | None, Slices | None]:
    return quality.sqnr_db, quality.max_steps, quality.weak


def _largest_of(numbers: Iterable[float | None]) -> float | None:
    return max((number for number in numbers if number is not None), default=None)
