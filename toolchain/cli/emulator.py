"""``deploy emulator``: start, stop and status of emulated boards, and what is left of them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from toolchain.cli import bars
from toolchain.cli.command_help import App, complete
from toolchain.cli.options import BoardOption, JsonOption, board_names, boards_option, wrong_use
from toolchain.cli.output import note, print_json, say, show

if TYPE_CHECKING:
    from collections.abc import Sequence

    from toolchain.board.emulator_state import Phase, State
    from toolchain.board.lab import Found
    from toolchain.board.session import Owner
    from toolchain.hardware.board_file import Board
    from toolchain.hardware.link import Link

commands = App(
    help="Emulated boards: ARM machines in QEMU, reached over real SSH.",
    no_args_is_help=True,
    epilog="deploy emulator start",
)
BoardsOption = Annotated[list[str] | None, boards_option("all emulated boards")]


@commands.example(
    "deploy emulator start",
    "deploy emulator start --count 3 --like rpi4",
    "deploy emulator start --cpu cortex-a53 --server openssh --link 20ms,1%",
    "deploy emulator start --board my_board.toml --no-icount --cores 4",
)
def start(
    board: BoardOption = "qemu",
    count: Annotated[
        int | None,
        typer.Option(
            "--count", "-n", min=1, max=64, help="How many; they are called BOARD-1, BOARD-2, ..."
        ),
    ] = None,
    like: Annotated[
        str | None,
        typer.Option(
            "--like",
            metavar="BOARD",
            help="Play this board's core, and take its bundle: rpi3, rpi4, rpi5.",
            autocompletion=complete(board_names),
        ),
    ] = None,
    cpu: Annotated[
        str | None,
        typer.Option("--cpu", metavar="CORE", help="Play this core, such as cortex-a53."),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="How their names begin.")
    ] = None,
    cores: Annotated[
        int | None, typer.Option("--cores", min=1, max=8, help="Cores; needs --no-icount.")
    ] = None,
    icount: Annotated[
        bool, typer.Option("--icount/--no-icount", help="Count instructions, on one core.")
    ] = True,
    memory: Annotated[
        int | None,
        typer.Option("--memory", min=128, max=16384, metavar="MIB", help="Memory of each."),
    ] = None,
    server: Annotated[
        Literal["dropbear", "openssh"] | None,
        typer.Option("--server", help="The SSH server on it.", show_default="dropbear"),
    ] = None,
    link: Annotated[
        str | None,
        typer.Option(
            "--link",
            metavar="LINK",
            help="A slow and lossy link before it: delay, loss and rate, as 20ms,1%,10Mbit.",
        ),
    ] = None,
    stay: Annotated[
        bool, typer.Option("--stay", help="It ends with nothing but 'deploy emulator stop'.")
    ] = False,
    ends_with: Annotated[
        int | None,
        typer.Option(
            "--ends-with",
            metavar="PID",
            min=1,
            help="It ends with this process, such as $$ in a script.",
            show_default="the terminal's session",
        ),
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Boot boards unless they run, and wait until they can be logged in to.

    A board ends with the session of the terminal that it is started on: when its shell ends.
    Started without a terminal it stays until it is stopped.
    """
    from toolchain.board import emulator, lab
    from toolchain.hardware.board_file import load_board

    if stay and ends_with is not None:
        raise wrong_use("--stay", "does not go with --ends-with")
    if link is not None:
        _link("--link", link)
    boards = [
        emulator.with_settings(
            one, cores=cores, icount=icount, memory=memory, server=server, link=link
        )
        for one in lab.wanted(
            load_board(board),
            count=count,
            like=None if like is None else load_board(like),
            core=cpu,
            name=name,
        )
    ]
    with_whom = None if stay else _owner(ends_with)
    states = emulator.start_all(boards, bars.progress(), owner=with_whom, stay=stay)
    if count is None:
        _print_state(states[0].board, states[0], json_output=json_output)
    else:
        _print_all(lab.all_found([state.board for state in states]), json_output=json_output)


def _owner(pid: int | None) -> Owner | None:
    from toolchain.board import session

    if pid is None:
        return session.of_terminal()
    found = session.owner(pid, "session")
    if found is None:
        raise wrong_use("--ends-with", f"{pid} is no process that runs")
    return found


@commands.example(
    "deploy emulator stop",
    "deploy emulator stop --board qemu-1,qemu-2",
    "deploy emulator stop --all",
)
def stop(
    board: BoardsOption = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Those of programs as well, which end theirs themselves.")
    ] = False,
    json_output: JsonOption = False,
) -> None:
    """Shut boards down; no error if none runs.

    Without `--board` these are all emulated boards, but not those that a program has for itself,
    such as `deploy demo` or a test.
    """
    from toolchain.board import lab

    if board is not None:
        if everything:
            raise wrong_use("--all", "does not go with --board")
        names = [one.name for one in _emulated(board, "stop")]
        ended, theirs = lab.stop_named(names, bars.progress()), list["State"]()
    else:
        ended, theirs = lab.stop_all(bars.progress(), programs=everything)
        names = ended
    if json_output:
        found = [{"board": name, "stopped": name in ended} for name in names]
        print_json(found[0] if board is not None and len(found) == 1 else found)
        return
    for name in names:
        say(f"emulated board '{name}' {'is shut down' if name in ended else 'was not running'}")
    if not names:
        say("no emulated board was running")
    for state in theirs:
        note(f"emulated board '{state.board}' is left to {state.owner}; --all ends it, too")


