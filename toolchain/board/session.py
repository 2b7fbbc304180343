"""With whom an emulated board ends: the terminal's session, a process, or nobody.

A board stays after the command that starts it, for others are to use it. It should not stay for
ever after whoever wanted it has gone. What a command on a terminal starts belongs to the session of
that terminal: it ends with the session's leader, which is the shell of the window, of the tab, or
of the login. A command without a terminal (of CI, of cron, ``ssh host deploy ...``) has no session
that is sure to last: what it starts stays, unless it names a process.
"""

from __future__ import annotations

import os
import select
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from toolchain.foreign_text import harmless

_NAME = 32


@dataclass(frozen=True)
class Owner:
    """A process with which a board ends."""

    pid: int
    started: int
    """When it began, in the kernel's ticks since the boot: tells it from a later one of its
    number."""
    kind: Literal["session", "program"]
    """Whether people work with the board, or a program has it for itself."""
    name: str
    """Of its program, made harmless."""

    def __str__(self) -> str:
        return f"{self.kind} {self.pid} ({self.name})"

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return _started(self.pid) == self.started

    def handle(self) -> int | None:
        """A file descriptor that can be read from once it has ended; ``None`` if it has."""
        try:
            number = os.pidfd_open(self.pid)
        except OSError:
            return None
        if self.alive:
            return number
        os.close(number)
        return None


def owner(pid: int, kind: Literal["session", "program"]) -> Owner | None:
    """A process as an owner; ``None`` if there is none of this number."""
    started = _started(pid)
    if started is None:
        return None
    name = "?"
    with suppress(OSError):
        name = Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()[:_NAME]
    return Owner(pid=pid, started=started, kind=kind, name=harmless(name))


def this_program() -> Owner | None:
    """The process that asks."""
    return owner(os.getpid(), "program")


def of_terminal() -> Owner | None:
    """The session of the terminal on which this process runs.

    ``None`` without a terminal, and where this process leads its session: that ends with it.
    """
    leader = os.getsid(0)
    has_terminal = (_fields(os.getpid()) or ["0"] * 5)[4] != "0"
    return owner(leader, "session") if has_terminal and leader not in (0, os.getpid()) else None


def await_end_of_any(*handles: int) -> None:
    """Wait until one of several processes has ended, by their handles."""
    waiting = select.poll()
    for handle in handles:
        waiting.register(handle, select.POLLIN)
    waiting.poll()


def is_stopped(pid: int) -> bool:
    """Whether a process was stopped, as by SIGSTOP, and waits to go on."""
    return (_fields(pid) or ["?"])[0] in "tT"


def _started(pid: int) -> int | None:
    fields = _fields(pid)
    return int(fields[19]) if fields and fields[0] not in "ZX" else None


def _fields(pid: int) -> list[str] | None:
    """What ``/proc/PID/stat`` has behind the program's name, from the state (field 3) on."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
