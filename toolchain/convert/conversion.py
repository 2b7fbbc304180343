"""``deploy convert``: a model in, a checked ``.tflite`` file out."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from toolchain.agreement.blame import Blame, Run, find_operator
from toolchain.agreement.differences import Difference
from toolchain.agreement.runtimes import NONE, Litert, Runtime, Runtimes, find_runtimes
from toolchain.convert.calibration import RANDOM, Samples, check_source, load_samples
from toolchain.convert.check import Check, ConvertedLayer, check_layers
from toolchain.convert.compare import (
    Agreement,
    Comparison,
    Distance,
    Output,
    Refused,
    compare_outputs,
    file_inputs,
)
from toolchain.convert.interface import Flat
from toolchain.convert.kinds import Boundary, Kind, is_tensorflow
from toolchain.convert.lower import channel_last, lower
from toolchain.convert.original import Original
from toolchain.convert.ports import Port, channel_last_array, read_ports
from toolchain.convert.quantize import float_operators, quantize_int8, quantize_weights
from toolchain.convert.reference import random_inputs
from toolchain.convert.rewrite import rewrite
from toolchain.convert.source import Source, load_source, module_source, network_source
from toolchain.convert.verdict import Find, require_agreement, require_quality
from toolchain.errors import DataError, ModelError, OutputError, VerificationError
from toolchain.progress import Progress, Silent
from toolchain.sparsity.checkpoint_file import check_no_tflite
from toolchain.sparsity.published import HeaderReport
from toolchain.storage.files import check_name, check_writable, written_whole
from toolchain.tflite_file.graph import read_model
from toolchain.tflite_file.image_metadata import Normalization, with_image_metadata
from toolchain.tflite_file.layers import find_layers, totals
from toolchain.tflite_file.support import require_supported
from toolchain.zoo import libraries

DEFAULT_TOLERANCE = 1e-5
"""Of a difference beside the scale of its slice. Sums in another order differ by about 1e-6."""
DEFAULT_SQNR_DB: dict[Kind, float] = {"int8": 10.0, "dynamic": 10.0, "fp16": 30.0}
"""Of quantised files. Untrained networks of 50 layers come to 16 (int8) and 45 dB (fp16), trained
ones to more; what is wrong is at 0."""


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
    """What :func:`convert` did."""

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


def convert(
    path: str | os.PathLike[str] | None,
    output: str | os.PathLike[str],
    *,
    model: str | nn.Module | None = None,
    input_shapes: Sequence[tuple[int, ...]] | None = None,
    masks: str | os.PathLike[str] | None = None,
    weights: str | None = None,
    normalization: Normalization | None = None,
    tolerance: float = DEFAULT_TOLERANCE,
    quantize: Kind | None = None,
    calibration: str | None = None,
    calibration_samples: int | None = None,
    boundary: Boundary = "float32",
    min_sqnr_db: float | None = None,
    seed: int | None = None,
    others: Runtimes = NONE,
    progress: Progress | None = None,
) -> Conversion:
    """Convert a model to a ``.tflite`` file, which appears checked and whole or not at all.

    Images are ``[N, H, W, C]`` in the file, whatever they are in torch.

    Args:
        path: checkpoint or exported program, see :func:`toolchain.convert.source.load_source`; or a
            Keras model or SavedModel, see
            :func:`toolchain.convert.from_tensorflow.source.load_tensorflow`.
        output: the file to write; its folder has to exist.
        model: ``package.module:factory``, a name of the zoo, or a network with its weights and
            masks, which is in eval mode then.
        input_shapes: as torch has them, one an input; needed where nothing else tells.
        masks: ``bin_mask.h``, for weights that come without masks.
        weights: which of a checkpoint's weights: their key, or ``ema`` for averaged ones.
        normalization: how its images are normalised, which the file then says; what the checkpoint
            says of its training unless given.
        tolerance: the largest difference to torch that is let through, as a part of its scale
            (:mod:`toolchain.agreement.differences`); of the float32 file, also where that is then
            quantised.
        quantize: ``int8`` weights and activations, ``fp16`` weights, or int8 weights for
            ``dynamic`` range; ``None`` leaves float32.
        calibration: for ``int8``, and needed there: the data that ranges are measured on, see
            :func:`toolchain.convert.calibration.load_samples`.
        calibration_samples: inferences of it to take at most.
        boundary: what inputs and outputs of an int8 file are.
        min_sqnr_db: the least signal-to-quantisation-noise ratio of a quantised file that is let
            through, to torch and between any two runtimes.
        seed: of random inputs; a fresh one by default.
        others: runtimes to run the file on besides the stock ones, such as the one that ships.
        progress: where stages are announced.

    Raises:
        ModelError: the model cannot be loaded, converted or quantised, or a mask has a fault.
        DataError: calibration data is missing, does not fit or has a fault.
        VerificationError: the file's outputs are not torch's.
        OutputError: the file cannot be written.
        MissingToolError: ``VENV_TFLITE`` names an environment that has no tflite-runtime.
    """
    started = time.monotonic()
    progress = progress or Silent()
    output = Path(output)
    check_name(output, OutputError)
    if path is not None:
        check_name(Path(path), ModelError)
        check_no_tflite(Path(path))
    seed = secrets.randbelow(2**31) if seed is None else seed
    if quantize == "int8" and calibration is None:
        raise DataError(
            "int8 needs data to measure the range of each activation on",
            hint="give --calibration: a folder of images, an .npz file, package.module:function or "
            f"fashion-mnist; {RANDOM} is good for measuring time and nothing else",
        )
    if calibration is not None:
        check_source(calibration)
    least_db = DEFAULT_SQNR_DB[quantize] if quantize and min_sqnr_db is None else min_sqnr_db
    given = [one for one in (path, masks, calibration) if one is not None]
    check_writable(output, inputs=map(Path, given))
    stock = find_runtimes()
    runtimes = Runtimes((*stock.found, *others.found), (*stock.missing, *others.missing))
    with written_whole(output) as scratch:
        with progress.stage("load and export", 1) as stage:
            source = _load(path, model, input_shapes, masks, weights)
            normalization = _fitting(normalization, source)
            stage.advance()
        samples = None
        if calibration is not None:
            samples = load_samples(
                calibration, source.inputs, limit=calibration_samples, seed=seed, progress=progress
            )
        check_masks = _lower(source, scratch, progress)
        say_normalization(scratch, default_output(path, model).stem, normalization)
        check = _Check(source, scratch, progress, seed)
        comparison = before = check.against_torch(
            Runtimes((Litert("xnnpack"),), ()) if quantize else runtimes, tolerance
        )
        info = None
        if quantize:
            tried = None
            if samples is not None and quantize == "int8":
                measured, tried = samples.split()
                info = CalibrationInfo(
                    source=samples.name, inferences=len(measured), checked=len(tried)
                )
                _quantize_int8(scratch, measured, boundary, progress)
            elif quantize != "int8":
                with progress.stage(f"quantize to {quantize}", 1) as stage:
                    quantize_weights(scratch, quantize)
                    stage.advance()
            # What quantises writes a file of its own.
            say_normalization(scratch, default_output(path, model).stem, normalization)
            ours = {runtime.name for runtime in others.found}
            comparison = check.of_quantised(runtimes, tried, least_db or 0.0, ours)
        file = read_model(scratch)
        require_supported(
            replace(file, path=str(output)),
            hint="no file was written; build the network of other operators",
        )
        found = find_layers(file)
        ports = read_ports(scratch)
    total = totals(found)
    worst = comparison.worst
    return Conversion(
        path=output,
        bytes=file.size,
        source=source.description,
        framework=source.framework,
        inputs=_tensors("args", source.inputs, source.torch_inputs, ports.inputs),
        outputs=_tensors("output", source.outputs, source.torch_outputs, ports.outputs),
        notes=list(source.notes),
        normalization=NormalizationInfo.of(normalization),
        layers=check_masks(found),
        mask_header=source.header,
        weights=list(source.weights),
        macs=total.macs,
        macs_saved=total.macs_saved,
        ideal_speedup=total.ideal_speedup,
        quantize=quantize,
        calibration=info,
        float_operators=float_operators(file) if quantize == "int8" else {},
        worst_output=worst.worst.name,
        worst_slice=worst.worst.slice,
        max_abs_diff=worst.worst.max_abs_diff,
        max_output=worst.worst.max_output,
        relative_diff=worst.relative_diff,
        tolerance=tolerance,
        float_relative_diff=before.worst.relative_diff if quantize else None,
        sqnr_db=comparison.sqnr_db,
        min_sqnr_db=least_db if quantize else None,
        max_steps=comparison.max_steps,
        runtimes=[_runtime_result(item) for item in comparison.agreements],
        between=comparison.furthest,
        not_run=list(comparison.missing),
        samples=max(item.inferences for item in comparison.agreements),
        seed=seed,
        seconds=time.monotonic() - started,
    )


def _load(
    path: str | os.PathLike[str] | None,
    model: str | nn.Module | None,
    shapes: Sequence[tuple[int, ...]] | None,
    masks: str | os.PathLike[str] | None,
    weights: str | None,
) -> Original:
    if isinstance(model, nn.Module):
        for option, given in (("path", path), ("masks", masks), ("weights", weights)):
            if given is not None:
                raise ModelError(
                    f"{type(model).__name__}: is a network, which holds all of it",
                    hint=f"leave {option} away",
                )
        return network_source(model, shapes)
    if path is None or not is_tensorflow(Path(path)):
        return load_source(path, model, shapes, masks, weights)
    for option, given in (("--model", model), ("--masks", masks), ("--weights", weights)):
        if given is not None:
            raise ModelError(
                f"{path}: is a model of TensorFlow, which holds all of it",
                hint=f"leave {option} away",
            )
    from toolchain.convert.from_tensorflow.source import load_tensorflow

    return load_tensorflow(Path(path), shapes)


def _lower(source: Original, path: Path, progress: Progress) -> Check:
    """Write the float32 file; what checks its masked layers."""
    if not isinstance(source, Source):
        from toolchain.convert.from_tensorflow.lower import lower_tensorflow

        with progress.stage("convert to TFLite", 1) as stage:
            check = lower_tensorflow(source, path)
            stage.advance()
        return check
    with progress.stage("rewrite masks", 1) as stage:
        module, masked = rewrite(source.program)
        stage.advance()
    with progress.stage("lower to TFLite") as stage:
        flat = Flat(module, source.interface)
        lower(flat, source.inputs, source.outputs, path)
        stage.total(1)
        stage.advance()
    return lambda found: check_layers(masked, found)


def lower_unchecked(model: nn.Module, example: Tensor, path: Path) -> None:
    """Write a network as a float32 file that nothing compares with it: to look at, not to use.

    Args:
        model: takes one image; it is in eval mode then.
        example: ``[N, C, H, W]``.
        path: the file.

    Raises:
        ModelError: it cannot be exported or lowered.
    """
    source = module_source(model, [example], "the network")
    module, _ = rewrite(source.program)
    lower(Flat(module, source.interface), source.inputs, source.outputs, path)


def default_output(path: str | os.PathLike[str] | None, model: str | nn.Module | None) -> Path:
    """``<name>.tflite`` in the current folder, after the checkpoint or the model."""
    if isinstance(model, nn.Module):
        return Path(f"{type(model).__name__}.tflite")
    named = libraries.without_weights(model or "model")
    name = Path(path).stem if path is not None else named.rpartition(":")[2]
    return Path(f"{name}.tflite")


@dataclass(frozen=True)
class _Check:
    """The checks of one file."""

    source: Original
    path: Path
    progress: Progress
    seed: int

    def against_torch(self, runtimes: Runtimes, tolerance: float) -> Comparison:
        """Of a float32 file, on random inputs."""
        inputs = random_inputs(self.source, self.seed)
        found = self._compare(f"compare with {self.source.framework}", runtimes, inputs, tolerance)
        find = self._finder(runtimes, inputs)
        require_agreement(found, tolerance, seed=self.seed, find=find)
        return found

    def of_quantised(
        self, runtimes: Runtimes, tried: Samples | None, least_db: float, ours: Collection[str]
    ) -> Comparison:
        """Of a quantised file, on calibration data where there is some."""
        inputs: Sequence[Sequence[Tensor]] = random_inputs(self.source, self.seed)
        advice = (
            "what is noisy in int8 weights is not in --quantize fp16, "
            f"nor without --quantize; --seed {self.seed} tries the same inputs again"
        )
        if tried is not None:
            inputs = [tried[index] for index in range(len(tried))]
            advice = (
                "data that is more like what the network was trained on may do better; "
                "--quantize fp16 touches weights only"
            )
        title = f"compare quantised file with {self.source.framework}"
        found = self._compare(title, runtimes, inputs, None)
        find = self._finder(runtimes, inputs)
        require_quality(found, least_db, advice=advice, find=find, ours=ours)
        return found

    def _compare(
        self,
        title: str,
        runtimes: Runtimes,
        inputs: Sequence[Sequence[Tensor]],
        tolerance: float | None,
    ) -> Comparison:
        with self.progress.stage(title, 1 + len(runtimes.found)) as stage:
            try:
                return compare_outputs(
                    self.source, self.path, inputs, runtimes, tolerance=tolerance,
                    step=stage.advance,
                )  # fmt: skip
            except Refused as refused:
                blame = self._find(refused.runtime, Litert("builtin"), inputs[0], None)
                if blame is None or blame.op in refused.what:
                    raise
                raise VerificationError(
                    f"{refused.what}; it refuses {blame}", hint=refused.hint
                ) from refused

    def _finder(self, runtimes: Runtimes, inputs: Sequence[Sequence[Tensor]]) -> Find:
        def runtime(of: Agreement) -> Runtime:
            return next(
                item
                for item in runtimes.found
                if (item.name, item.kernels) == (of.runtime, of.kernels)
            )

        def find(bad: Agreement, good: Agreement) -> Blame | None:
            # Plain kernels ran the first inference, and so did all others.
            return self._find(runtime(bad), runtime(good), inputs[0], bad.worst)

        return find

    def _find(
        self, bad: Runtime, good: Runtime, inputs: Sequence[Tensor], difference: Difference | None
    ) -> Blame | None:
        [arrays] = file_inputs(self.path, [inputs])

        def run(runtime: Runtime) -> Run:
            return lambda path: runtime.run(path, [[array.copy() for array in arrays]])[0]

        with self.progress.stage("find the operator", 1) as stage:
            found = find_operator(self.path, run(good), run(bad), difference)
            stage.advance()
        return found


def _runtime_result(of: Agreement) -> RuntimeResult:
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


def _quantize_int8(path: Path, samples: Samples, boundary: Boundary, progress: Progress) -> None:
    with progress.stage("calibrate", len(samples)) as stage:
        inputs = (
            [channel_last_array(tensor) for tensor in samples[index]]
            for index in range(len(samples))
        )
        quantize_int8(path, inputs, boundary=boundary, step=stage.advance)


def _fitting(given: Normalization | None, source: Original) -> Normalization | None:
    """What the file is to say of its images.

    Raises:
        ModelError: what the user gave is for other images than the model takes.
    """
    shapes = source.inputs
    channels = shapes[0][1] if len(shapes) == 1 and len(shapes[0]) == 4 else 0
    if given is None:
        trained = source.normalization
        return trained if trained is not None and channels and trained.fits(channels) else None
    if not channels or not given.fits(channels):
        takes = " and ".join("x".join(map(str, shape)) for shape in shapes)
        raise ModelError(
            f"the normalisation is for {len(given.mean)} channels, the model takes {takes}",
            hint="give one mean and one std, or one of each a channel, for a model of one image",
        )
    return given


def say_normalization(path: Path, name: str, normalization: Normalization | None) -> None:
    """Write into a file how its images are normalised, where that is known.

    Args:
        path: a ``.tflite`` file.
        name: of the model.
        normalization: that fits its input.
    """
    if normalization is not None:
        said = f"Images are normalised: (pixel / 255 - mean) / std with {normalization}."
        content = with_image_metadata(path.read_bytes(), name, said, normalization)
        path.write_bytes(content)


def _tensors(
    kind: str,
    shapes: Sequence[tuple[int, ...]],
    in_torch: Sequence[tuple[int, ...]],
    ports: Sequence[Port],
) -> list[TensorInfo]:
    return [
        TensorInfo(
            name=f"{kind}_{i}",
            dtype=port.dtype.name,
            shape=channel_last(shape),
            torch_shape=own,
            scale=port.scale if port.quantised else None,
            zero_point=port.zero_point if port.quantised else None,
        )
        for i, (shape, own, port) in enumerate(zip(shapes, in_torch, ports, strict=True))
    ]
