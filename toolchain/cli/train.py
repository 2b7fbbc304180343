"""``deploy train``."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from toolchain.cli import bars
from toolchain.cli.command_help import App
from toolchain.cli.options import JsonOption, check_alone, wrong_use
from toolchain.cli.output import show
from toolchain.console import err

commands = App()


@commands.example(
    "deploy train toolchain/train/recipes/quick.toml",
    "deploy train recipe.toml --output net.safetensors --run-dir runs/net",
    "deploy train recipe.toml --ranks 2",
    "deploy train recipe.toml --ranks 4 --address 192.168.1.10:6379 --run-dir /shared/net",
)
def train(
    recipe: Annotated[
        Path,
        typer.Argument(
            metavar="RECIPE.toml", help="A recipe; docs/reference/recipes.md has its keys."
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Checkpoint to write; - for standard output.",
            show_default="RECIPE.safetensors",
        ),
    ] = None,
    run_dir: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the saved state and the TensorBoard log.", show_default="RECIPE.run"
        ),
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Forget what an earlier call has trained.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Try everything but the training, and stop.")
    ] = False,
    ranks: Annotated[
        int | None,
        typer.Option(
            "--ranks",
            min=1,
            max=1024,
            metavar="N",
            help="Processes that train it together (DDP), each on its share of every batch.",
            show_default="the recipe's",
        ),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            "--address",
            metavar="HOST:PORT",
            help="Let them run on a cluster of Ray, as ray start tells it; all of its machines see "
            "the folder of --run-dir.",
        ),
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Train a network with masks, as a recipe says; `deploy convert` takes the result as it is.

    A run that was stopped, with **Ctrl-C** or by force, goes on when the same command is given
    again, and ends with the same weights as one that was not.

    A recipe may name Python code of yours (`package.module:function`), which is run.
    """
    from toolchain import extras
    from toolchain.errors import OutputError, RecipeError
    from toolchain.formats.input_file import check_readable
    from toolchain.storage.files import check_name, check_writable

    check_alone(output, json_output)
    check_readable(recipe, RecipeError)
    check_name(recipe, RecipeError)
    for path in (output, run_dir):
        check_name(path or recipe, OutputError)
    extras.require("deploy train", "train", *(["sweep"] if address else []))
    from toolchain.board.network_plan import network_plan
    from toolchain.report.training_table import plan_table, training_table
    from toolchain.train.interrupt import Stopped
    from toolchain.train.recipe import load_recipe, with_ranks
    from toolchain.train.run import plan_recipe
    from toolchain.train.together import train_network

    loaded, base = load_recipe(recipe), recipe.resolve().parent
    if ranks is not None:
        loaded = with_ranks(loaded, ranks, recipe)
    if address and loaded.training.ranks == 1:
        raise wrong_use("--address", "is for a training of several ranks: add --ranks 2")
    result = output or Path(f"{recipe.stem}.safetensors")
    if not check:
        check_writable(result, inputs=[recipe])
    progress = bars.progress_of_hours(quiet=json_output)
    if check:
        plan = plan_recipe(loaded, base=base, planner=network_plan, progress=progress)
        show(plan, lambda width: plan_table(plan, width), json_output=json_output, fold=False)
        return
    try:
        with ExitStack() as stack:
            launch = None
            if address is not None:
                from toolchain.sweep.ray_ranks import on_cluster

                launch = stack.enter_context(on_cluster(address, loaded.training))
            done = train_network(
                loaded,
                result,
                run_dir or Path(f"{recipe.stem}.run"),
                base=base,
                name=recipe.name,
                restart=restart,
                planner=network_plan,
                progress=progress,
                launch=launch,
            )
    except Stopped as stopped:
        again = "the same command" + (" without --restart" if restart else "")
        err.print(f"{stopped}; saved: {again} goes on from there", markup=False)
        raise typer.Exit(128 + stopped.signal_number) from None
    show(
        done,
        lambda width: training_table(done, width),
        json_output=json_output,
        output=output,
        fold=False,
    )
