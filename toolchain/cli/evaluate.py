"""``deploy evaluate``: how often a network is right."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import RenderableType

from toolchain.cli import bars
from toolchain.cli.command_help import App, complete
from toolchain.cli.options import (
    BundleOption,
    ForceOption,
    HostOption,
    IdentityOption,
    JsonOption,
    MeanOption,
    ModelsArgument,
    QueueOption,
    StdOption,
    ThreadsOption,
    TimeoutOption,
    board_option,
    check_alone,
    network_names,
    normalization,
    wrong_use,
)
from toolchain.cli.output import note, show

if TYPE_CHECKING:
    from toolchain.evaluation.classifier import Classifier
    from toolchain.evaluation.document import Detection, Evaluation
    from toolchain.evaluation.image_file import ImageFile
    from toolchain.evaluation.labelled_data import HeldOut
    from toolchain.evaluation.places import Place
    from toolchain.failures import Failures
    from toolchain.hardware.board_file import Board
    from toolchain.operations.session import BoardSession
    from toolchain.progress import Progress
    from toolchain.tflite_file.image_metadata import Normalization

commands = App()
BOXES = ".json"
"""How the name of a file of boxes ends."""


@commands.example(
    "deploy evaluate dense.tflite s20.tflite --data fashion-mnist",
    "deploy evaluate s20.tflite --data fashion-mnist --board qemu --limit 500",
    "deploy evaluate flowers.tflite --data images --torch flowers.safetensors --output e.json",
)
def evaluate(
    models: ModelsArgument,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="DATA",
            help="Labelled images: fashion-mnist (its test images), a folder with a folder for "
            "each class, an .npz file with x and y, or package.module:function. "
            "For detectors: a .json file of boxes, as COCO has them.",
            show_default="the recipe's",
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            "--images",
            help="Folder of the pictures of a .json file.",
            show_default="images beside it, or its own",
        ),
    ] = None,
    board: Annotated[
        str | None,
        board_option("Run them on this board, too: its name or file."),
    ] = None,
    host: HostOption = None,
    identity: IdentityOption = None,
    bundle: BundleOption = None,
    torch: Annotated[
        list[Path] | None,
        typer.Option(
            "--torch",
            metavar="CHECKPOINT",
            help="Run this checkpoint in torch, beside the files made of it; may be repeated.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            help="Of --torch: a network of the zoo or package.module:factory, where the checkpoint "
            "does not name its own.",
            autocompletion=complete(network_names),
        ),
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(
            "--recipe",
            help="The recipe that the network was trained by: its data, and how images are "
            "normalized.",
        ),
    ] = None,
    mean: MeanOption = None,
    std: StdOption = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", "-n", min=1, help="So many images, drawn.", show_default="all"),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the draw.")] = 0,
    again: Annotated[
        bool, typer.Option("--again", help="Compute all, whatever earlier runs have left.")
    ] = False,
    threads: ThreadsOption = None,
    timeout: TimeoutOption = None,
    queue: QueueOption = None,
    force: ForceOption = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write the result as JSON; - for standard output."),
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Tell how often .tflite files are right on labelled images: here, on a board, and in torch.

    Images are prepared as the file says, which `deploy convert` writes into it; `--mean` and
    `--std` go before that. What looks as if a network was trained on images prepared or labelled
    otherwise is told, and ends with exit code 4.

    Outputs are kept in the cache, so a command that was broken off goes on when it is given again.
    With several files the first is the one that the others are compared with.

    The module of `--data` or `--model` is run.
    """
    from toolchain.failures import Failures
    from toolchain.hardware.board_file import load_board
    from toolchain.operations.session import Access, BoardSession
    from toolchain.storage.files import check_writable

    check_alone(output, json_output)
    given = normalization(mean, std)
    chosen = load_board(board) if board is not None else None
    _check_use(data, recipe, chosen, host, model, torch, images)
    boxes = (data or "").endswith(BOXES)
    if output:
        check_writable(output, inputs=[*models, *(torch or [])])
    of_recipe = _of_recipe(recipe) if recipe is not None else None
    if of_recipe is not None:
        given = given or of_recipe.normalization
    failures = Failures()
    session = None
    if chosen is not None:
        access = Access(host, identity, bundle, timeout, queue, force)
        session = BoardSession(chosen, access, bars.progress())
    asked = _Asked(
        models, data, of_recipe, given, limit, seed, again, failures,
        bars.progress(quiet=json_output),
        functools.partial(_places, session, threads, failures, models),
    )  # fmt: skip
    done = (
        _detected(asked, images)
        if boxes
        else _classified(asked, torch or [], model, told=mean is not None)
    )
    if done is not None:
        _show(done, output, failures, json_output=json_output)
    failures.require()


@dataclass(frozen=True)
class _OfRecipe:
    """What a recipe says of its data."""

    path: Path
    """Its file."""
    source: str
    base: Path
    """The folder that its names count from."""
    held_out: HeldOut
    normalization: Normalization | None


@dataclass(frozen=True)
class _Asked:
    """What both kinds of evaluation need of the command line."""

    models: Sequence[Path]
    data: str | None
    recipe: _OfRecipe | None
    given: Normalization | None
    limit: int | None
    seed: int
    again: bool
    failures: Failures
    progress: Progress
    places: Callable[[Sequence[ImageFile]], AbstractContextManager[list[Place]]]

    def options(self) -> dict[str, Any]:
        """By the names that both functions have for them."""
        names = ("limit", "seed", "again", "failures", "progress")
        return {name: getattr(self, name) for name in names}