@commands.example("deploy emulator status", "deploy emulator status --board qemu-1 --json")
def status(board: BoardsOption = None, json_output: JsonOption = False) -> None:
    """Say which boards run, and how to log in to them.

    The exit code is 12 unless each runs and answers: it may still boot, or be stopped.
    """
    from toolchain.board import lab
    from toolchain.errors import EmulatorError

    names = None if board is None else [one.name for one in _emulated(board, "status")]
    found = lab.all_found(names)
    if names is not None and len(found) == 1:
        one = found[0]
        _print_state(one.name, one.state, one.phase, json_output=json_output)
    elif found or json_output:
        _print_all(found, json_output=json_output)
    else:
        say("no emulated board runs")
    if not found or any(one.phase != "runs" for one in found):
        raise typer.Exit(EmulatorError.exit_code)


@commands.example("deploy emulator prune")
def prune(json_output: JsonOption = False) -> None:
    """End what nobody has any longer, and remove what is left of boards that have ended.

    That is: boards whose session or program has ended, boards whose slow link has, starts that were
    killed, QEMUs of which nothing is recorded, and folders of boards that have ended.
    """
    from toolchain.board import lab
    from toolchain.report.emulator_table import left_table

    left = lab.prune()
    if not left and not json_output:
        say("nothing is left of emulated boards")
        return
    show(
        [one.document for one in left],
        lambda width: left_table(left, width),
        json_output=json_output,
    )


@commands.example("deploy emulator link 192.168.1.20:22 20ms,1%,10Mbit")
def link(
    server: Annotated[
        str, typer.Argument(metavar="ADDRESS:PORT", help="A TCP server, such as a board's SSH.")
    ],
    line: Annotated[
        str, typer.Argument(metavar="LINK", help="Delay, loss and rate, or some: 20ms,1%,10Mbit.")
    ],
    port: Annotated[
        int,
        typer.Option(
            "--port", min=0, max=65535, help="Of this machine.", show_default="a free one"
        ),
    ] = 0,
    json_output: JsonOption = False,
) -> None:
    """Put a slow and lossy link in front of any TCP server, until Ctrl-C.

    The delay is that of one direction: a round trip takes twice that. What is lost comes later, as
    TCP would have it.
    """
    import asyncio

    from toolchain.board import link_proxy
    from toolchain.errors import OutputError

    host, separator, number = server.rpartition(":")
    if not separator or not number.isdecimal() or not 0 < int(number) < 65536 or not host:
        raise wrong_use(
            "ADDRESS:PORT", f"'{server}' is none; write 192.168.1.20:22 or [fe80::1]:22"
        )
    what = _link("LINK", line)
    try:
        listener = link_proxy.listen(port)
    except OSError as error:
        raise OutputError(
            f"port {port} of this machine cannot be taken: {error.strerror}",
            hint="leave --port away, and a free one is taken",
        ) from error
    own = listener.getsockname()[1]
    if json_output:
        print_json({"port": own, "server": server, "link": str(what)})
        sys.stdout.flush()  # who reads it waits for it, and this goes on
    else:
        say(f"{link_proxy.LOOPBACK}:{own} leads to {server} over {what}; Ctrl-C ends it")
    address = host.removeprefix("[").removesuffix("]")
    asyncio.run(link_proxy.serve(listener, address, int(number), what))


def _link(option: str, text: str) -> Link:
    """The link that somebody typed for an option."""
    from toolchain.hardware.link import parse_link

    try:
        return parse_link(text)
    except ValueError as error:
        raise wrong_use(option, str(error)) from error


def _emulated(names: Sequence[str], subcommand: str) -> list[Board]:
    """The emulated boards that the ``--board`` of a subcommand names."""
    from toolchain.board import emulator
    from toolchain.hardware.board_file import boards_named
    from toolchain.hints import command

    boards = boards_named(names)
    for board in boards:
        emulator.require_emulated(board, hint=command("emulator", subcommand))
    return boards


def _print_all(found: list[Found], *, json_output: bool) -> None:
    from toolchain.report.emulator_table import emulated_table

    show(
        [one.document for one in found],
        lambda width: emulated_table(found, width),
        json_output=json_output,
    )


def _print_state(
    name: str, state: State | None, phase: Phase | None = "runs", *, json_output: bool
) -> None:
    if json_output:
        nothing = {"board": name, "running": False, "phase": None}
        print_json(nothing if state is None else state.document(phase))
    elif state is None:
        say(f"emulated board '{name}' does not run")
    else:
        counting = "instructions are counted"
        if state.settings.icount_shift is None:
            counting = "instructions are not counted"
        cores = "1 core" if state.settings.cores == 1 else f"{state.settings.cores} cores"
        say(f"emulated board '{name}' {phase} (process {state.pid}, {cores}, {counting})")
        if state.owner is None:
            say("it stays until it is stopped")
        else:
            say(f"it ends with {state.owner}")
        say(f"log in: {state.ssh_command}", fold=False)
