"""Emulated boards: QEMU in the background, reachable over SSH on this machine's loopback.

One runs for each board name. :mod:`toolchain.board.emulator_state` says what is known of it, and
:mod:`toolchain.board.session` with whom it ends.
"""

from __future__ import annotations

import math
import os
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from toolchain import progress
from toolchain.board import emulator_memory, image, qemu_process
from toolchain.board.emulator_state import (
    State,
    greets,
    log_file,
    recorded,
    running,
    save,
    state_file,
)
from toolchain.board.session import Owner, this_program
from toolchain.board.ssh import SshConnection
from toolchain.errors import BoardConfigError, ConnectionFailed, EmulatorError, MissingToolError
from toolchain.formats.validation import faults
from toolchain.hardware import emulated
from toolchain.hardware.board_file import Board, Emulator
from toolchain.hints import apt_line, command
from toolchain.storage import cache

BOOT_TIMEOUT_S = 180.0
NEEDED_TOOLS = {qemu_process.PROGRAM: "qemu-system-arm"}
"""The programs that it calls, each with the Debian package that has it."""
_POWEROFF_S = 15.0
_STEPS = 3
"""Of a boot: QEMU has begun, the SSH server greets, a login has succeeded."""
_MEMORY_LOCK = "emulator-memory"


def status(board: Board) -> State | None:
    """The running emulated board; ``None`` if there is none, or it has died."""
    return running(board.name)


def require_ready(board: Board) -> State:
    """The emulated board that can be logged in to.

    Raises:
        EmulatorError: it does not run, or still boots.
    """
    state = status(board)
    if state is None or not state.ready:
        raise EmulatorError(
            f"the emulated board '{board.name}' does not run",
            hint=command("emulator", "start", "--board", board.given),
        )
    return state


def start(
    board: Board,
    report: progress.Progress,
    *,
    cores: int | None = None,
    icount: bool = True,
    timeout: float = BOOT_TIMEOUT_S,
    owner: Owner | None = None,
    stay: bool = False,
) -> State:
    """Boot the board unless it runs, and wait until it can be logged in to.

    It ends with this program unless told otherwise. If it does not come up, or this is interrupted,
    no QEMU is left behind.

    Args:
        board: a board with an ``[emulator]`` table.
        report: is told of the stages.
        cores: overrides the board file; more than one only without ``icount``.
        icount: whether to count instructions, if the board file says so.
        timeout: seconds in which it has to come up.
        owner: with whom it ends, if not with this program.
        stay: it ends when it is stopped, and with nobody.

    Raises:
        MissingToolError: QEMU is not installed.
        BoardConfigError: the settings contradict each other.
        EmulatorError: it does not boot, it already runs with other settings, or the memory does not
            suffice.
        SourceError: a Debian package of its image could not be fetched.
    """
    chosen = with_settings(board, cores=cores, icount=icount)
    with_whom = None if stay else owner or this_program()
    return start_all([chosen], report, owner=with_whom, stay=stay, timeout=timeout)[0]


def start_all(
    boards: Sequence[Board],
    report: progress.Progress,
    *,
    owner: Owner | None,
    stay: bool = False,
    timeout: float = BOOT_TIMEOUT_S,
) -> list[State]:
    """Boot several boards at once, those that run excepted, and wait for all of them.

    If one does not come up, or this is interrupted, none is left of those that were booted.

    Args:
        boards: each with its settings in its ``[emulator]`` table.
        report: is told of the stages.
        owner: with whom those end that are booted; ``None``: they stay.
        stay: those that run are to stay, too, whoever started them.
        timeout: seconds in which a board has to come up where each has a core of this machine to
            itself; more boards than cores have more.

    Returns:
        Their states, in order, each board once.

    Raises:
        DeployError: as :func:`start`.
    """
    boards = list({board.name: board for board in boards}.values())
    for board in boards:
        require_emulated(board)
    qemu = shutil.which(qemu_process.PROGRAM)
    if not qemu:
        raise MissingToolError(
            f"{qemu_process.PROGRAM} is not installed, so there is no emulated board",
            hint=apt_line(*NEEDED_TOOLS.values()),
        )
    with ExitStack() as locks:
        for name in sorted({board.name for board in boards}):  # in one order, whoever does it
            locks.enter_context(_locked(name, report))
        found = {board.name: _found(board) for board in boards}
        boot = _Boot(
            [board for board in boards if not (state := found[board.name]) or not state.ready],
            report,
            qemu,
            owner,
            timeout * math.ceil(len(boards) / (os.cpu_count() or 1)),
        )
        booted = boot.all({name: state for name, state in found.items() if state is not None})
        states = [booted.get(board.name) or found[board.name] for board in boards]
        for board in boards:
            _record(board)
        return [_kept(state, stay=stay) for state in states if state is not None]


