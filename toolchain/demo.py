"""The whole way, once: checkpoints to .tflite, runtime, board, accuracy there and here, profile.

This is what ``deploy demo`` and ``make demo`` do, with the three Fashion-MNIST networks that ship
with the project.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import resources
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from toolchain.agreement.differences import Array, compare_output
from toolchain.agreement.inputs import Batch
from toolchain.agreement.interpreter import run_here
from toolchain.agreement.runtimes import Runtimes
from toolchain.board import emulator
from toolchain.board.host_runtime import HOST, HostRuntime
from toolchain.board.invoke import BoardRunner, Settings
from toolchain.build import bundle
from toolchain.convert.conversion import convert
from toolchain.errors import BoardError
from toolchain.evaluation.metrics import predictions, share
from toolchain.failures import Failures
from toolchain.hardware.board_file import Board, load_board
from toolchain.operations.session import Access, BoardSession, Purpose
from toolchain.profile.document import Profile
from toolchain.profile.estimator import estimates_for
from toolchain.profile.measure import Session
from toolchain.progress import Progress, Silent
from toolchain.storage.files import check_folder, make_folder, write_or_keep
from toolchain.tflite_file.graph import read_model
from toolchain.zoo import fashion_mnist

NETWORKS = ("fashion_resnet_dense", "fashion_resnet_s20", "fashion_resnet_s30")
"""Checkpoints of ``toolchain/zoo/checkpoints``; the others are compared with the first."""


class _Result(BaseModel):
    model_config = ConfigDict(frozen=True)


class BoardTime(_Result):
    """One inference on a board that is not there, estimated from a trace."""

    board: str
    title: str
    clock_mhz: int
    ms: float
    low_ms: float
    """Nine of ten times are expected between this ..."""
    high_ms: float
    """... and this."""


class NetworkResult(_Result):
    """What one network did on the board."""

    name: str
    images: int
    accuracy_board: float
    """Share of the images that the board classified right, 0 to 1."""
    accuracy_host: float
    """The same on this machine's stock TFLite interpreter."""
    relative_diff: float
    """Largest difference of a logit between board and host, over the largest of that class."""
    instructions: float | None
    """User instructions of one inference on the board; ``None`` where they are not counted."""
    median_us: float | None
    ratio: float | None
    """Cost of the dense network over this one's."""
    ratio_by_pixels: float | None
    """The same of the multiply-accumulates of the pixels that are kept."""
    ratio_by_taps: float | None
    """The same without those of taps that read skipped pixels; ``None`` if that is not known."""
    estimates: list[BoardTime] = []
    """Of an emulated board: the boards whose core it plays."""


class DemoResult(_Result):
    """What :func:`demo` measured."""

    board: str
    emulated: bool
    networks: list[NetworkResult]
    stages: dict[str, float]
    """Seconds that each stage took, in order."""
    folder: Path
    """Where the models, ``profile.json`` and ``demo.json`` lie."""


def demo(
    board: Board,
    folder: Path,
    *,
    images: int = 200,
    runs: int | None = None,
    host: str | None = None,
    progress: Progress | None = None,
) -> tuple[DemoResult, Profile]:
    """Build, convert, boot, push, classify, profile.

    An emulated board that does not run yet is booted, and shut down at the end.

    Args:
        board: where to; an emulated one needs nothing but this machine.
        folder: for the models and results; made if it is not there.
        images: how many of the 10,000 test images to classify.
        runs: timed inferences of each network; by default as many as suit the board.
        host: a real board's ``user@address``.
        progress: where stages are announced.

    Raises:
        DeployError: whatever a stage raises.
    """
    progress = progress or Silent()
    stages: dict[str, float] = {}
    check_folder(folder)
    make_folder(folder)
    with _timed(stages, "test images"):
        pixels, labels = fashion_mnist.load("test", progress=progress)
    batch = _batch(pixels[:images])
    with _timed(stages, "build the runtime for this machine"):
        here = HostRuntime(bundle.build(load_board(HOST), progress=progress))
    with _timed(stages, "convert"):
        models = [_convert(name, folder, here, progress) for name in NETWORKS]
    with _timed(stages, "build the runtime"):
        built = bundle.build(board, progress=progress)
    with ExitStack() as stack:
        with _timed(stages, "boot the board"):
            if board.connection == "emulator" and host is None and emulator.status(board) is None:
                emulator.start(board, progress)
                stack.callback(emulator.stop, board, Silent())
            reached = BoardSession(board, Access(host, bundle=built.path), progress)
            stack.enter_context(reached)
        with _timed(stages, "push"):
            runner = stack.enter_context(reached.runner(Purpose("demo")))
            runner.push_models(models)
        with _timed(stages, f"classify {batch.count} images"):
            logits = [_classify(runner, model, batch, progress) for model in models]
        with _timed(stages, "profile"):
            settings = Settings.measuring(board, threads=1, runs=runs)
            session = Session(reached.connection, board, runner, progress, settings)
            session.measure(models)
            session.failures.require()
            measured = session.profile()
    if measured is None:
        raise BoardError(f"{board.name}: nothing was measured")
    if board.connection == "emulator" and host is None:
        with _timed(stages, "estimate times"):
            found = estimates_for(built, models, board, progress)
            measured = measured.model_copy(update={"estimates": found})
    networks = [
        _network(model, *pair, labels[:images], measured)
        for model, pair in zip(models, logits, strict=True)
    ]
    result = DemoResult(
        board=board.title,
        emulated=measured.by_instructions,
        networks=networks,
        stages=stages,
        folder=folder,
    )
    return result, measured


