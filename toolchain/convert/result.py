"""What ``deploy convert`` tells of a file that it wrote: the document of ``--json``."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from toolchain.convert.check import ConvertedLayer
from toolchain.convert.compare import Agreement, Distance, Output
from toolchain.convert.kinds import Kind
from toolchain.sparsity.published import HeaderReport
from toolchain.tflite_file.image_metadata import Normalization


class _Result(BaseModel):
    model_config = ConfigDict(frozen=True)


class TensorInfo(_Result):
    """An input or output of the file."""

    name: str
    """In the file's signature."""
    dtype: str
    shape: tuple[int, ...]
    """As it is in the file: ``[N, H, W, C]`` for images."""
    torch_shape: tuple[int, ...]
    """As the framework that the model comes from has it."""
    scale: float | None = None
    """Of an int8 one: ``real = scale * (stored - zero_point)``; ``None`` for float32."""
    zero_point: int | None = None


class WeakSlices(_Result):
    """Slices of a quantised file's output where noise is stronger than what torch gives."""

    axis: int
    """As the file has it; the last is channels."""
    indices: tuple[int, ...]
    slices: str
    """They, in words."""
    sqnr_db: float
    """Of the weakest."""


class OutputResult(_Result):
    """How one output does on one runtime, see :mod:`toolchain.agreement.differences`."""

    name: str
    """Its number, and what it is called in what the model gives."""
    max_abs_diff: float
    """To torch."""
    max_output: float
    relative_diff: float
    """What the tolerance is compared with: the largest difference of a slice over its scale."""
    scale: float
    axis: int | None
    """Of the worst slice, as the file has it; the last is channels; ``None``: all of the output."""
    index: int | None
    inference: int
    position: tuple[int, ...]
    """Of the worst slice's largest difference."""
    sqnr_db: float
    """Power of torch's output over the difference's; ``null`` in JSON where they are equal."""
    max_steps: float | None
    """The largest difference in quantisation steps of the output; ``None`` for float ones."""
    weak: WeakSlices | None


class RuntimeResult(_Result):
    """How the file does on one runtime."""

    runtime: str
    """With its version."""
    kernels: str
    """``xnnpack`` or ``builtin``."""
    inferences: int
    worst_output: str
    """The one that is furthest beside its scale."""
    max_abs_diff: float
    """Of that output, to torch."""
    relative_diff: float
    sqnr_db: float
    """Of the noisiest output; ``null`` in JSON where all are equal."""
    max_steps: float | None
    """The largest difference in quantisation steps of its output; ``None`` for float outputs."""
    outputs: list[OutputResult]


class CalibrationInfo(_Result):
    """What an int8 file's ranges were measured on."""

    source: str
    inferences: int
    checked: int
    """Inferences of the data that the file was tried with."""


class NormalizationInfo(_Result):
    """How images are normalised: ``value = (pixel / 255 - mean) / std``."""

    mean: tuple[float, ...]
    """One for all channels, or one each."""
    std: tuple[float, ...]

    @classmethod
    def of(cls, known: Normalization | None) -> NormalizationInfo | None:
        """For a document."""
        return None if known is None else cls(mean=known.unit[0], std=known.unit[1])


class Conversion(_Result):
    """What ``deploy convert`` did."""

    path: Path
    bytes: int
    source: str
    framework: str = "torch"
    """Whose outputs the file's are compared with: ``torch``, ``Keras`` or ``TensorFlow``."""
    inputs: list[TensorInfo]
    outputs: list[TensorInfo]
    notes: list[str] = []
    """In what the file is another than the model, a sentence each."""
    normalization: NormalizationInfo | None = None
    """What the file says of how its images are normalised; ``None`` where that is not known."""
    layers: list[ConvertedLayer]
    """The masked layers, in the order of the model."""
    mask_header: HeaderReport | None = None
    """Whose masks these are, where a header of masks was given too."""
    weights: list[str] = []
    """Which of the checkpoint's weights were taken, where it holds several, and what was not."""
    macs: int
    macs_saved: int
    ideal_speedup: float
    """Dense over remaining multiply-accumulates, of the whole model."""
    quantize: Kind | None = None
    calibration: CalibrationInfo | None = None
    float_operators: dict[str, int] = {}
    """Operators of an int8 file that compute in float32, and how many of each."""
    worst_output: str
    """The output that is furthest from torch's beside its scale, on the worst runtime."""
    worst_slice: str
    """``channel 3`` of it, for example."""
    max_abs_diff: float
    """Of that output, to torch."""
    max_output: float
    """Of that output, in torch."""
    relative_diff: float
    """The worst slice's difference over its scale; what the tolerance is compared with."""
    tolerance: float
    float_relative_diff: float | None = None
    """The same of the file before it was quantised, which the tolerance is for."""
    sqnr_db: float
    """To torch, of the worst runtime; see :class:`RuntimeResult`."""
    min_sqnr_db: float | None = None
    """The least that is let through."""
    max_steps: float | None = None
    runtimes: list[RuntimeResult]
    between: Distance | None
    """The two runtimes that are furthest from each other."""
    not_run: list[str]
    """Runtimes that were not tried, and why."""
    samples: int
    seed: int
    seconds: float


def runtime_result(of: Agreement) -> RuntimeResult:
    """How the file does on the runtime that it was compared with torch on."""
    return RuntimeResult(
        runtime=of.runtime,
        kernels=of.kernels,
        inferences=of.inferences,
        worst_output=of.worst.name,
        max_abs_diff=of.worst.max_abs_diff,
        relative_diff=of.relative_diff,
        sqnr_db=of.sqnr_db,
        max_steps=of.max_steps,
        outputs=[_output_result(item) for item in of.outputs],
    )


def _output_result(of: Output) -> OutputResult:
    far, weak = of.difference, of.weak
    return OutputResult(
        name=far.name,
        max_abs_diff=far.max_abs_diff,
        max_output=far.max_output,
        relative_diff=far.relative_diff,
        scale=far.scale,
        axis=far.axis,
        index=far.index,
        inference=far.inference,
        position=far.position,
        sqnr_db=of.sqnr_db,
        max_steps=of.max_steps,
        weak=None
        if weak is None
        else WeakSlices(
            axis=weak.axis, indices=weak.indices, slices=str(weak), sqnr_db=weak.sqnr_db
        ),
    )