def _found(board: Board) -> State | None:
    """The board, if it runs as is wanted; nothing else of it is left."""
    state = running(board.name)
    if state is None:
        qemu_process.kill(board.name)
    elif state.settings != board.emulator:
        raise EmulatorError(
            f"the emulated board '{board.name}' already runs with other settings",
            hint=command("emulator", "stop", "--board", board.given),
        )
    return state


def _kept(state: State, *, stay: bool) -> State:
    """A board that runs: its keeper does, too, and it stays if that is asked for."""
    if stay and state.owner is not None:
        state = state.model_copy(update={"owner": None})
        save(state)
    return qemu_process.kept(state)


class _Boot:
    """Boards that boot at once.

    Args:
        boards: those that do not run, and those that still boot.
        report: is told of the stages.
        qemu: the program's path.
        owner: with whom they end.
        timeout: seconds in which they have to come up.
    """

    def __init__(
        self,
        boards: Sequence[Board],
        report: progress.Progress,
        qemu: str,
        owner: Owner | None,
        timeout: float,
    ) -> None:
        self._boards, self._report, self._qemu = boards, report, qemu
        self._owner, self._timeout = owner, timeout
        self._deadline = math.inf
        self._telling = threading.Lock()

    def all(self, before: dict[str, State]) -> dict[str, State]:
        """Boot them; the states by name.

        Args:
            before: the states of boards whose QEMU runs.
        """
        if not self._boards:
            return {}
        fresh = [board for board in self._boards if board.name not in before]
        servers = sorted({require_emulated(board).server for board in fresh})
        images = {server: image.build(self._report, server) for server in servers}
        names = [board.name for board in self._boards]
        what = (
            f"emulated board '{names[0]}'" if len(names) == 1 else f"{len(names)} emulated boards"
        )
        with self._report.stage(f"{what}: boot", total=_STEPS * len(names)) as stage:

            def tell(steps: float, detail: str) -> None:
                with self._telling:
                    stage.advance(steps, detail)

            self._deadline = time.monotonic() + self._timeout
            try:
                tell(0, "QEMU")
                launched = before | self._launch(fresh, images, tell)
                states = self._await([launched[name] for name in names], tell)
            except BaseException:
                for name in names:
                    qemu_process.kill(name)
                    state_file(name).unlink(missing_ok=True)
                raise
            tell(0, "ready")
        return {state.board: state for state in states}

    def _launch(
        self,
        boards: Sequence[Board],
        images: Mapping[image.Server, image.Image],
        tell: Callable[[float, str], None],
    ) -> dict[str, State]:
        """Start each board's QEMU, once it is sure that there is memory for all of them."""
        found = {}
        if boards:
            # Whoever boots others meanwhile counts with these.
            with cache.locked(_MEMORY_LOCK):
                emulator_memory.check_memory(
                    [require_emulated(one) for one in boards], all_running()
                )
                for board in boards:
                    settings = require_emulated(board)
                    found[board.name] = qemu_process.launch(
                        board, settings, self._qemu, images[settings.server],
                        owner=self._owner, deadline=self._deadline,
                    )  # fmt: skip
                    tell(1, "kernel")
        return found

    def _await(self, states: Sequence[State], tell: Callable[[float, str], None]) -> list[State]:
        """Wait until each can be logged in to; the first that fails ends the wait for all."""

        def up(state: State) -> State:
            _await_banner(state, self._deadline)
            tell(1, "login")
            _await_login(state, self._deadline)
            ready = state.model_copy(update={"ready": True})
            save(ready)
            tell(1, state.board)
            return ready

        with ThreadPoolExecutor(len(states)) as pool:
            waits = {pool.submit(up, state): state.board for state in states}
            try:
                done = {waits[wait]: wait.result() for wait in as_completed(waits)}
            except BaseException:
                for state in states:  # so that nobody waits for it
                    qemu_process.kill(state.board)
                raise
        return [done[state.board] for state in states]


def _record(board: Board) -> None:
    keys = board.model_copy(update={"tags": tuple(dict.fromkeys((*board.tags, emulated.TAG)))})
    emulated.record(
        board.name,
        keys.model_dump(mode="json", exclude={"name"}, exclude_none=True),
        board.built_as,
    )


def all_running() -> list[State]:
    """The emulated boards that run, by name."""
    states = (running(path.name) for path in emulated.folders())
    return [state for state in states if state is not None]


