"""``deploy doctor``: what is missing or wrong, here or on a board, and what mends it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toolchain.cli import bars
from toolchain.cli.command_help import App
from toolchain.cli.options import (
    HostOption,
    IdentityOption,
    JsonOption,
    board_option,
    check_alone,
)
from toolchain.cli.output import note, show

commands = App()


@commands.example(
    "deploy doctor",
    "deploy doctor --board rpi4 --host pi@raspberrypi",
    "deploy doctor --board qemu --bundle support.tar.gz",
)
def doctor(
    board: Annotated[
        str | None,
        board_option("Board name or file, to look at it, too.", "none; with --host: qemu"),
    ] = None,
    host: HostOption = None,
    identity: IdentityOption = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Show what is fine, too; else it is counted.")
    ] = False,
    bundle: Annotated[
        Path | None,
        typer.Option(
            "--bundle",
            metavar="FILE",
            help="Write an archive to send to whoever helps, without names, addresses, keys and "
            "paths: .zip or .tar.gz.",
        ),
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Say what is missing or wrong on this machine, or on a board, and the command that mends it.

    Nothing is changed, here or there. The exit code is 0 unless there is a fault; then it is what
    a command ends with that fails for the first one.
    """
    from toolchain.board.target import parse_host
    from toolchain.doctor.examination import Examination
    from toolchain.doctor.support_archive import check_archive, look_line, write_archive
    from toolchain.failures import Failures
    from toolchain.hardware.board_file import DEFAULT_BOARD, load_board
    from toolchain.report.doctor_table import doctor_table

    check_alone(bundle, json_output)
    if host is not None:
        parse_host(host)
        board = board or DEFAULT_BOARD
    chosen = load_board(board) if board else None
    if bundle:
        check_archive(bundle)
    failures = Failures()
    examination = Examination(chosen, host, identity)
    with failures.kept():
        examination.run(bars.progress())
    diagnosis = examination.diagnosis
    written: dict[str, int] = {}
    if bundle and failures.stopped is None:
        with failures.of_output(bundle):
            written = write_archive(bundle, examination)
    show(
        diagnosis,
        lambda width: doctor_table(diagnosis, width, everything=everything),
        json_output=json_output,
        output=bundle,
        fold=False,
    )
    if bundle and written:
        _tell_of_archive(bundle, written, look_line(bundle))
    failures.require()
    if diagnosis.exit_code:
        raise typer.Exit(diagnosis.exit_code)


def _tell_of_archive(path: Path, files: dict[str, int], look: str) -> None:
    """Say on standard error what an archive holds, and to look at it."""
    from toolchain.report.cache_table import size_text
    from toolchain.storage.files import STDOUT

    what = "standard output" if path == STDOUT else str(path)
    note(f"{what} holds, without names, addresses, keys and paths:")
    widest = max(map(len, files))
    for name, size in files.items():
        note(f"  {name:<{widest}}  {size_text(size):>7}")
    if path == STDOUT:
        note("look at all of it before you send it: what is private may have a form of its own")
    else:
        note(f"look at all of it before you send it: {look}")
