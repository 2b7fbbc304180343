"""``deploy convert``: a model in, a checked ``.tflite`` file out.

What needs PyTorch is imported once it is known to be there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from toolchain import extras
from toolchain.convert.kinds import (
    Boundary,
    Kind,
    is_onnx,
    is_program,
    is_saved_model,
    is_tensorflow,
)
from toolchain.errors import ModelError
from toolchain.formats.input_file import check_readable
from toolchain.progress import Progress
from toolchain.tflite_file.image_metadata import Normalization
from toolchain.zoo import catalog, libraries

if TYPE_CHECKING:
    from torch import nn

    from toolchain.convert.result import Conversion


@dataclass(frozen=True)
class ConvertOptions:
    """What is converted, and to what; see :func:`toolchain.convert.conversion.convert`."""

    source: str | None = None
    """A checkpoint, an exported program, an ONNX file, or a model of TensorFlow."""
    model: str | nn.Module | None = None
    """A name of the zoo or of a library, ``package.module:factory``, or a network itself."""
    output: Path | None = None
    """The file to write; named after the source in the current folder if ``None``."""
    input_shapes: tuple[tuple[int, ...], ...] = ()
    """As torch has them, one an input; those that are known if there are none."""
    masks: Path | None = None
    """A header of masks."""
    weights: str | None = None
    """Which of a checkpoint's weights."""
    normalization: Normalization | None = None
    """How images are normalised, where the checkpoint does not say."""
    tolerance: float | None = None
    """The largest difference that is let through, as a part of its scale."""
    quantize: Kind | None = None
    calibration: str | None = None
    """What the ranges of an int8 file are measured on."""
    calibration_samples: int | None = None
    """Inferences of it to take at most."""
    boundary: Boundary = "float32"
    """What inputs and outputs of an int8 file are."""
    min_sqnr_db: float | None = None
    """The least signal-to-quantisation-noise ratio that is let through."""
    seed: int | None = None
    """Of random inputs; a fresh one if ``None``."""


def check(options: ConvertOptions) -> None:
    """Look at files and packages before anything is loaded.

    Raises:
        ModelError: a file cannot be read, or there is no such network.
        MissingToolError: packages are not installed.
    """
    source, model = options.source, options.model
    wanted = ["convert"]
    if isinstance(model, str) and ":" not in model:
        catalog.get(model)
    elif isinstance(model, str) and libraries.is_named(model):
        wanted.append(model.partition(":")[0])
    if source is not None and is_onnx(Path(source)):
        wanted.append("onnx")
    if source is not None and is_tensorflow(Path(source)):
        wanted.append("tensorflow")
    folder = source is not None and is_saved_model(Path(source))
    for file in (None if folder else source, options.masks):
        if file is not None:
            check_readable(Path(file), ModelError)
    extras.require("deploy convert", *wanted)


def distrusted(source: str | None) -> str | None:
    """Why whoever made a source has to be trusted; ``None`` where nobody has to."""
    if source is None:
        return None
    if is_saved_model(Path(source)):
        return f"{source}: is a SavedModel, whose operators can read and write files when it runs"
    if is_program(Path(source)):
        return (
            f"{source}: is an exported program, which can run code of whoever made it when loaded"
        )
    return None


def convert(options: ConvertOptions, progress: Progress) -> Conversion:
    """Convert what was looked at with :func:`check`; it is trusted.

    The file is compared on the runtime that ships, too, where ``build/host`` has it.

    Args:
        options: what, and to what.
        progress: is told of the stages.

    Raises:
        DeployError: as :func:`toolchain.convert.conversion.convert`.
    """
    from toolchain.board.host_runtime import host_runtimes
    from toolchain.convert import conversion

    tolerance = options.tolerance
    return conversion.convert(
        options.source,
        options.output or conversion.default_output(options.source, options.model),
        model=options.model,
        input_shapes=options.input_shapes or None,
        masks=options.masks,
        weights=options.weights,
        normalization=options.normalization,
        tolerance=conversion.DEFAULT_TOLERANCE if tolerance is None else tolerance,
        quantize=options.quantize,
        calibration=options.calibration,
        calibration_samples=options.calibration_samples,
        boundary=options.boundary,
        min_sqnr_db=options.min_sqnr_db,
        seed=options.seed,
        others=host_runtimes(),
        progress=progress,
    )
