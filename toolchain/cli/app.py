"""The command line as a whole: its commands, in the order in which help lists them."""

from __future__ import annotations

from typing import Annotated, NoReturn

import typer

from toolchain import console, questions
from toolchain.cli import (
    board,
    boards,
    boards_clean,
    build,
    cache,
    compare,
    convert,
    demo,
    detect,
    doctor,
    emulator,
    estimate,
    evaluate,
    gain,
    history,
    recipe,
    report,
    sweep,
    train,
)
from toolchain.cli.asking import ON_THE_TERMINAL
from toolchain.cli.command_help import App
from toolchain.signals import sigterm_exits

app = App(
    name="deploy",
    help="Take a network with spatial masks from PyTorch to a small ARM board; measure it there.",
    epilog="deploy demo",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (
    train, convert, build, board, evaluate, compare, history, estimate, gain, sweep, report, detect,
    demo, doctor,
):  # fmt: skip
    app.add_typer(module.commands)
boards.commands.add_typer(boards_clean.commands)
app.add_typer(boards.commands, name="boards")
app.add_typer(recipe.commands, name="recipe")
app.add_typer(emulator.commands, name="emulator")
app.add_typer(cache.commands, name="cache")


def main() -> NoReturn:
    """Run the command line; :mod:`toolchain.console` says how it ends."""

    def command() -> None:
        with sigterm_exits(), questions.answered_by(ON_THE_TERMINAL):
            app()

    console.run(command)


def _version(asked: bool) -> None:
    if asked:
        import toolchain

        print(toolchain.__version__)
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    pass
