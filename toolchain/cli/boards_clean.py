"""``deploy boards clean``: what lies on boards of earlier pushes, and its removal."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from toolchain.cli import bars
from toolchain.cli.command_help import App, complete
from toolchain.cli.options import (
    ForceOption,
    HostOption,
    IdentityOption,
    JsonOption,
    QueueOption,
    board_names,
    wrong_use,
)
from toolchain.cli.output import note, print_json, say
from toolchain.cli.removal import (
    AllOption,
    DryRunOption,
    MaxSizeOption,
    OlderThanOption,
    YesOption,
    ask_for_removal,
    limits,
)
from toolchain.console import out

if TYPE_CHECKING:
    from pathlib import Path

    from toolchain.board.cleaning import Cleaning
    from toolchain.failures import Failures
    from toolchain.hardware.board_file import Board

commands = App()

BoardsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="BOARD",
        help="Names, files or tags of boards, or all of the inventory.",
        show_default="qemu",
        autocompletion=complete(board_names),
    ),
]


@commands.example(
    "deploy boards clean --older-than 30d",
    "deploy boards clean rpi4 --host pi@raspberrypi --max-size 500MB --dry-run",
    "deploy boards clean --all --yes",
)
def clean(
    boards: BoardsArgument = None,
    older_than: OlderThanOption = None,
    max_size: MaxSizeOption = None,
    everything: AllOption = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    host: HostOption = None,
    identity: IdentityOption = None,
    queue: QueueOption = None,
    force: ForceOption = False,
    json_output: JsonOption = False,
) -> None:
    """Remove bundles and models of earlier pushes from boards, as the limits say.

    What cut commands have left goes in any case. What is used now stays. What is removed is pushed
    again when it is needed. Who works on the board is waited for.
    """
    from toolchain.board.lease import WAIT_S
    from toolchain.failures import Failures
    from toolchain.hardware.board_file import boards_named
    from toolchain.operations.fleet import joined
    from toolchain.report.cache_table import size_text
    from toolchain.report.store_table import store_table

    age, most = limits(older_than, max_size, everything=everything)
    chosen = boards_named(boards or ["qemu"])
    if len(chosen) > 1 and host is not None:
        raise wrong_use("--host", f"is one board, and {len(chosen)} are named")
    failures, progress = Failures(), bars.progress()
    with ExitStack() as stack:
        cleanings = _listed(chosen, host, identity, stack, failures)
        for one in cleanings:
            one.choose(everything=everything, older_than=age, max_size=most)
            if not json_output and one.wanted:
                out.print(store_table(one.wanted, one.connection.name, out.width), soft_wrap=True)
        freed = size_text(sum(item.bytes for one in cleanings for item in one.wanted))
        if not dry_run and not yes and any(one.wanted for one in cleanings):
            where = ", ".join(one.connection.name for one in cleanings if one.wanted)
            ask_for_removal(f"Remove this from {where}, {freed}?", can_ask=not json_output)
        for one in cleanings if not dry_run else ():
            with failures.of_output(one.connection.name):
                one.remove(wait=WAIT_S if queue is None else queue, force=force, note=progress.note)
    if json_output:
        print_json(
            {
                "dry_run": dry_run,
                "boards": [one.document(dry_run=dry_run) for one in cleanings],
                "failed": [{"board": name, "error": error.what} for name, error in failures.items],
            }
        )
    else:
        for one in cleanings:
            _tell(one, dry_run=dry_run)
    if failures.items:
        raise joined(dict(failures.items), len(chosen))


def _listed(
    boards: list[Board],
    host: str | None,
    identity: Path | None,
    stack: ExitStack,
    failures: Failures,
) -> list[Cleaning]:
    """Each board that can be reached, and what lies there."""
    from toolchain.board.cleaning import Cleaning
    from toolchain.board.connect import connect

    found = []
    for board in boards:
        with failures.of_output(board.given):
            connection = stack.enter_context(connect(board, host, identity=identity))
            found.append(Cleaning(connection, board))
    return found


def _tell(cleaning: Cleaning, *, dry_run: bool) -> None:
    """Say what became of a board's cleaning."""
    from toolchain.report.cache_table import size_text

    name = cleaning.connection.name
    for item, user in cleaning.kept:
        note(f"{name}: {item.kind}/{item.hash} stays: in use by {user}")
    if dry_run:
        say(f"{name}: would be removed: {size_text(sum(it.bytes for it in cleaning.wanted))}")
    elif cleaning.done is not None:
        say(f"{name}: removed: {size_text(cleaning.done.freed)}")
