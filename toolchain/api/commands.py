"""The commands that need no open connection, as functions: ``convert``, ``build``, ``profile``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

from toolchain.api.board import Board, FilePath, Watcher, as_board, told, watched
from toolchain.build import bundle
from toolchain.build.bundle import Bundle
from toolchain.convert.kinds import Boundary, Kind
from toolchain.errors import ModelError
from toolchain.failures import Failures
from toolchain.operations import convert as converting
from toolchain.operations.estimate import EstimateOptions
from toolchain.operations.estimate import estimate as estimate_models
from toolchain.operations.gain import GainOptions
from toolchain.operations.gain import gain as gain_of
from toolchain.operations.inspect import inspect as inspect_file
from toolchain.operations.models import runnable_ones
from toolchain.operations.session import BoardSession
from toolchain.profile.document import Profile
from toolchain.profile.estimate_document import Estimate
from toolchain.profile.gain import Maskable, Settings
from toolchain.profile.gain_document import Gain
from toolchain.tflite_file.image_metadata import Normalization
from toolchain.tflite_file.inspection import Inspection
from toolchain.tflite_file.support import require_supported
from toolchain.tflite_file.untrained import is_untrained, warning

if TYPE_CHECKING:  # torch is not everywhere, and slow to import
    from torch import nn

    from toolchain.convert.result import Conversion


class Measuring(TypedDict, total=False):
    """How :func:`profile` measures: what :meth:`ConnectedBoard.profile` takes."""

    runs: int | None
    warmup: int | None
    threads: int | Sequence[int] | None
    per_op: bool
    precision: float
    max_time: float
    max_temp: float
    max_wait: float
    energy: bool
    meter: str | Sequence[str] | None
    stock_bundle: FilePath | None
    estimate: bool


def convert(
    source: FilePath | nn.Module | None,
    output: FilePath,
    *,
    model: str | None = None,
    input_shapes: Sequence[Sequence[int]] = (),
    masks: FilePath | None = None,
    weights: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    tolerance: float | None = None,
    quantize: Kind | None = None,
    calibration: FilePath | None = None,
    samples: int | None = None,
    io: Boundary = "float32",
    min_sqnr: float | None = None,
    seed: int | None = None,
    trust: bool = False,
    progress: Watcher = None,
) -> Conversion:
    """Convert a model to a ``.tflite`` file, which appears checked and whole or not at all.

    Its images are ``[N, H, W, C]``, whatever they are in torch.

    Args:
        source: a network of torch; or the path of a checkpoint, an exported program (``.pt2``), an
            ONNX file, a Keras model or a SavedModel; ``None`` takes the weights of ``model``.
        output: the file to write; its folder has to exist.
        model: of a checkpoint that does not name its own: a name of the zoo, of timm
            (``timm:NAME``) or torchvision, or ``package.module:factory``.
        input_shapes: one shape an input, as the framework has them: ``[(1, 3, 224, 224)]``. A
            network of torch needs them.
        masks: a header of masks, for weights that come without.
        weights: which of a checkpoint's weights: their key, or ``ema`` for averaged ones.
        mean: of the images that the network was trained on, of pixels from 0 to 1: one figure or
            one a channel.
        std: likewise the standard deviation.
        tolerance: the largest difference that is let through, as a part of its scale; 1e-5 if
            ``None``.
        quantize: ``int8`` weights and activations, ``fp16`` weights, or int8 weights for
            ``dynamic`` range; ``None`` leaves float32.
        calibration: for ``int8``, and needed there: images that ranges are measured on.
        samples: of them to take at most.
        io: what inputs and outputs of an int8 file are.
        min_sqnr: the least signal-to-quantisation-noise ratio of a quantised file, in dB.
        seed: of random inputs; a fresh one if ``None``.
        trust: whether a ``.pt2`` or a SavedModel may do what its maker wants.
        progress: is told of the stages.

    Raises:
        ModelError: the source cannot be loaded or converted, or is to be trusted and is not.
        VerificationError: the file's outputs are not the model's.
        DataError: calibration data is missing or has a fault.
        OutputError: the file cannot be written.
        MissingToolError: the extra ``convert``, or another one, is not installed.
        ValueError: ``mean`` and ``std`` do not go together.
    """
    if (mean is None) != (std is None):
        raise ValueError("give mean and std, or neither")
    path: str | None = None
    network: str | nn.Module | None = model
    if isinstance(source, str | os.PathLike):
        path = os.fspath(source)
    elif source is not None:
        if model is not None:
            raise ValueError("give a network or the name of a model, not both")
        network = source
    options = converting.ConvertOptions(
        source=path,
        model=network,
        output=Path(output),
        input_shapes=tuple(map(tuple, input_shapes)),
        masks=None if masks is None else Path(masks),
        weights=weights,
        normalization=None if mean is None or std is None else Normalization.of_unit(mean, std),
        tolerance=tolerance,
        quantize=quantize,
        calibration=None if calibration is None else os.fspath(calibration),
        calibration_samples=samples,
        boundary=io,
        min_sqnr_db=min_sqnr,
        seed=seed,
    )
    converting.check(options)
    said = converting.distrusted(options.source)
    if said is not None and not trust:
        raise ModelError(said, hint="if you trust whoever made it, give trust=True")
    return converting.convert(options, watched(progress))


def build(
    board: FilePath | Board = "qemu",
    *,
    stock: bool = False,
    out: FilePath | None = None,
    sources: FilePath | None = None,
    jobs: int | None = None,
    force: bool = False,
    progress: Watcher = None,
) -> Bundle:
    """Fetch, patch, cross-compile: make the runtime of a board, from the cache as far as it goes.

    Args:
        board: whose; its name, its file, or it.
        stock: leave XNNPACK and the delegate as upstream wrote them, but for fixes.
        out: the folder; ``build/<board>`` in the current one if ``None``.
        sources: a folder with archives that are asked for before the network.
        jobs: parallel compilers; as many as there are cores if ``None``.
        force: compile again.
        progress: is told of the stages.

    Raises:
        SourceError: an archive cannot be had or is not the pinned one.
        BuildError: a patch, CMake or a compiler failed.
        MissingToolError: a program is not installed; the hint is the line that installs it.
        OutputError: the folder cannot be written, or is there and no bundle.
    """
    chosen = as_board(board, progress)
    return bundle.build(
        chosen.description,
        stock=stock,
        out=None if out is None else Path(out),
        sources=None if sources is None else Path(sources),
        jobs=jobs,
        force=force,
        progress=chosen.progress,
    )


def profile(
    models: FilePath | Sequence[FilePath],
    *,
    board: FilePath | Board = "qemu",
    host: str | None = None,
    progress: Watcher = None,
    **options: Unpack[Measuring],
) -> Profile:
    """Connect to a board, and measure models there.

    Args:
        models: ``.tflite`` files; the first is the one that the others are compared with.
        board: which; its name, its file, or it.
        host: a real board, as one gives it to ``ssh``.
        progress: is told what is done.
        options: what :meth:`toolchain.api.board.ConnectedBoard.profile` takes.

    Raises:
        DeployError: as :meth:`Board.connect` and :meth:`ConnectedBoard.profile`.
    """
    with as_board(board, progress, host=host).connect() as connected:
        return connected.profile(*_paths(models), **options)


def estimate(
    models: FilePath | Sequence[FilePath],
    *,
    board: FilePath | Board = "rpi4",
    threads: int | None = None,
    clock: int | None = None,
    progress: Watcher = None,
) -> Estimate:
    """Estimate times on a board that is not here; its program runs under QEMU's user mode.

    Args:
        models: ``.tflite`` files; the first is the one that the others are compared with.
        board: which; its name, its file, or it. Its bundle is ``build/<board>`` unless it has one.
        threads: as the board's file says if ``None``.
        clock: of its core, in MHz; likewise.
        progress: is told how far it is.

    Raises:
        BoardConfigError: times on this board cannot be estimated.
        BundleError: its runtime is not built.
        ModelError: a model cannot be read or run.
        MissingToolError: QEMU's user mode is not installed.
    """
    chosen, failures = as_board(board, progress), Failures()
    good = runnable_ones(_paths(models), failures, chosen.progress.note)
    options = EstimateOptions(good, chosen.access.bundle, threads, clock)
    found = estimate_models(chosen.description, options, chosen.progress, failures)
    with told(found):
        failures.require()
    assert found is not None  # noqa: S101 (else something has failed)
    return found


def inspect(model: FilePath, *, board: FilePath | Board | None = None) -> Inspection:
    """Describe a ``.tflite`` file: shapes, multiply-accumulates, masks, and what is skipped.

    Args:
        model: the file.
        board: whose core's plan is told; its name, its file, or it.

    Raises:
        ModelError: the file cannot be read, is no TFLite model, or is damaged.
    """
    return inspect_file(Path(model), None if board is None else as_board(board).description)


def gain(
    model: FilePath,
    *,
    board: FilePath | Board = "rpi4",
    host: str | None = None,
    sparsity: Sequence[float] = (0.1, 0.2, 0.3),
    policy: str = "pooled",
    layers: Sequence[str] = (),
    seed: int = 0,
    measure: bool = False,
    threads: int | None = None,
    max_time: float | None = None,
    per_op: bool = False,
    progress: Watcher = None,
) -> Gain:
    """Tell what masks would gain on a model, before anything is trained.

    Args:
        model: a ``.tflite`` file, whoever made it.
        board: which; its name, its file, or it.
        host: a real board, as one gives it to ``ssh``; for ``measure``.
        sparsity: shares of pixels to mask, each above 0 and below 1.
        policy: how masks are drawn.
        layers: mask only those of such a name or kind (``3x3``, ``dw *``); all if empty.
        seed: of the masks.
        measure: measure on the board, rather than estimate.
        threads: as the board's file says if ``None``.
        max_time: seconds that each copy is measured at most; 60 if ``None``.
        per_op: time every operator.
        progress: is told how far it is.

    Raises:
        ModelError: the model cannot be read or run, or nothing of it can be masked.
        BoardConfigError: times on this board cannot be estimated.
        DeployError: as :meth:`Board.connect`, to measure.
    """
    chosen, failures = as_board(board, progress, host=host), Failures()
    source = Maskable(Path(model), tuple(layers))
    if is_untrained(source.model):
        chosen.progress.note(warning(str(model)))
    require_supported(source.model, hint="inspect() tells all of the file")
    masks = tuple(Settings(one, policy, seed, tuple(layers)) for one in sparsity)
    session = BoardSession(chosen.description, chosen.access, chosen.progress)
    options = GainOptions(masks, measure, threads, max_time, per_op)
    found = gain_of(session, source, options, failures)
    with told(found):
        failures.require()
    assert found is not None  # noqa: S101 (else something has failed)
    return found


def _paths(models: FilePath | Sequence[FilePath]) -> list[Path]:
    if isinstance(models, str | os.PathLike):
        return [Path(models)]
    if not models:
        raise ModelError("no model was given", hint="give the path of a .tflite file")
    return [Path(model) for model in models]
