"""The cleaning of one board: what lies there, what of it goes, and its removal under a lease."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from toolchain.board import push, store
from toolchain.board.connection import Connection
from toolchain.board.lease import Lease
from toolchain.board.store import Removed, Stored
from toolchain.errors import BoardError
from toolchain.hardware.board_file import Board
from toolchain.storage.cache_content import chosen


class Cleaning:
    """What lies on a board, and what becomes of it.

    Args:
        connection: to the board.
        board: its file.

    Raises:
        BoardError: another user could put something there, or the board does not tell.
    """

    def __init__(self, connection: Connection, board: Board) -> None:
        self.connection, self.board = connection, board
        self.content = store.stored(connection, board)
        self.wanted: list[Stored] = []
        """What goes, if nobody uses it by then."""
        self._used: list[Stored] = []
        self.done: Removed | None = None

    def choose(
        self,
        *,
        everything: bool = False,
        older_than: float | None = None,
        max_size: int | None = None,
    ) -> None:
        """Choose what goes, by the board's own clock; what a cut push has left does in any case.

        Args:
            everything: all that nobody uses now.
            older_than: seconds; what was not used for longer.
            max_size: bytes; what was used least recently, until no more than these are left.
        """
        now = max((item.last_used + item.age for item in self.content), default=None)
        found = chosen(
            self.content, everything=everything, older_than=older_than, max_size=max_size, now=now
        )
        self.wanted = [item for item in found if item.used_by is None]
        self._used = [item for item in found if item.used_by is not None]

    def remove(self, *, wait: float, force: bool, note: Callable[[str], None]) -> None:
        """Remove what was chosen, while nobody else works on the board.

        Args:
            wait: seconds to wait for others.
            force: end what others of the same user do there, rather than wait.
            note: is told who is waited for, and what is interrupted.

        Raises:
            LeaseError: others did not end in time.
            BoardError: some of it cannot be removed.
        """
        if not self.wanted:
            push.sweep(self.connection, self.board)
            self.done = Removed()
            return
        with Lease(self.connection, "clean", wait=wait, force=force, note=note) as lease:
            push.sweep(self.connection, self.board)
            lease.require()
            self.done = store.remove(self.connection, self.board, self.wanted)
        if self.done.faults:
            paths = ", ".join(f"{item.kind}/{item.hash}" for item in self.done.faults)
            raise BoardError(
                f"{self.connection.name}: {paths}: cannot be removed",
                hint="see what lies there and whose it is (ls -la): only files are removed, and "
                "only by who may",
            )

    @property
    def kept(self) -> list[tuple[Stored, str]]:
        """What should go and stays, and who uses it."""
        kept = [(item, item.used_by or "") for item in self._used]
        return kept + (self.done.kept if self.done else [])

    def document(self, *, dry_run: bool) -> dict[str, Any]:
        """All of it, for JSON."""
        gone = self.wanted if dry_run else self.done.removed if self.done else []
        return {
            "board": self.connection.name,
            "bytes": sum(item.bytes for item in self.content),
            "freed": sum(item.bytes for item in gone),
            "removed": [item.document() for item in gone],
            "kept": [{**item.document(), "used_by": user} for item, user in self.kept],
        }
