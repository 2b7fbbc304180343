"""``deploy boards``: the boards that ship, and the user's own in their inventory."""

from __future__ import annotations

import sys
from pathlib import Path
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
from toolchain.cli.output import can_ask, confirm, note, print_json, say, show

if TYPE_CHECKING:
    from toolchain.board.connection import Connection
    from toolchain.board.target import SshTarget
    from toolchain.profile.probe import Probe

_HOLD_BEAT_S = 1.0
"""So often a lease that is held by hand is looked at."""
_GRACE_S = 60
_LINES = 100
_MOST_LINES = 100_000

NameArgument = Annotated[
    str,
    typer.Argument(
        help="Board name or file.", metavar="NAME", autocompletion=complete(board_names)
    ),
]

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


# --- one's own boards ----------------------------------------------------------------------------


@commands.example(
    "deploy boards add pi@kitchen.local --tag lab",
    "deploy boards add pi@192.168.1.20 --name attic --dry-run",
)
def add(
    host: Annotated[str, typer.Argument(help="What you give to ssh.", metavar="HOST")],
    name: Annotated[
        str | None,
        typer.Option("--name", help="What to call it.", show_default="what its host is called"),
    ] = None,
    tag: Annotated[
        list[str] | None,
        typer.Option(
            "--tag", metavar="WORD", help="Another word for it with --board; may be repeated."
        ),
    ] = None,
    like: Annotated[
        str | None,
        typer.Option(
            "--like",
            metavar="BOARD",
            help="The board that ships whose keys it takes.",
            show_default="the one with such a core",
        ),
    ] = None,
    identity: IdentityOption = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace the board of that name; its tags stay.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show it, and write nothing.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Ask a board what it is, and add it to your boards: `--board NAME` knows it from then on.

    Nothing is changed there. Its host key has to be on record: see `deploy boards trust`.
    """
    from toolchain.board.target import parse_host
    from toolchain.hardware import inventory
    from toolchain.hardware.board_file import board_names, load_board
    from toolchain.hardware.inventory_file import write_table
    from toolchain.profile.new_board import name_from_host, new_board
    from toolchain.report.boards_tables import new_board_table

    parse_host(host)
    if like is not None:
        like = str(Path(like).absolute()) if like.endswith(".toml") else like
        if like not in board_names() and not like.endswith(".toml"):
            ships = ", ".join(board_names())
            raise wrong_use("--like", f"names no board that ships and no board file: {ships}")
        load_board(like)
    tags = tag or []
    chosen = name or name_from_host(host)
    if chosen is not None:
        inventory.check_new(chosen, tags, replace=replace)
    found = _probed(host, identity or _known_identity(chosen), chosen)
    chosen = chosen or _own_name(host, found, tags, replace=replace)
    new = new_board(chosen, host, found, like=like, tags=tags, identity=identity)
    if not dry_run:
        write_table(inventory.place(), chosen, new.toml)
        new = new.model_copy(update={"written": True})
    show(new, lambda _: new_board_table(new), json_output=json_output)
    for line in new.notes:
        note(line, style="yellow")


def _probed(host: str, identity: Path | None, name: str | None) -> Probe:
    from toolchain.board.connect import connect
    from toolchain.hardware.board_file import unknown_board
    from toolchain.profile.probe import probe

    with bars.progress().stage(f"ask {name or host} what it is") as stage:
        with connect(unknown_board(name or "board"), host, identity=identity) as connection:
            found = probe(connection)
        stage.advance()
    return found


def _known_identity(name: str | None) -> Path | None:
    """The key of the board that is replaced."""
    from toolchain.board.target import own_identity
    from toolchain.hardware import inventory
    from toolchain.hardware.board_file import load_board

    return own_identity(load_board(name)) if name in inventory.tables() else None


def _own_name(host: str, found: Probe, tags: list[str], *, replace: bool) -> str:
    """What a board calls itself, where its host is a number."""
    from toolchain.hardware import inventory
    from toolchain.profile.new_board import name_from_probe

    name = name_from_probe(found)
    if name is None:
        raise wrong_use("--name", f"is needed: '{host}' tells none, nor does the board")
    inventory.check_new(name, tags, replace=replace)
    return name


@commands.example("deploy boards show kitchen", "deploy boards show rpi4 qemu --json", name="show")
def show_(
    names: Annotated[
        list[str],
        typer.Argument(
            help="Names, tags, files, or all.", metavar="NAME", autocompletion=complete(board_names)
        ),
    ],
    json_output: JsonOption = False,
) -> None:
    """Show everything that is known of boards here: keys, the way there, host keys, the bundle.

    Nobody is asked.
    """
    from toolchain.board.description import describe
    from toolchain.hardware.board_file import boards_named
    from toolchain.report.boards_tables import descriptions_table

    found = [describe(board) for board in boards_named(names)]
    show(
        [one.model_dump(mode="json", by_alias=True) for one in found],
        lambda _: descriptions_table(found),
        json_output=json_output,
        fold=False,
    )


@commands.example("deploy boards check", "deploy boards check lab --all")
def check(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Names, tags, files, or all.",
            metavar="NAME",
            show_default="all of your own",
            autocompletion=complete(board_names),
        ),
    ] = None,
    host: HostOption = None,
    identity: IdentityOption = None,
    everything: Annotated[bool, typer.Option("--all", help="Show what is fine, too.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Look at boards, all at once: whether they are reached, fit, stay cool, have room, are free.

    The worst come first. Nothing is changed, here or there. The exit code is 0 unless there is a
    fault; then it is what a command ends with that fails for the first one.
    """
    from toolchain.board.target import parse_host
    from toolchain.doctor.checkup import check_boards
    from toolchain.hardware.board_file import boards_named
    from toolchain.report.boards_tables import checkup_table

    boards = boards_named(names or ["all"])
    if host is not None:
        parse_host(host)
        if len(boards) > 1:
            raise wrong_use("--host", "is of one board: name one")
    found = check_boards(boards, bars.progress(), host, identity)
    show(
        found,
        lambda width: checkup_table(found, width, everything=everything),
        json_output=json_output,
        fold=False,
    )
    if found.exit_code:
        raise typer.Exit(found.exit_code)


# --- the way to a board --------------------------------------------------------------------------


@commands.example(
    "deploy boards trust kitchen",
    "deploy boards trust pi@kitchen.local --fingerprint "
    "SHA256:uNiVztksCsDhcc0u9e8BgrJXVGDRZFWDcPC3hHWnnEk",
)
def trust(
    name: Annotated[
        str,
        typer.Argument(
            help="A board of yours, or what you give to ssh.",
            metavar="NAME|HOST",
            autocompletion=complete(board_names),
        ),
    ],
    fingerprint: Annotated[
        str | None,
        typer.Option(
            "--fingerprint",
            metavar="SHA256:...",
            help="What the board itself says; only that key is recorded, without a question.",
        ),
    ] = None,
    yes: Annotated[
        bool,
        typer.Option(
            "--yes",
            help="Record whatever answers, without a question: whoever listens in is trusted.",
        ),
    ] = False,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Also in the place of another key that is on record."),
    ] = False,
    json_output: JsonOption = False,
) -> None:
    """Record a board's host key, once you have compared its fingerprint with the board's own.

    It goes where OpenSSH keeps host keys. Nobody logs in. A key that is on record is never replaced
    without `--replace`.
    """
    from toolchain.board import keys
    from toolchain.board.host_keys import ChangedKeyError
    from toolchain.board.trust import check_fingerprint, check_key, fetch_key, record_key

    label, target = _reached_by(name)
    shown = fetch_key(label, target)
    fault = check_key(label, target, shown)
    own = fault.on_record if isinstance(fault, ChangedKeyError) else ()
    if fingerprint is not None:
        check_fingerprint(label, shown, fingerprint)
    if fault is not None and ((own and not replace) or not (fingerprint or yes or can_ask())):
        raise fault  # which shows the fingerprint, and says how to go on
    if fault is not None:
        note(f"{label} ({target}) shows the host key {shown}")
        note(f"the board itself says what it has: {shown.comparison}")
        if own:
            known = "; ".join(f"{one.kind} {keys.fingerprint(one.blob)}" for one in own)
            note(
                f"WARNING: another key is on record: {known}. Unless the board has a new system, "
                "someone may be listening in",
                style="red",
            )
        if fingerprint is None:
            _require_agreement(yes=yes)
    path = None if fault is None else record_key(target, shown, own)
    document = {
        "host": str(target), "known_name": target.known_name, "kind": shown.kind,
        "fingerprint": keys.fingerprint(shown.blob), "recorded": path is not None,
        "replaced": len(own), "file": None if path is None else str(path),
    }  # fmt: skip
    if json_output:
        print_json(document)
    elif path is None:
        say(f"{target}: the host key is on record already: {shown}", fold=False)
    else:
        say(f"{target}: the host key is recorded in {path}: {shown}", fold=False)


