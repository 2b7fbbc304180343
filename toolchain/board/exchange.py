"""A program on a board over SSH: what goes in, what comes out, and how long nothing may move."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO

import paramiko

from toolchain import interrupts
from toolchain.board import remote_shell
from toolchain.board.connection import CHUNK, MOST, Advance, FloodError, Sink, next_piece
from toolchain.board.remote_shell import ABANDONED, BEAT, BetweenMarks
from toolchain.errors import BoardError, ConnectionFailed, DeployError, OutputError
from toolchain.foreign_text import shortened

if TYPE_CHECKING:
    from toolchain.board.ssh import SshConnection

_PACKET = 32 * 1024 - 64
"""Bytes that one packet takes, about: what is more would be copied again for each."""
_BEGIN_TIMEOUT_S = 120.0
"""Seconds that a login's start-up files may take before the program begins."""
_GREETING = 1 << 20
"""Bytes that they may print until then."""


class Limits:
    """How long a program may take, and how long nothing of it may move.

    Args:
        connection: to the board.
        program: for messages.
        timeout: seconds for all of it.
        stall: seconds in which something has to move.
    """

    def __init__(
        self, connection: SshConnection, program: str, timeout: float | None, stall: float | None
    ) -> None:
        self._connection, self._program = connection, program
        self._timeout, self._stall = timeout, stall
        self._begun = self._moved = time.monotonic()

    def moved(self) -> None:
        """Something was sent or received."""
        self._moved = time.monotonic()

    def check(self) -> None:
        """Raise ``TimeUp`` where one is reached, and end where this thread's work is to."""
        interrupts.check()
        now = time.monotonic()
        if self._timeout is not None and now - self._begun > self._timeout:
            raise self._connection.time_up(self._program, self._timeout)
        if self._stall is not None and now - self._moved > self._stall:
            raise self._connection.time_up(self._program, self._stall, stalled=True)


