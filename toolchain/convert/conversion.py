"""``deploy convert``: a model in, a checked ``.tflite`` file out."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from toolchain.convert.check import (
    SAMPLES,
    Form,
    check_layers,
    compare_outputs,
    require_agreement,
)
from toolchain.convert.lower import channel_last, lower
from toolchain.convert.rewrite import rewrite
from toolchain.convert.source import Flat, load_source
from toolchain.files import written_whole
from toolchain.model.graph import read_model
from toolchain.model.layers import find_layers, totals
from toolchain.progress import Progress, Silent
from toolchain.sparsity.published import HeaderReport

DEFAULT_TOLERANCE = 1e-5
"""Of the largest output. fp32 sums in another order differ by about 1e-6 of it."""


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


class ConvertedLayer(_Result):
    """A masked layer of the model and what it is in the file."""

    name: str
    op: str | None
    """``None`` where it is not in the file any more."""
    pixels: int
    kept: int
    form: Form
    skipped: bool
    """Whether the patched runtime skips the masked pixels."""
    detail: str | None


class Conversion(_Result):
    """What :func:`convert` did."""

    path: Path
    bytes: int
    source: str
    inputs: list[TensorInfo]
    outputs: list[TensorInfo]
    layers: list[ConvertedLayer]
    """The masked layers, in the order of the model."""
    mask_header: HeaderReport | None = None
    """Whose masks these are, where a header of masks was given too."""
    macs: int
    macs_saved: int
    ideal_speedup: float
    """Dense over remaining multiply-accumulates, of the whole model."""
    max_abs_diff: float
    max_output: float
    relative_diff: float
    """``max_abs_diff / max_output``; what the tolerance is compared with."""
    tolerance: float
    samples: int
    seed: int
    kernels: list[str]
    seconds: float


def convert(
    path: str | os.PathLike[str] | None,
    output: str | os.PathLike[str],
    *,
    model: str | None = None,
    input_shapes: Sequence[tuple[int, ...]] | None = None,
    masks: str | os.PathLike[str] | None = None,
    tolerance: float = DEFAULT_TOLERANCE,
    seed: int | None = None,
    progress: Progress | None = None,
) -> Conversion:
    """Convert a model to a ``.tflite`` file, which appears checked and whole or not at all.

    Images are ``[N, H, W, C]`` in the file, whatever they are in torch.

    Args:
        path: checkpoint or exported program, see :func:`toolchain.convert.source.load_source`.
        output: the file to write; its folder has to exist.
        model: ``package.module:factory`` or a name of the zoo.
        input_shapes: as torch has them, one an input; needed where nothing else tells.
        masks: ``bin_mask.h``, for weights that come without masks.
        tolerance: the largest difference to torch that is let through, as a part of the largest
            output.
        seed: of the random inputs of the check; a fresh one by default.
        progress: where stages are announced.

    Raises:
        ModelError: the model cannot be loaded or converted, or a mask has a fault.
        VerificationError: the file's outputs are not torch's.
        OutputError: the file cannot be written.
    """
    started = time.monotonic()
    progress = progress or Silent()
    output = Path(output)
    seed = secrets.randbelow(2**31) if seed is None else seed
    with written_whole(output) as scratch:
        with progress.stage("load and export", 1) as stage:
            source = load_source(path, model, input_shapes, masks)
            stage.advance()
        with progress.stage("rewrite masks", 1) as stage:
            module, masked = rewrite(source.program)
            stage.advance()
        with progress.stage("lower to TFLite") as stage:
            spec = source.program.call_spec.in_spec
            lower(Flat(module, spec), source.inputs, source.outputs, scratch)
            stage.total(1)
            stage.advance()
        file = read_model(scratch)
        found = find_layers(file)
        with progress.stage("compare with torch", SAMPLES + 2) as stage:
            agreement = compare_outputs(source, scratch, seed=seed, step=stage.advance)
        require_agreement(agreement, tolerance)
    total = totals(found)
    return Conversion(
        path=output,
        bytes=file.size,
        source=source.description,
        inputs=_tensors("args", source.inputs),
        outputs=_tensors("output", source.outputs),
        layers=[ConvertedLayer(**vars(check)) for check in check_layers(masked, found)],
        mask_header=source.header,
        macs=total.macs,
        macs_saved=total.macs_saved,
        ideal_speedup=total.ideal_speedup,
        max_abs_diff=agreement.max_abs_diff,
        max_output=agreement.max_output,
        relative_diff=agreement.relative_diff,
        tolerance=tolerance,
        samples=agreement.samples,
        seed=agreement.seed,
        kernels=list(agreement.kernels),
        seconds=time.monotonic() - started,
    )


def default_output(path: str | os.PathLike[str] | None, model: str | None) -> Path:
    """``<name>.tflite`` in the current folder, after the checkpoint or the model."""
    name = Path(path).stem if path is not None else (model or "model").rpartition(":")[2]
    return Path(f"{name}.tflite")


def _tensors(kind: str, shapes: Sequence[tuple[int, ...]]) -> list[TensorInfo]:
    return [
        TensorInfo(
            name=f"{kind}_{i}", dtype="float32", shape=channel_last(shape), torch_shape=shape
        )
        for i, shape in enumerate(shapes)
    ]
