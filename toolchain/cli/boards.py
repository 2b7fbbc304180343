"""``deploy boards``: the boards that ship, and the user's own in their inventory."""

from __future__ import annotations

import typer

from toolchain.cli.command_help import App
from toolchain.cli.options import JsonOption, wrong_use
from toolchain.cli.output import show

commands = App(
    help="The boards that --board knows by name: those that ship, and your own.",
    invoke_without_command=True,
    epilog="deploy boards",
)


@commands.callback()
def boards(context: typer.Context, json_output: JsonOption = False) -> None:
    """List the boards that --board knows by name: those that ship, and your own.

    Your own are in `$TILESKIP_BOARDS`, or `tileskip/boards.toml` in your configuration.
    """
    if context.invoked_subcommand is None:
        _show_list(json_output=json_output)
    elif json_output:
        raise wrong_use("--json", f"give it after '{context.invoked_subcommand}'")


@commands.example("deploy boards list", name="list")
def list_(json_output: JsonOption = False) -> None:
    """List the boards that --board knows by name, as `deploy boards` does."""
    _show_list(json_output=json_output)


def _show_list(*, json_output: bool) -> None:
    from toolchain.hardware import inventory
    from toolchain.hardware.board_file import board_names, load_board, started_boards
    from toolchain.report.listing_tables import boards_table

    known = [load_board(name) for name in (*board_names(), *inventory.tables())]
    known += started_boards()
    show(
        [board.model_dump() for board in known],
        lambda width: boards_table(known, width),
        json_output=json_output,
    )
