"""Many emulated boards: which ones are made of what is asked for, which are there, which are left.

A board of the lab is like another one, a shipped one or one of the user's, and is emulated whatever
that is: it has the core, the caches and the clock of the other, by which times are estimated, and
takes its bundle.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

import filelock

from toolchain import progress
from toolchain.board import emulator, qemu_process
from toolchain.board.emulator_state import (
    Phase,
    State,
    folder,
    keepers,
    log_file,
    qemus,
    recorded,
    running,
    without_folder,
)
from toolchain.errors import BoardConfigError
from toolchain.hardware import emulated, inventory
from toolchain.hardware.board_file import Board, Emulator, board_names, load_board
from toolchain.hardware.facts import Core, core_called, core_facts, played_cores
from toolchain.hints import command
from toolchain.storage import cache

MOST = 64
"""Boards that are made at once."""
_CORE = "cortex-"


@dataclass(frozen=True)
class Found:
    """An emulated board that was started."""

    name: str
    core: str
    """As Arm writes it."""
    state: State | None
    """``None`` where it has died, or was killed."""
    phase: Phase | None
    """What it does; ``None`` likewise."""

    @property
    def document(self) -> dict[str, Any]:
        """All of it, for JSON."""
        if self.state is None:
            return {"board": self.name, "core": self.core, "running": False, "phase": None}
        return {"core": self.core, **self.state.document(self.phase)}


@dataclass(frozen=True)
class Left:
    """What was left of an emulated board, and has been ended or removed."""

    name: str
    what: str
    pids: tuple[int, ...]
    """The processes that were ended."""

    @property
    def document(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {"board": self.name, "what": self.what, "pids": list(self.pids)}


# --- which boards are meant ------------------------------------------------------------------


def wanted(
    base: Board,
    *,
    count: int | None = None,
    like: Board | None = None,
    core: str | None = None,
    name: str | None = None,
) -> list[Board]:
    """The emulated boards that are asked for.

    Without any of the options that is the base itself. Else they are boards of names of their own:
    ``qemu-1``, ``qemu-2``; ``qemu-rpi4-1`` where they are like another board, ``qemu-a53-1`` where
    they have another core, ``name-1`` where a name is given; without a count ``qemu-rpi4``.

    Args:
        base: an emulated board, which says how QEMU is started.
        count: how many.
        like: the board whose core they have, whose files they take, and as which they are timed.
        core: QEMU's name of their core, or Arm's, or the end of it: ``a53``.
        name: how their names begin.

    Raises:
        BoardConfigError: the base is not emulated, QEMU cannot play the other, or a name is taken
            or is none.
    """
    emulator.require_emulated(base)
    if count is None and like is None and core is None and name is None:
        return [base]
    board = base if like is None else _emulated(like, base)
    stem = base.name if like is None else f"{base.name}-{like.name}"
    if core is not None:
        board = _with_core(board, core)
        stem += f"-{_qemu_cpu(core).removeprefix(_CORE)}"
    stem = name or stem
    names = [stem] if count is None else [f"{stem}-{number}" for number in range(1, count + 1)]
    for one in names:
        _check_name(one)
    return [board.named(one) for one in names]


def _emulated(like: Board, base: Board) -> Board:
    if like.isa != "aarch64":
        raise BoardConfigError(
            f"board '{like.name}' has another instruction set ({like.isa}) than what is emulated",
            hint=command("emulator", "start", "--like", "rpi4"),
        )
    settings = emulator.require_emulated(base)
    if like.emulator is None:
        settings = settings.model_copy(update={"cpu": _qemu_cpu(like.cpu)})
    else:
        settings = like.emulator
    return like.named(
        like.name,
        title=f"Emulated: {like.title}",
        connection="emulator",
        emulator=settings,
        threads=1,
        ssh=base.ssh,
    )


def _with_core(board: Board, core: str) -> Board:
    settings = emulator.require_emulated(board)
    cpu = _qemu_cpu(core)
    known = _known_core(core)
    try:
        changed = Emulator.model_validate(settings.model_dump() | {"cpu": cpu})
    except ValueError as error:
        raise BoardConfigError(
            f"'{core}' is no name of a core",
            hint=command("emulator", "start", "--cpu", "cortex-a53"),
        ) from error
    name = cpu if known is None else core_facts(known).name
    if name == board.cpu:
        return board.named(board.name, emulator=changed)
    return board.named(
        board.name,
        title=f"Emulated board (QEMU {changed.machine}, {name})",
        cpu=name,
        emulator=changed,
        caches=None,
        clock_mhz=None,
        tile=None,
    )


def _known_core(core: str) -> Core | None:
    return next(
        (found for word in (core, f"{_CORE}{core}") if (found := core_called(word)) is not None),
        None,
    )


def _qemu_cpu(core: str) -> str:
    known = _known_core(core)
    return core.lower() if known is None else played_cores("aarch64")[known].qemu_cpu


def _check_name(name: str) -> None:
    if not inventory.is_name(name):
        raise BoardConfigError(
            f"'{name}' {inventory.why_no_name(name)}", hint="give it another: --name bench"
        )
    if name in board_names() or name in inventory.tables():
        whose = "ships" if name in board_names() else f"is in your inventory, {inventory.place()}"
        raise BoardConfigError(
            f"'{name}' is the name of a board that {whose}",
            hint=command("emulator", "start", "--count", 2, "--name", "lab"),
        )


# --- which boards are there ------------------------------------------------------------------


def all_found(names: Sequence[str] | None = None) -> list[Found]:
    """The emulated boards that were started, by name, with what each does now.

    Args:
        names: only these; each is told of, whether it was started or not.
    """
    states = {one: running(one) for one in (_started() if names is None else names)}
    with ThreadPoolExecutor(max(1, len(states))) as pool:
        phases = pool.map(lambda state: None if state is None else state.phase(), states.values())
        return [
            Found(name, _core(name, state), state, phase)
            for (name, state), phase in zip(states.items(), phases, strict=True)
        ]


def _started() -> list[str]:
    """Names of boards that run, or that commands know by name."""
    known = emulated.tables()
    return [
        path.name
        for path in emulated.folders()
        if path.name in known or running(path.name) is not None
    ]


def _core(name: str, state: State | None) -> str:
    table = emulated.tables().get(name, {})
    if isinstance(table.get("cpu"), str):
        return str(table["cpu"])
    with suppress(BoardConfigError):
        return load_board(name).cpu
    return "?" if state is None else state.settings.cpu


def stop_all(report: progress.Progress, *, programs: bool = False) -> tuple[list[str], list[State]]:
    """Shut all emulated boards down but those that a program has for itself.

    Args:
        report: is told of each.
        programs: those as well.

    Returns:
        The boards that were stopped, and those that a program has.
    """
    states = {name: running(name) for name in _started()}
    theirs = [state for state in states.values() if state is not None and _is_a_programs(state)]
    names = [name for name in states if programs or name not in {one.board for one in theirs}]
    return stop_named(names, report), [] if programs else theirs


def stop_named(names: Sequence[str], report: progress.Progress) -> list[str]:
    """Shut boards down, all at once.

    Args:
        names: of the boards.
        report: is told how many are.

    Returns:
        Those that ran.
    """
    if len(names) <= 1:
        return [name for name in names if emulator.stop_named(name, report)]
    ended = []
    with (
        report.stage(f"{len(names)} emulated boards: shut down", total=len(names)) as stage,
        ThreadPoolExecutor(max(1, len(names))) as pool,
    ):
        quiet = _NotesOnly(report)
        for name, ran in zip(
            names, pool.map(lambda one: emulator.stop_named(one, quiet), names), strict=True
        ):
            stage.advance(1, name)
            ended += [name] if ran else []
    return ended


class _NotesOnly(progress.Silent):
    """Passes on what is said, and shows no stages: a terminal shows one at a time."""

    def __init__(self, report: progress.Progress) -> None:
        self._report = report

    def note(self, message: str) -> None:
        self._report.note(message)


def _is_a_programs(state: State) -> bool:
    return state.owner is not None and state.owner.kind == "program" and state.owner.alive


# --- which are left behind -------------------------------------------------------------------


def prune() -> list[Left]:
    """End and remove what nobody has any longer; boards that somebody starts or stops are left.

    That is a board whose session or program has ended, one whose slow link has, a start that was
    killed, a QEMU of which nothing is recorded, and the folder of a board that has ended.
    """
    found = []
    for name in sorted({*(path.name for path in emulated.folders()), *without_folder()}):
        lock = cache.lock(emulator.lock_name(name))
        with ExitStack() as stack:
            try:
                stack.enter_context(lock.acquire(blocking=False))
            except filelock.Timeout:
                continue
            left = _left(name)
            if left is not None:
                qemu_process.kill(name)
                with suppress(OSError):
                    shutil.rmtree(folder(name))
                found.append(left)
    return found


def _left(name: str) -> Left | None:
    log = log_file(name)
    pids = (*qemus(log), *keepers(log))
    state = recorded(name)
    if state is None or not state.alive:
        if not pids and not folder(name).is_dir():
            return None
        what = "a QEMU of which nothing is recorded" if pids else "the folder of a board that ended"
        return Left(name, what, pids)
    if not state.ready:
        return Left(name, "a board whose start was killed", pids)
    if state.owner is not None and not state.owner.alive:
        return Left(name, f"a board whose {state.owner} has ended", pids)
    if state.is_left_behind:
        return Left(name, "a board whose slow link has ended", pids)
    return None