def _require_agreement(*, yes: bool) -> None:
    """Go on only if a key is to be recorded.

    Raises:
        typer.Exit: the answer is no.
    """
    if yes:
        note("it was compared with nothing: --yes trusts whoever answers", style="red")
    elif not confirm("Is that the fingerprint that the board itself has?"):
        note("nothing is recorded")
        raise typer.Exit(1)


def _reached_by(word: str) -> tuple[str, SshTarget]:
    """What a board is called, and where it is: one that has a name, or any host.

    Raises:
        BoardConfigError: it is one that has no host key of its own.
        ConnectionFailed: it is no host, or none is known of the board.
    """
    from toolchain.board.target import resolve
    from toolchain.errors import BoardConfigError
    from toolchain.hardware import board_file, emulated, inventory

    names = (*board_file.board_names(), *inventory.tables(), *emulated.tables())
    known = word.endswith(".toml") or word in names
    if not known:
        board_file.check_is_one(word)
        return word, resolve(board_file.unknown_board("board"), word, None)
    board = board_file.load_board(word)
    if board.connection != "ssh":
        what = "this machine" if board.connection == "local" else "an emulated one"
        raise BoardConfigError(
            f"board '{board.name}' is {what}: there is no host key to record",
            hint="commands on it need none",
        )
    return board.name, resolve(board, None, None)


