"""What is known of an emulated board that was started, and which processes are its own.

It lies in ``<cache>/emulator/<board>/``: its state, its ``known_hosts`` and what it wrote to its
serial line. The path of that serial line stands on the command lines of its processes, by which
they are found, also where nothing was recorded of them.
"""

from __future__ import annotations

import os
import shlex
import signal
import socket
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from toolchain.board.link_proxy import LOOPBACK
from toolchain.board.session import Owner, is_stopped
from toolchain.board.target import SshTarget, identity_words, option_words
from toolchain.hardware import emulated
from toolchain.hardware.board_file import Emulator
from toolchain.storage.files import write_whole

KEEPER = "toolchain.board.keeper"
"""The module that a board's keeper runs."""
_QEMU = "qemu-system"
"""What stands in the names of QEMU's programs."""
_LOG = "serial.log"
_STATE = "state.json"

Phase = Literal["runs", "boots", "is stopped", "does not answer"]


class State(BaseModel):
    """An emulated board that was started; kept as ``state.json``."""

    board: str
    settings: Emulator
    pid: int
    """Of its QEMU."""
    port: int
    """Where it is reached: QEMU's own port, or that of the slow link before it."""
    qemu_port: int | None = None
    """QEMU's own port, where another one leads to it."""
    keeper: int | None = None
    """The process that ends it with its owner, and that is its slow link."""
    owner: Owner | None = None
    """With whom it ends; ``None`` where it stays."""
    since: datetime | None = None
    user_key: Path
    known_hosts: Path
    log: Path
    """What the board wrote to its serial line."""
    ready: bool = False
    """Whether a login has succeeded."""

    @property
    def target(self) -> SshTarget:
        """How it is reached: its own key, its own record of host keys, nothing of the user's."""
        return SshTarget(
            hostname=LOOPBACK,
            user="root",
            port=self.port,
            identities=(self.user_key,),
            known_hosts=(self.known_hosts,),
            only_identities=True,
        )

    @property
    def ssh_command(self) -> str:
        """The line that logs in by hand."""
        return shlex.join(
            ["ssh", *identity_words(self.user_key), "-p", str(self.port),
             *option_words("UserKnownHostsFile", self.known_hosts), "-o", "IdentitiesOnly=yes",
             f"root@{LOOPBACK}"]
        )  # fmt: skip

    @property
    def alive(self) -> bool:
        """Whether its QEMU still runs."""
        return self.pid in qemus(self.log, self.pid)

    @property
    def is_kept(self) -> bool:
        """Whether its keeper runs, if it needs one."""
        needed = self.owner is not None or self.settings.link is not None
        return not needed or (self.keeper is not None and bool(keepers(self.log, self.keeper)))

    @property
    def is_left_behind(self) -> bool:
        """Whether nobody has it any longer, or the link that leads to it is gone."""
        lost = self.settings.link is not None and not self.is_kept
        return lost or (self.owner is not None and not self.owner.alive)

    @property
    def direct(self) -> State:
        """The same, reached past its slow link."""
        return self if self.qemu_port is None else self.model_copy(update={"port": self.qemu_port})

    @property
    def memory_kib(self) -> int:
        """What its QEMU takes of this machine's memory now; 0 if it has ended."""
        with suppress(OSError, ValueError, StopIteration):
            lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
            return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
        return 0

    def phase(self) -> Phase:
        """What it does now; asks it, which takes a moment, or two seconds of a board in trouble."""
        if is_stopped(self.pid):
            return "is stopped"
        if not self.ready:
            return "boots"
        return "runs" if greets(self.port, self.patience) else "does not answer"

    @property
    def patience(self) -> float:
        """Seconds in which it should greet."""
        return 2.0 if self.settings.link is None else 10.0

    def document(self, phase: Phase | None) -> dict[str, Any]:
        """All of it, for JSON."""
        facts = self.model_dump(mode="json")
        return {
            "board": self.board,
            "running": phase == "runs",
            "phase": phase,
            "ssh": self.ssh_command,
            **facts,
            "memory_kib": self.memory_kib,
        }


