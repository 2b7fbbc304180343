"""``deploy train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toolchain.cli import bars
from toolchain.cli.command_help import App
from toolchain.cli.options import JsonOption, check_alone
from toolchain.cli.output import show
from toolchain.console import err

commands = App()


@commands.example(
    "deploy train toolchain/train/recipes/quick.toml",
    "deploy train recipe.toml --output net.safetensors --run-dir runs/net",
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
    extras.require("deploy train", "train")
    from toolchain.board.network_plan import network_plan
    from toolchain.report.training_table import plan_table, training_table
    from toolchain.train.interrupt import Stopped
    from toolchain.train.recipe import load_recipe
    from toolchain.train.run import plan_recipe, train_recipe

    loaded, base = load_recipe(recipe), recipe.resolve().parent
    result = output or Path(f"{recipe.stem}.safetensors")
    if not check:
        check_writable(result, inputs=[recipe])
    progress = bars.progress_of_hours(quiet=json_output)
    if check:
        plan = plan_recipe(loaded, base=base, planner=network_plan, progress=progress)
        show(plan, lambda width: plan_table(plan, width), json_output=json_output, fold=False)
        return
    try:
        done = train_recipe(
            loaded,
            result,
            run_dir or Path(f"{recipe.stem}.run"),
            base=base,
            name=recipe.name,
            restart=restart,
            planner=network_plan,
            progress=progress,
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
