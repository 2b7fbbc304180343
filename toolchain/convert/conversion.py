"""``deploy convert``: a model in, a checked ``.tflite`` file out."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn

from toolchain.agreement.runtimes import NONE, Litert, Runtimes, find_runtimes
from toolchain.convert.calibration import RANDOM, Samples, check_source, load_samples
from toolchain.convert.check import Check, check_layers
from toolchain.convert.file_check import FileCheck
from toolchain.convert.interface import Flat
from toolchain.convert.kinds import Boundary, Kind, is_tensorflow
from toolchain.convert.lower import channel_last, lower
from toolchain.convert.original import Original
from toolchain.convert.ports import Port, channel_last_array, read_ports
from toolchain.convert.quantize import float_operators, quantize_int8, quantize_weights
from toolchain.convert.result import (
    CalibrationInfo,
    Conversion,
    NormalizationInfo,
    TensorInfo,
    runtime_result,
)
from toolchain.convert.rewrite import rewrite
from toolchain.convert.source import Source, load_source, module_source, network_source
from toolchain.errors import DataError, ModelError, OutputError
from toolchain.progress import Progress, Silent
from toolchain.sparsity.checkpoint_file import check_no_tflite
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
                calibration,
                source.inputs,
                normalization=normalization,
                limit=calibration_samples,
                seed=seed,
                progress=progress,
            )
        check_masks = _lower(source, scratch, progress)
        say_normalization(scratch, default_output(path, model).stem, normalization)
        check = FileCheck(source, scratch, progress, seed)
        comparison = before = check.against_torch(
            Runtimes((Litert("xnnpack"),), ()) if quantize else runtimes, tolerance
        )
        info, notes = None, list(source.notes)
        if quantize:
            tried = None
            if samples is not None and quantize == "int8":
                measured, tried = samples.split()
                info = CalibrationInfo(
                    source=samples.name, inferences=len(measured), checked=len(tried)
                )
                notes += [samples.note] if samples.note else []
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
        notes=notes,
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
        runtimes=[runtime_result(item) for item in comparison.agreements],
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
