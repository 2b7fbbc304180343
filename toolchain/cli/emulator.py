"""``deploy emulator``: start, stop and status of the emulated board."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from toolchain.cli import bars
from toolchain.cli.command_help import App
from toolchain.cli.options import BoardOption, JsonOption
from toolchain.cli.output import print_json, say

if TYPE_CHECKING:
    from toolchain.board.emulator import State

commands = App(
    help="The emulated board: an ARM machine in QEMU, reached over real SSH.",
    no_args_is_help=True,
    epilog="deploy emulator start",
)


@commands.example(
    "deploy emulator start",
    "deploy emulator start --board my_board.toml --no-icount --cores 4",
)
def start(
    board: BoardOption = "qemu",
    cores: Annotated[
        int | None, typer.Option("--cores", min=1, max=8, help="Cores; needs --no-icount.")
    ] = None,
    icount: Annotated[
        bool, typer.Option("--icount/--no-icount", help="Count instructions, on one core.")
    ] = True,
    json_output: JsonOption = False,
) -> None:
    """Boot the board unless it runs, and wait until it can be logged in to."""
    from toolchain.board import emulator
    from toolchain.hardware.board_file import load_board

    chosen = load_board(board)
    state = emulator.start(chosen, bars.progress(), cores=cores, icount=icount)
    _print_state(chosen.name, state, json_output=json_output)


@commands.example("deploy emulator stop")
def stop(board: BoardOption = "qemu", json_output: JsonOption = False) -> None:
    """Shut the board down; no error if it does not run."""
    from toolchain.board import emulator
    from toolchain.hardware.board_file import load_board

    chosen = load_board(board)
    emulator.require_emulated(chosen)
    stopped = emulator.stop(chosen, bars.progress())
    if json_output:
        print_json({"board": chosen.name, "stopped": stopped})
    else:
        state = "is shut down" if stopped else "was not running"
        say(f"emulated board '{chosen.name}' {state}")


@commands.example("deploy emulator status")
def status(board: BoardOption = "qemu", json_output: JsonOption = False) -> None:
    """Say whether the board runs, and how to log in to it.

    The exit code is 12 unless it runs and answers: it may still boot, or be stopped.
    """
    from toolchain.board import emulator
    from toolchain.errors import EmulatorError
    from toolchain.hardware.board_file import load_board

    chosen = load_board(board)
    emulator.require_emulated(chosen)
    state = emulator.status(chosen)
    phase = state.phase() if state else None
    _print_state(chosen.name, state, phase, json_output=json_output)
    if phase != "runs":
        raise typer.Exit(EmulatorError.exit_code)


def _print_state(
    name: str, state: State | None, phase: str | None = "runs", *, json_output: bool
) -> None:
    if json_output:
        facts = {"ssh": state.ssh_command, **state.model_dump(mode="json")} if state else {}
        print_json({"board": name, "running": phase == "runs", "phase": phase, **facts})
    elif state is None:
        say(f"emulated board '{name}' does not run")
    else:
        counting = "instructions are counted"
        if state.settings.icount_shift is None:
            counting = "instructions are not counted"
        cores = "1 core" if state.settings.cores == 1 else f"{state.settings.cores} cores"
        say(f"emulated board '{name}' {phase} (process {state.pid}, {cores}, {counting})")
        say(f"log in: {state.ssh_command}", fold=False)
