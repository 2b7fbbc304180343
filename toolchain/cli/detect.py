"""``deploy detect``: objects on pictures, with boxes drawn into copies of them."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolchain.cli import bars
from toolchain.cli.command_help import App
from toolchain.cli.options import (
    BundleOption,
    ForceOption,
    HostOption,
    IdentityOption,
    JsonOption,
    ModelArgument,
    QueueOption,
    ThreadsOption,
    TimeoutOption,
    board_option,
    wrong_use,
)
from toolchain.cli.output import show

if TYPE_CHECKING:
    from toolchain.board.detect import PictureObjects, Runs
    from toolchain.operations.session import BoardSession
    from toolchain.tflite_file.graph import Model

commands = App()

_HERE = "this machine (stock interpreter)"


@commands.example(
    "deploy detect yolov5n.tflite street.jpg",
    "deploy detect yolov5n.tflite photos/*.jpg --board rpi4 --host pi@raspberrypi",
    "deploy detect mine.tflite street.jpg --names names.txt --score 0.4 --output-dir boxes",
)
def detect(
    model: ModelArgument,
    pictures: Annotated[
        list[Path], typer.Argument(help="PNG, JPEG and other pictures.", metavar="PICTURE")
    ],
    output_dir: Annotated[
        Path,
        typer.Option("--output-dir", "-o", help="Folder for copies with boxes.", metavar="FOLDER"),
    ] = Path("detected"),
    draw: Annotated[
        bool, typer.Option("--draw/--no-draw", help="Draw boxes into copies of the pictures.")
    ] = True,
    names: Annotated[
        Path | None,
        typer.Option(
            "--names",
            metavar="FILE",
            help="Names of the classes, one a line.",
            show_default="COCO's, where there are 80 classes",
        ),
    ] = None,
    score: Annotated[
        float,
        typer.Option("--score", min=0.0, max=1.0, help="Least score of an object."),
    ] = 0.25,
    overlap: Annotated[
        float,
        typer.Option(
            "--overlap",
            min=0.0,
            max=1.0,
            help="Intersection over union above which the lesser of two boxes of a class goes.",
        ),
    ] = 0.45,
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=10_000, help="Objects of a picture, at most.")
    ] = 300,
    board: Annotated[
        str | None,
        board_option(
            "Run on this board, a name or a file.", "the stock interpreter on this machine"
        ),
    ] = None,
    host: HostOption = None,
    identity: IdentityOption = None,
    bundle: BundleOption = None,
    threads: ThreadsOption = None,
    timeout: TimeoutOption = None,
    queue: QueueOption = None,
    force: ForceOption = False,
    json_output: JsonOption = False,
) -> None:
    """Find objects on pictures with a YOLOv5, and draw boxes around them.

    Pictures stay as they are: boxes are drawn into copies. Without `--board` the file runs on the
    stock interpreter on this machine.
    """
    from toolchain import extras
    from toolchain.errors import ModelError
    from toolchain.failures import Failures
    from toolchain.formats.input_file import check_readable
    from toolchain.hardware.board_file import load_board
    from toolchain.operations.session import Access, BoardSession
    from toolchain.storage.files import check_folder, make_folder
    from toolchain.tflite_file.support import read_supported

    if board is None:
        for option, given in (("--host", host), ("--identity", identity), ("--bundle", bundle),
                              ("--threads", threads), ("--timeout", timeout)):  # fmt: skip
            if given is not None:
                raise wrong_use(option, "is for a board: name it with --board")
    chosen = load_board(board) if board is not None else None
    extras.require("deploy detect", "detect")
    check_readable(model, ModelError)
    parsed = read_supported(model)
    from toolchain.board.detect import Wanted, class_names, copies_of, document
    from toolchain.board.detect import detect as find
    from toolchain.report.detection_table import detection_table
    from toolchain.zoo.detector import Detector, Thresholds

    detector = Detector(parsed)
    wanted = Wanted(
        Thresholds(score, overlap, limit),
        class_names(names, detector.classes),
        output_dir if draw else None,
    )
    failures = Failures()
    if draw:
        check_folder(output_dir)
        copies_of(pictures, output_dir)
    found: list[PictureObjects] = []
    ran_on = _HERE if chosen is None else chosen.name
    progress = bars.progress(quiet=json_output)
    session = None
    if chosen is not None:
        access = Access(host, identity, bundle, timeout, queue, force)
        session = BoardSession(chosen, access, progress)
    with failures.kept(), _runs(parsed, threads, session) as (runs, name):
        ran_on = name
        if wanted.folder is not None:
            make_folder(wanted.folder)
        found.extend(find(detector, runs, pictures, wanted, failures, progress))
    if found or json_output:
        done = document(str(model), ran_on, wanted, found, failures)
        show(done, lambda width: detection_table(done, width), json_output=json_output, fold=False)
    failures.require()


@contextmanager
def _runs(
    model: Model, threads: int | None, session: BoardSession | None
) -> Iterator[tuple[Runs, str]]:
    """What runs the model, and what that is called."""
    from toolchain.agreement.interpreter import run_here
    from toolchain.board.invoke import Settings
    from toolchain.operations.session import Purpose

    if session is None:
        yield functools.partial(run_here, model), _HERE
        return
    settings = Settings(threads=threads or session.board.threads)
    purpose = Purpose.of("detect", [Path(model.path)], shared=True)
    with session.runner(purpose) as runner:
        yield lambda batch: runner.run(model, settings, batch).outputs, session.name