@commands.example("deploy boards shell kitchen", "deploy boards shell kitchen -- vcgencmd version")
def shell(
    name: NameArgument,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            help="A program and its arguments, after --; none of it is shell text.",
            metavar="COMMAND",
            show_default="a login shell",
        ),
    ] = None,
    host: HostOption = None,
    identity: IdentityOption = None,
) -> None:
    """Log in to a board with your own `ssh`, or run a program there.

    The exit code is that of the program.
    """
    from toolchain.board.login_shell import become, shell_words
    from toolchain.board.target import parse_host
    from toolchain.hardware.board_file import load_board

    if host is not None:
        parse_host(host)
    board = load_board(name)
    become(
        shell_words(board, host, identity, words or []),
        local=host is None and board.connection == "local",
    )


@commands.example("deploy boards logs kitchen", "deploy boards logs qemu --lines 20 --follow")
def logs(
    name: NameArgument,
    lines: Annotated[
        int,
        typer.Option("--lines", "-n", min=1, max=_MOST_LINES, help="The last so many."),
    ] = _LINES,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")
    ] = False,
    host: HostOption = None,
    identity: IdentityOption = None,
    json_output: JsonOption = False,
) -> None:
    """Show what happened on a board: its journal, or what the emulated one wrote as it booted."""
    from toolchain.board import board_log
    from toolchain.board.connect import connect
    from toolchain.hardware.board_file import load_board

    if follow and json_output:
        raise wrong_use("--json", "is one document, and --follow has no end")
    board = load_board(name)
    if host is None and board.connection == "emulator":
        log = board_log.read_serial(board, lines)
    elif follow:
        if host is None and board.connection == "local":
            raise wrong_use("--follow", "is for other machines; here run: journalctl -f")
        with connect(board, host, identity=identity) as connection:
            board_log.follow_log(connection, lines, _tell_now)
        return
    else:
        with connect(board, host, identity=identity, look_only=True) as connection:
            log = board_log.read_log(connection, lines)
    if json_output:
        print_json({"board": board.name, "source": log.source, "lines": log.lines})
        return
    note(f"{board.name}: {log.source}")
    for line in log.lines:
        say(line, fold=False)
    if log.remark:
        note(log.remark, style="yellow")
    if follow:
        board_log.follow_serial(board, _tell_now)


