"""Whether a board is reached, and if not, in which step it fails."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

from toolchain.board import emulator
from toolchain.board.connect import connect
from toolchain.board.emulator_state import State
from toolchain.board.local import LocalConnection
from toolchain.board.target import SshTarget, login_words
from toolchain.build import bundle
from toolchain.build.bundle import Bundle
from toolchain.doctor.finding import Finding, Findings
from toolchain.doctor.patient import Patient
from toolchain.errors import (
    BundleError,
    ConnectionFailed,
    ConnectionStep,
    EmulatorError,
)
from toolchain.hardware.board_file import Board
from toolchain.hints import command

STEPS: tuple[ConnectionStep, ...] = get_args(ConnectionStep)
_board = Findings("board")


class NotReached(Exception):  # noqa: N818 - it tells what has happened
    """A board that is not reached.

    Args:
        findings: why, and what went well before.
    """

    def __init__(self, findings: list[Finding]) -> None:
        super().__init__()
        self.findings = findings


@contextmanager
def reached(
    board: Board, host: str | None, identity: Path | None, target: SshTarget | None
) -> Iterator[tuple[Patient, list[Finding]]]:
    """A board, and what was found on the way to it.

    Args:
        board: its file.
        host: ``--host``, if given.
        identity: ``--identity``, if given.
        target: where it is; ``None`` of an emulated one, and of this machine.

    Raises:
        NotReached: it is not.
    """
    state = None if host or board.connection != "emulator" else _running(board)
    findings = [] if state is None else [_board.ok("emulated board", "it runs")]
    target = target if state is None else state.target
    try:
        connection = connect(board, host, identity=identity, look_only=True)
    except ConnectionFailed as error:
        raise NotReached([*findings, *_failed(board, error, target)]) from error
    with connection:
        if target is not None:
            findings += _went_well(STEPS, target)
        if state is not None:
            words = shlex.split(state.ssh_command)
        else:
            words = [] if target is None else login_words(board, host, identity)
        patient = Patient(connection, board, _built(board), tuple(words), state is not None)
        if isinstance(connection, LocalConnection):
            patient.home = connection.home
        yield patient, findings


def _running(board: Board) -> State:
    check, again = "emulated board", [command("emulator", "start", "--board", board.given)]
    state = emulator.status(board)
    phase = None if state is None else state.phase()
    if state is not None and phase == "runs":
        return state
    if state is None:
        what, line = f"the emulated board '{board.name}' does not run", again[0]
    elif phase == "is stopped":
        what, line = f"its QEMU (process {state.pid}) is stopped", f"kill -CONT {state.pid}"
    elif phase == "boots":
        what, line = "it still boots", again[0]  # which waits for it
    else:
        what = "it runs, but does not answer"
        line = " && ".join([command("emulator", "stop", "--board", board.given), *again])
    raise NotReached([_board.fault(check, EmulatorError, what, run=line)])


def _failed(board: Board, error: ConnectionFailed, target: SshTarget | None) -> list[Finding]:
    step = error.step or "port"
    if target is None:
        return [_board.told(step, error, "fault", name=board.name)]
    before = _went_well(STEPS[: STEPS.index(step)], target)
    return [*before, _board.told(step, error, "fault", name=f"{board.name} ({target})")]


def _went_well(steps: Sequence[ConnectionStep], target: SshTarget) -> list[Finding]:
    by_way = "the way there that your SSH configuration names"
    said: dict[ConnectionStep, str] = {
        "key file": "the keys that are named are there",
        "name": f"'{target.hostname}' is found" if target.is_direct else f"{by_way} begins",
        "port": f"port {target.port} of '{target.hostname}' takes connections"
        if target.is_direct
        else f"{by_way} leads somewhere",
        "server": "an SSH server answers there",
        "host key": "its host key is the one on record",
        "login": f"user '{target.user}' is let in",
    }
    return [_board.ok(step, said[step]) for step in steps]


def _built(board: Board) -> Bundle | None:
    try:
        return Bundle.load(bundle.bundle_path(board))
    except BundleError:
        return None