class Exchange:
    """One program on the board: what goes in, and what comes out.

    Args:
        connection: to the board.
        program: for messages.
        mark: stands around what comes from the program itself (:mod:`.remote_shell`).
        stdin: what it reads.
        stdout: takes what it writes.
        advance: is told of bytes that were sent, or received where nothing is.
        limits: of its time.
    """

    def __init__(
        self,
        connection: SshConnection,
        program: str,
        mark: bytes,
        stdin: BinaryIO | None,
        stdout: Sink | None,
        advance: Advance | None,
        limits: Limits,
    ) -> None:
        self._connection, self._program = connection, program
        self._stdin, self._stdout = stdin, stdout
        self._advance, self._limits = advance, limits
        self._between_beats = remote_shell.beat_every(connection.linger)
        self._errors = bytearray()
        self._failure: OSError | None = None
        self._between = BetweenMarks(mark, self._keep)
        self._errors_between = BetweenMarks(mark, self._keep_errors)

    def run(self, channel: paramiko.Channel) -> tuple[int, str]:
        """Exit code and standard error.

        Raises:
            ModelError: what it reads cannot be read here any longer.
            OutputError: what it writes cannot be kept here.
            BoardError: a limit is reached, it wrote too much, or the login runs nothing.
            ConnectionFailed: the board went away, or has ended it.
        """

        def read(receive: Callable[[int], bytes], into: BetweenMarks) -> None:
            while True:
                try:
                    piece = receive(CHUNK)
                except TimeoutError:  # nothing has come yet
                    continue
                if not piece:
                    break
                self._limits.moved()
                into.feed(piece)
            into.finish()

        readers = [
            threading.Thread(target=read, args=streams, daemon=True)
            for streams in (
                (channel.recv, self._between),
                (channel.recv_stderr, self._errors_between),
            )
        ]
        for reader in readers:
            reader.start()
        self._await_begin(readers)
        self._feed(channel)
        last_beat = time.monotonic()
        while any(reader.is_alive() for reader in readers) and not self._is_over(channel):
            if self._failure:
                raise self._not_kept()
            self._limits.check()
            if self._stdin is None and time.monotonic() - last_beat > self._between_beats:
                last_beat = time.monotonic()
                with suppress(OSError):  # the program has ended just now, or takes no more
                    channel.send(BEAT)
            readers[0].join(0.1)
            readers[1].join(0.1)
        while not channel.status_event.wait(0.1):
            if channel.closed or not self._connection.is_alive:
                break
        code = channel.recv_exit_status() if channel.status_event.is_set() else -1
        if code < 0:
            raise self._connection.lost()
        if not self._between.found:
            raise self._runs_nothing(code)
        if code == ABANDONED and not self._between.ended:
            raise self._abandoned()
        if self._failure:
            raise self._not_kept()
        return code, self._errors.decode("utf-8", errors="replace")

    def _await_begin(self, readers: Sequence[threading.Thread]) -> None:
        """Wait for the mark: what a login reads itself must not be the program's input."""
        limit = time.monotonic() + _BEGIN_TIMEOUT_S
        while not self._between.wait(0.1):
            if not any(reader.is_alive() for reader in readers):
                return
            self._limits.check()
            if max(self._between.skipped, self._errors_between.skipped) > _GREETING:
                raise self._connection.too_much("the login")
            if time.monotonic() > limit:
                raise BoardError(
                    f"{self._connection.name}: the login there has run no command after "
                    f"{_BEGIN_TIMEOUT_S:g} s; {self._words()}",
                    hint="its start-up files may wait for something, or start another shell: let "
                    "them pass where there is no terminal",
                )

    def _is_over(self, channel: paramiko.Channel) -> bool:
        """Whether all has come, though something that a login left still holds a stream open."""
        return channel.status_event.is_set() and self._between.ended and self._errors_between.ended

    def _feed(self, channel: paramiko.Channel) -> None:
        if self._stdin is None:
            return
        while piece := next_piece(self._stdin):
            interrupts.check()
            place = 0
            try:
                while place < len(piece):
                    place += self._send(channel, piece[place : place + _PACKET])
            except OSError:  # a program that ends early closes the channel: its exit says why
                return
            if self._advance:
                self._advance(len(piece))
        with suppress(OSError):  # likewise
            channel.shutdown_write()

    def _send(self, channel: paramiko.Channel, piece: bytes) -> int:
        """Send some of a piece; how much of it."""
        while True:
            try:
                sent = channel.send(piece)
            except TimeoutError:  # the program takes nothing now
                self._limits.check()
                continue
            if not sent:
                raise BrokenPipeError
            self._limits.moved()
            return sent

    def _keep(self, piece: bytes) -> None:
        if self._stdout is not None and not self._failure:
            try:
                self._stdout.write(piece)
            except OSError as error:
                self._failure = error
        if self._advance and self._stdin is None:
            self._advance(len(piece))

    def _keep_errors(self, piece: bytes) -> None:
        self._errors += piece
        if len(self._errors) > MOST:
            self._failure = self._failure or FloodError()
            self._errors.clear()

    def _not_kept(self) -> DeployError:
        if isinstance(self._failure, FloodError):
            return self._connection.too_much(self._program)
        said = self._failure.strerror if self._failure else ""
        return OutputError(f"what {self._program} wrote cannot be kept here: {said}")

    def _abandoned(self) -> ConnectionFailed:
        return ConnectionFailed(
            f"{self._connection.name}: the board has ended {self._program}, for it heard nothing "
            f"from here for {self._connection.linger} s",
            hint="this program was stopped that long, or the link stood still: try again",
        )

    def _runs_nothing(self, code: int) -> BoardError:
        return BoardError(
            f"{self._connection.name}: the login there runs no commands (exit code {code}); "
            f"{self._words()}",
            hint="give the user a shell (chsh -s /bin/sh on the board), and let its start-up files "
            "pass where there is no terminal",
        )

    def _words(self) -> str:
        said = [self._between.before, self._errors_between.before]
        lines = [line.strip() for text in said for line in text.splitlines() if line.strip()]
        return f"it says: {'; '.join(map(shortened, lines[-3:]))}" if lines else "it says nothing"