def _classified(
    asked: _Asked, torch: Sequence[Path], model: str | None, *, told: bool
) -> Evaluation | None:
    from toolchain import extras

    extras.require("deploy evaluate", "convert")
    from toolchain.evaluation.evaluate import Plan, evaluate, read_classifiers
    from toolchain.evaluation.labelled_data import load_labelled
    from toolchain.evaluation.places import load_torch

    files = read_classifiers(asked.models, asked.failures)
    if asked.data is None and asked.recipe is not None:
        of = asked.recipe
        data = load_labelled(of.source, base=of.base, held_out=of.held_out, progress=asked.progress)
        data = replace(data, options=("--recipe", str(of.path)))
    else:
        data = load_labelled(asked.data or "", progress=asked.progress)
    if told and not data.pixels:
        raise wrong_use("--mean", f"is of pixels, and {data.name} has values that are ready")
    of_file = in_torch_of(files, torch)
    nets = {path: load_torch(str(path), model) for path in dict.fromkeys(of_file.values())}
    in_torch = {file: nets[path] for file, path in of_file.items()}
    with asked.failures.kept(), asked.places(files) as places:
        undo = Plan.undo
        if not told and asked.recipe is not None:
            undo = "leave --recipe away" if asked.data else "give --data in place of --recipe"
        plan = Plan(files, tuple(places), in_torch, asked.given, undo)
        return evaluate(plan, data, **asked.options())
    return None


def _detected(asked: _Asked, images: Path | None) -> Detection | None:
    from toolchain import extras

    extras.require("deploy evaluate", "convert", "boxes")
    from toolchain.evaluation.boxes import load_boxes
    from toolchain.evaluation.detector import detect, read_detectors

    files = read_detectors(asked.models, asked.failures)
    data = load_boxes(Path(asked.data or ""), images)
    with asked.failures.kept(), asked.places(files) as places:
        return detect(files, places, data, given=asked.given, **asked.options())
    return None


def _show(
    done: Evaluation | Detection, output: Path | None, failures: Failures, *, json_output: bool
) -> None:
    """Write and print what was found, and then what is doubted of it."""
    from toolchain.errors import VerificationError
    from toolchain.evaluation.document import Evaluation
    from toolchain.formats.json_text import to_json
    from toolchain.report.evaluation_table import detection_table, evaluation_table
    from toolchain.storage.files import write_or_keep

    if output:
        with failures.of_output(output):
            write_or_keep(output, to_json(done).encode() + b"\n")

    def table(width: int) -> RenderableType:
        if isinstance(done, Evaluation):
            return evaluation_table(done, width)
        return detection_table(done, width)

    show(done, table, json_output=json_output, output=output)
    for doubt in done.doubts if isinstance(done, Evaluation) else ():
        with failures.of(doubt.model):
            raise VerificationError(f"{doubt.model}: {doubt.what}", hint=doubt.hint)


def _check_use(
    data: str | None,
    recipe: Path | None,
    board: Board | None,
    host: str | None,
    model: str | None,
    torch: Sequence[Path] | None,
    images: Path | None,
) -> None:
    from toolchain.errors import ModelError
    from toolchain.formats.input_file import check_readable

    if data is None and recipe is None:
        raise wrong_use("--data", "is needed: labelled images, or give --recipe")
    if host is not None and board is None:
        raise wrong_use("--host", "is of a board: give --board, too")
    if model is not None and not torch:
        raise wrong_use("--model", "is of --torch")
    if images is not None and not (data or "").endswith(BOXES):
        raise wrong_use("--images", f"is of boxes: a {BOXES} file as --data")
    if torch and (data or "").endswith(BOXES):
        raise wrong_use("--torch", "is for classifiers, and --data has boxes")
    for checkpoint in torch or []:
        check_readable(checkpoint, ModelError)


def _of_recipe(path: Path) -> _OfRecipe:
    from toolchain import extras

    extras.require("deploy evaluate", "convert")
    from toolchain.evaluation.labelled_data import HeldOut
    from toolchain.train.normalization import data_normalization
    from toolchain.train.recipe import load_recipe

    found = load_recipe(path)
    held_out = HeldOut(found.data.test_share, found.training.seed)
    source = found.data.source
    return _OfRecipe(path, source, path.parent, held_out, data_normalization(source))


def in_torch_of(classifiers: Sequence[Classifier], checkpoints: Sequence[Path]) -> dict[Path, Path]:
    """The checkpoint of each file: the one that it names, or is called after, or the only one.

    Raises:
        typer.BadParameter: a file goes with none of several.
    """
    found = {}
    for one in classifiers if checkpoints else ():
        named = [path for path in checkpoints if path.stem == one.title]
        named = named or sorted(
            (path for path in checkpoints if one.name.startswith(path.stem)),
            key=lambda path: -len(path.stem),
        )
        if not named and len(checkpoints) > 1:
            raise wrong_use(
                "--torch", f"names no checkpoint that {one.path} is called after; give one alone"
            )
        found[one.path] = (named or list(checkpoints))[0]
    return found


@contextmanager
def _places(
    session: BoardSession | None,
    threads: int | None,
    failures: Failures,
    models: Sequence[Path],
    files: Sequence[ImageFile],
) -> Iterator[list[Place]]:
    """This machine, and a board where one is named, which has the files then."""
    from toolchain.evaluation.places import Host, OnBoard
    from toolchain.operations.session import Purpose

    with ExitStack() as stack:
        places: list[Place] = [Host()]
        if session is not None:
            purpose = Purpose.of("evaluate", models, shared=True)
            runner = stack.enter_context(session.runner(purpose))
            runner.push_each([one.path for one in files], failures)
            places.append(OnBoard(runner, session.name, threads or session.board.threads))
        try:
            yield places
        except BaseException:
            note("outputs of whole batches are kept: the same command goes on behind them")
            raise