def folder(name: str) -> Path:
    """Where all that is known of a board lies."""
    return emulated.folder(name)


def log_file(name: str) -> Path:
    """What a board wrote to its serial line."""
    return folder(name) / _LOG


def state_file(name: str) -> Path:
    """Where the state of a board is kept."""
    return folder(name) / _STATE


def recorded(name: str) -> State | None:
    """The state that was recorded, whether the board still runs or not."""
    try:
        return State.model_validate_json(state_file(name).read_bytes())
    except (OSError, ValidationError):
        return None


def running(name: str) -> State | None:
    """The running emulated board; ``None`` if there is none, or it has died."""
    state = recorded(name)
    return state if state is not None and state.alive else None


def save(state: State) -> None:
    """Record a state."""
    write_whole(state_file(state.board), state.model_dump_json(indent=1).encode())


def serial(log: Path) -> str:
    """QEMU's ``-serial`` for a file."""
    return "file:" + str(log).replace(",", ",,")  # QEMU splits options at commas


def qemus(log: Path, pid: int | None = None) -> list[int]:
    """The QEMUs that write to ``log``: one pid if it is given and is one, else all of them."""
    return _having("-serial", serial(log), _QEMU, pid)


def keepers(log: Path, pid: int | None = None) -> list[int]:
    """The keepers of the board that writes to ``log``; likewise."""
    return _having(KEEPER, str(log), "", pid)


def _having(option: str, value: str, program: str, pid: int | None) -> list[int]:
    """The processes of a program that have an option with a value."""
    mark = os.fsencode(value)
    found: list[int] = []
    for number, words in _own_processes(program, pid):
        if mark in words and words[words.index(mark) - 1] == option.encode():
            found.append(number)
    return found


def _own_processes(program: str, pid: int | None = None) -> Iterator[tuple[int, list[bytes]]]:
    """This user's processes of a program, with their command lines.

    Anybody can write anything on a command line: root sees those of others, too.
    """
    for place in [Path(f"/proc/{pid}")] if pid else Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended just now, or is another user's
            # A process that ended and was not waited for has an empty command line.
            words = (place / "cmdline").read_bytes().split(b"\0")
            own = place.stat().st_uid == os.geteuid()
            if own and program in (place / "exe").readlink().name:
                yield int(place.name), words


def without_folder() -> Iterator[str]:
    """Boards whose QEMU runs although their folder may be gone."""
    place = os.fsencode(serial(emulated.place())) + b"/"
    for _, words in _own_processes(_QEMU):
        for option, word in pairwise(words):
            rest = word.removeprefix(place)
            name, _, log = rest.partition(b"/")
            if option == b"-serial" and rest != word and log == _LOG.encode():
                board = name.decode(errors="replace").replace(",,", ",")
                if board not in ("", ".", ".."):  # what is no board's is not removed as one
                    yield board


def send(pid: int, log: Path, number: signal.Signals) -> None:
    """Send a signal to a process of a board, and to none that has got its number since."""
    with suppress(ProcessLookupError, PermissionError):
        handle = os.pidfd_open(pid)
        try:
            if pid in (*qemus(log, pid), *keepers(log, pid)):  # while the handle holds on to it
                signal.pidfd_send_signal(handle, number)
                if number == signal.SIGTERM:  # what is stopped does not take it
                    signal.pidfd_send_signal(handle, signal.SIGCONT)
        finally:
            os.close(handle)


def greets(port: int, seconds: float) -> bool:
    """Whether an SSH server on this machine says so."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=seconds) as link:
            return link.recv(4) == b"SSH-"
    except OSError:
        return False


def accepts(port: int) -> bool:
    """Whether somebody on this machine takes connections there."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1):
            return True
    except OSError:
        return False


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port