def _tell_now(line: str) -> None:
    """Print a line that somebody waits for, also in a pipe."""
    say(line, fold=False)
    sys.stdout.flush()


# --- leases --------------------------------------------------------------------------------------


@commands.example(
    "deploy boards lease kitchen",
    "deploy boards lease kitchen --hold 10m --for soldering",
    "deploy boards lease kitchen --free",
)
def lease(
    name: NameArgument,
    hold: Annotated[
        str | None,
        typer.Option("--hold", metavar="TIME", help="Have it for so long: 10m, 2h. Ctrl-C ends."),
    ] = None,
    purpose: Annotated[
        str | None, typer.Option("--for", metavar="WORDS", help="What others are told meanwhile.")
    ] = None,
    free: Annotated[
        bool, typer.Option("--free", help="End the leases that you have; their commands fail.")
    ] = False,
    queue: QueueOption = None,
    force: ForceOption = False,
    host: HostOption = None,
    identity: IdentityOption = None,
    json_output: JsonOption = False,
) -> None:
    """Say who has a board, for how long and what for, and who waits; or have it for a while."""
    from toolchain import quantities
    from toolchain.board.connect import connect
    from toolchain.board.lease_holders import end_own, read_lease
    from toolchain.hardware.board_file import load_board
    from toolchain.report.boards_tables import lease_table

    if hold is None and (purpose is not None or queue is not None or force):
        raise wrong_use("--hold", "is missing: --for, --queue and --force are of it")
    if hold is not None and (free or json_output):
        raise wrong_use("--hold", "takes the board, which --free and --json do not")
    try:
        seconds = None if hold is None else quantities.seconds(hold)
    except ValueError as error:
        raise wrong_use("--hold", str(error)) from error
    board = load_board(name)
    with connect(board, host, identity=identity) as connection:
        if seconds is not None:
            _hold(connection, seconds, purpose or "held by hand", queue, force=force)
            return
        ended = end_own(connection) if free else ()
        state = read_lease(connection)
        document = {
            "board": connection.name,
            **{key: [vars(use) for use in uses]
               for key, uses in (("ended", ended), ("holders", state.holders),
                                 ("queue", state.queue))},
        }  # fmt: skip
        show(document, lambda _: lease_table(connection.name, state), json_output=json_output)
        for use in ended:
            note(f"ended: {use.words}")


def _hold(
    connection: Connection, seconds: float, purpose: str, queue: float | None, *, force: bool
) -> None:
    """Have a board for a while; Ctrl-C gives it back."""
    import time
    from math import ceil

    from toolchain.board.lease import WAIT_S, Lease, duration

    taken = Lease(
        connection,
        purpose,
        wait=WAIT_S if queue is None else queue,
        force=force,
        limit=ceil(seconds) + _GRACE_S,  # it is given back here before
        note=note,
    )
    with taken:
        note(f"{connection.name}: yours for {duration(ceil(seconds))}; Ctrl-C gives it back")
        end = time.monotonic() + seconds
        try:
            while (left := end - time.monotonic()) > 0:
                taken.require()
                time.sleep(min(_HOLD_BEAT_S, left))
        except KeyboardInterrupt:
            note("")
    say(f"{connection.name} is given back")