def stop(board: Board, report: progress.Progress) -> bool:
    """Shut the board down; whether there was one to shut down."""
    return stop_named(board.name, report)


def stop_named(name: str, report: progress.Progress) -> bool:
    """Shut the board of a name down, whether there is a file of it or not; whether it ran."""
    with _locked(name, report):
        state = running(name)
        if state is not None:
            with report.stage(f"emulated board '{name}': shut down"):
                _power_off(state.direct)
        _remove(name)
    return state is not None


def end_with(name: str, owner: Owner) -> bool:
    """End a board whose owner has ended, unless it was asked to stay; whether it was ended."""
    with cache.locked(lock_name(name)):
        state = recorded(name)
        ended = (
            state is not None
            and state.owner is not None
            and (state.owner.pid, state.owner.started) == (owner.pid, owner.started)
        )
        if ended:
            _remove(name)
        return ended


def _remove(name: str) -> None:
    """End what is left of a board, and forget it but for what it wrote; its lock is held."""
    qemu_process.kill(name)
    emulated.forget(name)
    state_file(name).unlink(missing_ok=True)


def serial_log(board: Board) -> Path:
    """What an emulated board wrote to its serial line when it ran last, if it ever did."""
    return log_file(board.name)


def require_emulated(board: Board, *, hint: str | None = None) -> Emulator:
    """The settings of an emulated board.

    Args:
        board: any board.
        hint: the line to run instead, if it is not the one that starts such a board in QEMU.

    Raises:
        BoardConfigError: it is not an emulated one.
    """
    if board.emulator is None:
        played = ("--like", board.given) if board.isa == "aarch64" else ("--board", "qemu")
        raise BoardConfigError(
            f"board '{board.name}' is not an emulated one: it has no [emulator] table",
            hint=hint or command("emulator", "start", *played),
        )
    return board.emulator


def with_settings(
    board: Board,
    *,
    cores: int | None = None,
    icount: bool = True,
    memory: int | None = None,
    server: str | None = None,
    link: str | None = None,
) -> Board:
    """A board that is booted with other settings than its file has.

    Args:
        board: a board with an ``[emulator]`` table.
        cores: instead of the file's.
        icount: whether to count instructions, if the file says so.
        memory: in MiB, instead of the file's.
        server: the SSH server, instead of the file's.
        link: what lies before it, instead of the file's.

    Raises:
        BoardConfigError: it is no emulated board, or the settings contradict each other.
    """
    settings = require_emulated(board)
    given = {"cores": cores, "memory_mib": memory, "server": server, "link": link}
    chosen: dict[str, Any] = settings.model_dump()
    chosen |= {key: value for key, value in given.items() if value is not None}
    if not icount:
        chosen["icount_shift"] = None
    try:
        return board.model_copy(update={"emulator": Emulator.model_validate(chosen)})
    except ValidationError as error:
        counts = chosen["icount_shift"] is not None and (cores or 1) > 1
        raise BoardConfigError(
            f"board '{board.name}': " + "; ".join(found.said for found in faults(error, Emulator)),
            hint="add --no-icount: then there are no instruction counts" if counts else None,
        ) from error


def _await_banner(state: State, deadline: float) -> None:
    # QEMU itself accepts connections from the start; only sshd's greeting says that it is up.
    while time.monotonic() < deadline and state.alive:
        if greets(state.direct.port, 5):
            return
        time.sleep(0.1)
    raise qemu_process.no_boot(state)


def _await_login(state: State, deadline: float) -> None:
    last: ConnectionFailed | None = None
    while time.monotonic() < deadline and state.alive:
        try:
            with SshConnection(state.board, state.target) as connection:
                connection.run(["true"], timeout=30)
                return
        except ConnectionFailed as error:
            last = error
            time.sleep(0.2)
    raise qemu_process.no_boot(state) from last


def _power_off(state: State) -> None:
    try:
        with SshConnection(state.board, state.target, timeout=5) as connection:
            connection.run(["poweroff"], check=False, timeout=5)
    except Exception:  # noqa: S110 - a board that does not answer is ended from outside
        pass
    else:
        deadline = time.monotonic() + _POWEROFF_S
        while state.alive and time.monotonic() < deadline:
            time.sleep(0.05)


def _locked(name: str, report: progress.Progress) -> AbstractContextManager[None]:
    def waiting() -> None:
        report.note(f"emulated board '{name}': waiting for another command that starts or stops it")

    return cache.locked(lock_name(name), waiting)


def lock_name(name: str) -> str:
    """The lock that whoever starts, stops or removes a board holds, as the cache knows it."""
    return f"emulator-{name}"
