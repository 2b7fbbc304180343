"""``deploy demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toolchain.cli import bars
from toolchain.cli.command_help import App
from toolchain.cli.options import BoardOption, HostOption, JsonOption
from toolchain.cli.output import say, show

commands = App()


@commands.example("deploy demo")
def demo(
    board: BoardOption = "qemu",
    host: HostOption = None,
    folder: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for models and results.")
    ] = Path("build/demo"),
    images: Annotated[
        int, typer.Option("--images", min=1, max=10_000, help="Test images to classify.")
    ] = 200,
    json_output: JsonOption = False,
) -> None:
    """Do all of it once: convert, build, boot, push, classify and profile three networks."""
    from toolchain import extras
    from toolchain.failures import Failures
    from toolchain.hardware.board_file import load_board
    from toolchain.storage.files import check_folder

    chosen = load_board(board)
    check_folder(folder)
    extras.require("deploy demo", "convert", "plot")
    from toolchain.demo import demo as run_demo
    from toolchain.demo import save_demo
    from toolchain.report import demo_table, profile_plot

    result, measured = run_demo(
        chosen,
        folder,
        images=images,
        host=host,
        progress=bars.progress(quiet=json_output),
    )
    failures = Failures()
    save_demo(result, measured, failures)
    with failures.of_output(folder):
        profile_plot.plot_profile(measured, folder / "profile.png")
    show(result, lambda width: demo_table.demo_table(result, width), json_output=json_output)
    if not json_output:
        say(f"Models, profile.json, profile.png: {folder}")
    failures.require()
