"""A board that is worked on: it is reached, taken, and has the runtime."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

from toolchain.board.connect import connect
from toolchain.board.connection import Connection
from toolchain.board.invoke import TIMEOUT_S, BoardRunner, load_bundle
from toolchain.board.lease import WAIT_S, Lease
from toolchain.board.target import parse_host
from toolchain.build.bundle import Bundle
from toolchain.hardware.board_file import Board
from toolchain.progress import Progress, Silent


@dataclass(frozen=True)
class Access:
    """How a board is reached and had."""

    host: str | None = None
    """What one gives to ``ssh``; goes before what the board's file says."""
    identity: Path | None = None
    """The only key to log in with."""
    bundle: Path | None = None
    """The folder of the runtime; ``build/BOARD`` if ``None``."""
    timeout: float | None = None
    """Seconds that one run of the runner may take; 3600 if ``None``."""
    queue: float | None = None
    """Seconds to wait for others who use the board; 3600 if ``None``."""
    force: bool = False
    """Whether what the same user does there is ended, rather than waited for."""


@dataclass(frozen=True)
class Purpose:
    """What a board is taken for."""

    words: str
    """As others are told who wait for it."""
    shared: bool = False
    """Whether others may compute at the same time, none of whom measures."""

    @classmethod
    def of(cls, command: str, models: Sequence[Path], *, shared: bool = False) -> Purpose:
        """The purpose of a command that works on models: ``profile dense.tflite and 1 more``."""
        first, *more = [model.name for model in models]
        words = f"{command} {first}" + (f" and {len(more)} more" if more else "")
        return cls(words, shared)


class BoardSession:
    """A board, connected while the session is entered, and otherwise for each use of it.

    Nothing is looked at before it is entered or used.

    Args:
        board: its file.
        access: how it is reached and had.
        progress: is told what is done there.
    """

    def __init__(
        self, board: Board, access: Access | None = None, progress: Progress | None = None
    ) -> None:
        self.board = board
        self.access = access or Access()
        self.progress = progress or Silent()
        self._connection: Connection | None = None
        self._reached: str | None = None

    @property
    def name(self) -> str:
        """What results call the board: after its connection, once the runtime was there."""
        return self._reached or self.board.name

    @cached_property
    def bundle(self) -> Bundle:
        """The runtime.

        Raises:
            BundleError: it is not built.
        """
        return load_bundle(self.board, self.access.bundle)

    @property
    def connection(self) -> Connection:
        """To the board, while there is one."""
        assert self._connection is not None  # noqa: S101 (whoever asks has entered the session)
        return self._connection

    def __enter__(self) -> Self:
        """Connect.

        Raises:
            BundleError: the bundle is not built.
            ConnectionFailed: the board is not reached.
            EmulatorError: the emulated board does not run.
        """
        access = self.access
        if access.host is not None:
            parse_host(access.host)
        _ = self.bundle
        self._connection = connect(self.board, access.host, identity=access.identity).__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.__exit__(kind, value, trace)

    @contextmanager
    def runner(self, purpose: Purpose | None = None) -> Iterator[BoardRunner]:
        """Take the board, and bring the runtime there.

        Args:
            purpose: what for; without one no lease is taken.

        Raises:
            BundleError: the bundle is not built.
            BoardError: the board is not reached, or the bundle is not for it.
            LeaseError: others do not leave it.
        """
        with ExitStack() as stack:
            if self._connection is None:
                stack.enter_context(self)
            lease = stack.enter_context(self._lease(purpose)) if purpose else None
            runner = BoardRunner(
                self.connection,
                self.board,
                self.bundle,
                self.progress,
                timeout=self.access.timeout or TIMEOUT_S,
                still=lease.require if lease else None,
            )
            self._reached = self.connection.name
            yield runner

    def _lease(self, purpose: Purpose) -> Lease:
        queue = self.access.queue
        return Lease(
            self.connection,
            purpose.words,
            shared=purpose.shared,
            wait=WAIT_S if queue is None else queue,
            force=self.access.force,
            note=self.progress.note,
        )
