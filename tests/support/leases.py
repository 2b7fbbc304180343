"""Someone who wants a board's lease, and what is said meanwhile."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable

from support.patience import PATIENCE
from toolchain.board.connection import Connection
from toolchain.board.lease import Lease
from toolchain.errors import DeployError


class Told:
    """What a lease says while it waits."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, line: str) -> None:
        self.lines.append(line)

    def has(self, pattern: str) -> Callable[[], bool]:
        return lambda: any(re.search(pattern, line) for line in self.lines)


class Waiting(threading.Thread):
    """Someone who wants a lease, in a thread; it is given back once ``end`` is set."""

    def __init__(self, board: Connection, purpose: str, *, shared: bool = False) -> None:
        super().__init__(daemon=True)
        self.told = Told()
        self.lease = Lease(board, purpose, shared=shared, note=self.told)
        self.held, self.end = threading.Event(), threading.Event()
        self.error: DeployError | None = None
        self.start()

    def run(self) -> None:
        try:
            with self.lease:
                self.held.set()
                self.end.wait(PATIENCE)
        except DeployError as error:
            self.error = error

    def finish(self) -> None:
        self.end.set()
        self.join(PATIENCE)
        assert not self.is_alive()
