"""``deploy evaluate``: how often a network is right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toolchain.cli import bars
from toolchain.cli.board import Leasing, board_runner
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
    board_names,
    check_alone,
    network_names,
    normalization,
    wrong_use,
)
from toolchain.cli.output import note, show

if TYPE_CHECKING:
    from toolchain.evaluation.classifier import Classifier
    from toolchain.evaluation.document import Evaluation
    from toolchain.evaluation.places import Place
    from toolchain.failures import Failures
    from toolchain.hardware.board_file import Board
    from toolchain.tflite_file.image_metadata import Normalization

commands = App()


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
            "each class, an .npz file with x and y, or package.module:function.",
            show_default="the recipe's",
        ),
    ] = None,
    board: Annotated[
        str | None,
        typer.Option(
            "--board",
            "-b",
            help="Run them on this board, too: its name or file.",
            autocompletion=complete(board_names),
        ),
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
    queue: QueueOption = 3600.0,
    force: ForceOption = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write the result as JSON; - for standard output."),
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Tell how often .tflite files are right on labelled images: here, on a board, and in torch.

    Images are prepared as the file says, which `deploy convert` writes into it; `--mean` and
    `--std` go before that. What looks as if a network was trained on images prepared otherwise is
    told, and ends with exit code 4.

    Outputs are kept in the cache, so a command that was broken off goes on when it is given again.
    With several files the first is the one that the others are compared with.

    The module of `--data` or `--model` is run.
    """
    from toolchain import extras
    from toolchain.errors import VerificationError
    from toolchain.failures import Failures
    from toolchain.formats.json_text import to_json
    from toolchain.hardware.board_file import load_board
    from toolchain.storage.files import check_writable, write_or_keep

    check_alone(output, json_output)
    given = normalization(mean, std)
    chosen = load_board(board) if board is not None else None
    _check_use(data, recipe, chosen, host, model, torch)
    extras.require("deploy evaluate", "convert")
    if output:
        check_writable(output, inputs=[*models, *(torch or [])])
    from toolchain.evaluation.evaluate import Plan, read_classifiers
    from toolchain.evaluation.evaluate import evaluate as evaluate_on
    from toolchain.evaluation.labelled_data import load_labelled
    from toolchain.evaluation.places import load_torch

    failures, progress = Failures(), bars.progress(quiet=json_output)
    classifiers = read_classifiers(models, failures)
    if recipe is not None:
        source, base, trained = _of_recipe(recipe, data)
        given = given or trained
    else:
        source, base = data or "", None
    labelled = load_labelled(source, base=base, progress=progress)
    if mean is not None and not labelled.pixels:
        raise wrong_use("--mean", f"is of pixels, and {labelled.name} has values that are ready")
    of_file = in_torch_of(classifiers, torch or [])
    nets = {path: load_torch(str(path), model) for path in dict.fromkeys(of_file.values())}
    in_torch = {file: nets[path] for file, path in of_file.items()}
    done: Evaluation | None = None
    begun = False
    with (
        failures.kept(),
        _places(
            chosen,
            threads,
            classifiers,
            failures,
            host,
            identity,
            bundle,
            timeout,
            Leasing("evaluate", models, queue, force, shared=True),
        ) as places,
    ):
        begun = True
        plan = Plan(classifiers, tuple(places), in_torch, given)
        done = evaluate_on(
            plan, labelled, limit=limit, seed=seed, again=again, failures=failures,
            progress=progress,
        )  # fmt: skip
    if begun and failures.stopped is not None and not json_output:
        note("outputs of whole batches are kept: the same command goes on behind them")
    if done is not None:
        if output:
            with failures.of_output(output):
                write_or_keep(output, to_json(done).encode() + b"\n")
        _show(done, output, json_output=json_output)
        for doubt in done.doubts:
            with failures.of(doubt.model):
                raise VerificationError(f"{doubt.model}: {doubt.what}", hint=doubt.hint)
    failures.require()


def _show(done: Evaluation, output: Path | None, *, json_output: bool) -> None:
    from toolchain.report.evaluation_table import evaluation_table

    show(
        done,
        lambda width: evaluation_table(done, width),
        json_output=json_output,
        output=output,
    )


def _check_use(
    data: str | None,
    recipe: Path | None,
    board: Board | None,
    host: str | None,
    model: str | None,
    torch: Sequence[Path] | None,
) -> None:
    from toolchain.errors import ModelError
    from toolchain.formats.input_file import check_readable

    if data is None and recipe is None:
        raise wrong_use("--data", "is needed: labelled images, or give --recipe")
    if host is not None and board is None:
        raise wrong_use("--host", "is of a board: give --board, too")
    if model is not None and not torch:
        raise wrong_use("--model", "is of --torch")
    for checkpoint in torch or []:
        check_readable(checkpoint, ModelError)


def _of_recipe(path: Path, data: str | None) -> tuple[str, Path | None, Normalization | None]:
    """The data of a recipe, the folder that its name counts from, and how it is normalised."""
    from toolchain.train.normalization import data_normalization
    from toolchain.train.recipe import load_recipe

    found = load_recipe(path).data.source
    trained = data_normalization(found)
    return (data, None, trained) if data is not None else (found, path.parent, trained)


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
    board: Board | None,
    threads: int | None,
    classifiers: Sequence[Classifier],
    failures: Failures,
    *reached: Any,
) -> Iterator[list[Place]]:
    """This machine, and a board where one is named, which has the files then."""
    from toolchain.evaluation.places import Host, OnBoard

    if board is None:
        yield [Host()]
        return
    with board_runner(board, *reached) as (connection, runner):
        runner.push_each([one.path for one in classifiers], failures)
        yield [Host(), OnBoard(runner, connection.name, threads or board.threads)]