def save_demo(result: DemoResult, measured: Profile, failures: Failures) -> None:
    """Write ``profile.json`` and ``demo.json`` into the demo's folder; what fails is collected."""
    with failures.of_output(result.folder):
        measured.save(result.folder / "profile.json")
    with failures.of_output(result.folder):
        content = result.model_dump_json(indent=1).encode() + b"\n"
        write_or_keep(result.folder / "demo.json", content)


@contextmanager
def _timed(stages: dict[str, float], name: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    stages[name] = time.monotonic() - started


def _batch(pixels: Array) -> Batch:
    """Images ``[N, 28, 28]`` as inputs ``[N, 1, 28, 28, 1]`` of N inferences."""
    planes = fashion_mnist.normalise(pixels).numpy()
    return Batch((np.ascontiguousarray(planes[:, :, :, :, None]),), joined=False)


def _convert(name: str, folder: Path, here: HostRuntime, progress: Progress) -> Path:
    """One network, tried on the runtime that ships before anything is sent anywhere."""
    checkpoints = resources.files("toolchain.zoo") / "checkpoints"
    with resources.as_file(checkpoints / f"{name}.safetensors") as checkpoint:
        return convert(
            checkpoint,
            folder / f"{name}.tflite",
            seed=0,
            others=Runtimes((here,), ()),
            progress=progress,
        ).path


def _classify(
    runner: BoardRunner, path: Path, batch: Batch, progress: Progress
) -> tuple[Array, Array]:
    """Logits ``[N, 10]`` of the board and of this machine's stock interpreter."""
    model = read_model(path)
    with progress.stage(f"classify with {path.stem}") as stage:
        stage.advance(0, f"{batch.count} images on the board")
        (board,) = runner.run(model, Settings(), batch).outputs
        (host,) = run_here(model, batch)
        stage.total(1)
        stage.advance(1, "")
    return board.reshape(batch.count, -1), host.reshape(batch.count, -1)


def _network(
    path: Path, board: Array, host: Array, labels: Array, measured: Profile
) -> NetworkResult:
    difference = compare_output(board[:, None], host[:, None]).relative_diff
    measurement = next(item for item in measured.measurements if item.name == path.stem)
    return NetworkResult(
        name=path.stem,
        images=len(labels),
        accuracy_board=share(predictions(board) == labels).value,
        accuracy_host=share(predictions(host) == labels).value,
        relative_diff=difference,
        instructions=measurement.instructions,
        median_us=measurement.median_us,
        ratio=measured.ratio(measurement),
        ratio_by_pixels=measured.ratio_by_pixels(measurement),
        ratio_by_taps=measured.ratio_by_taps(measurement),
        estimates=[
            BoardTime(
                board=on.board,
                title=on.title,
                clock_mhz=on.clock_mhz,
                ms=one.ms,
                low_ms=one.low_ms,
                high_ms=one.high_ms,
            )
            for on in measured.estimates
            for one in on.models
            if one.name == path.stem
        ],
    )
