"""A board that is looked at: what is asked of it once for all checks, and lines that mend it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Generic, TypeVar

from toolchain import children
from toolchain.board import system
from toolchain.board.connection import Advance, Connection, Sink
from toolchain.board.lease_holders import LeaseState
from toolchain.board.system import System
from toolchain.build.bundle import Bundle
from toolchain.errors import DeployError
from toolchain.hardware.board_file import Board
from toolchain.hints import quoted
from toolchain.profile.facts import BoardFacts, read_facts

LIMIT_S = children.LOOK_S
"""Seconds that each program there may take: all of them only tell something."""
_Told = TypeVar("_Told")


class Hurried(Connection):
    """Another connection, on which nothing takes longer than a limit.

    Args:
        inner: the connection.
        most: seconds that a program may take.
    """

    def __init__(self, inner: Connection, most: float = LIMIT_S) -> None:
        self.name = inner.name
        self._inner, self._most = inner, most

    def execute(
        self,
        argv: Sequence[str],
        *,
        stdin: BinaryIO | None = None,
        stdout: Sink | None = None,
        advance: Advance | None = None,
        timeout: float | None = None,
        stall: float | None = None,
    ) -> tuple[int, str]:
        """See :meth:`Connection.execute`."""
        limit = self._most if timeout is None else min(timeout, self._most)
        return self._inner.execute(
            argv, stdin=stdin, stdout=stdout, advance=advance, timeout=limit, stall=stall
        )

    def close(self) -> None:
        """See :meth:`Connection.close`."""
        self._inner.close()


class Once(Generic[_Told]):
    """Something that is asked when it is first wanted, and once: a fault is raised each time.

    Args:
        ask: asks it.
    """

    def __init__(self, ask: Callable[[], _Told]) -> None:
        self._ask = ask
        self._told: list[_Told] = []
        self._fault: DeployError | None = None

    def __call__(self) -> _Told:
        """What was told.

        Raises:
            DeployError: as asking it did.
        """
        if self._fault is not None:
            raise self._fault
        if not self._told:
            try:
                self._told.append(self._ask())
            except DeployError as error:
                self._fault = error
                raise
        return self._told[0]


@dataclass
class Patient:
    """A board that answers."""

    connection: Connection
    board: Board
    bundle: Bundle | None
    """What would be pushed there; ``None`` where it is not built."""
    login: tuple[str, ...]
    """The words that log in to it by hand; none for this machine."""
    emulated: bool
    home: Path = Path()
    """The folder that programs run in, where it is this machine."""
    free: int | None = field(default=None, init=False)
    """Bytes of its disk that are free, once that was looked at."""
    lease: LeaseState | None = field(default=None, init=False)
    """Who has it and who waits for it, likewise."""
    system: Once[System] = field(init=False)
    facts: Once[BoardFacts] = field(init=False)
    user: Once[int | None] = field(init=False)
    """The number of the user that programs run as there."""

    def __post_init__(self) -> None:
        self.connection = Hurried(self.connection)
        self.system = Once(lambda: system.read_system(self.connection))
        self.facts = Once(lambda: read_facts(self.connection, emulated=self.emulated))
        self.user = Once(self._user)

    @property
    def is_local(self) -> bool:
        """Whether it is this machine."""
        return not self.login

    def ask(self, script: str, *words: str) -> str:
        """What a script for ``sh`` prints there; its exit code says nothing."""
        return self.connection.run(["sh", "-c", script, "sh", *words], check=False).text

    def read(self, path: str) -> str:
        """The text of a file there; empty where it cannot be read."""
        files = system.read_files(self.connection, [path])
        return files.get(path, b"").decode(errors="replace")

    def line(self, text: str, *, at_home: bool = False) -> str:
        """The line that runs something there.

        Args:
            text: for a shell; ``{sudo}`` is where it needs root's rights.
            at_home: whether it names files from the folder on that programs begin in there.
        """
        sudo = "{sudo}" in text and self.user() != 0
        text = text.replace("{sudo}", "sudo " if sudo else "")
        if not self.is_local:
            return " ".join([*self._shell(sudo), quoted(text)])
        return f"(cd {quoted(str(self.home))} && {text})" if at_home else text

    def clock_line(self) -> str:
        """The line that gives it this machine's date."""
        sudo = self.user() != 0
        words = [*self._shell(sudo), *(["sudo"] if sudo else [])]
        return " ".join([*words, "date -s @$(date +%s)"])  # the inner one runs here

    def _shell(self, sudo: bool) -> list[str]:
        """The words that run something there; with a terminal where sudo asks for a password."""
        program, *rest = map(quoted, self.login)
        return [program, *(["-t"] if sudo else []), *rest]

    def _user(self) -> int | None:
        text = self.ask("id -u").strip()
        return int(text) if re.fullmatch("[0-9]{1,9}", text) else None
