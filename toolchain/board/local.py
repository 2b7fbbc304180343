"""This machine as a board: the same interface, through subprocess."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, BinaryIO

from toolchain import children, interrupts
from toolchain.board.connection import (
    CHUNK,
    MOST,
    Advance,
    Connection,
    FloodError,
    Sink,
    next_piece,
)
from toolchain.storage.cache import hold

_LOOK_S = 0.25
"""So often it is looked at what a program has written: one that has no end fills no disk."""


class LocalConnection(Connection):
    """Runs programs here; relative paths are relative to ``home``.

    Args:
        name: what messages call the board.
        home: a folder, which is made if it is not there, and held: it is one of the cache.
        look_only: leave it as it is. Where it is not there, programs run in the nearest folder
            above that is.
    """

    def __init__(self, name: str, home: Path, *, look_only: bool = False) -> None:
        self.name = name
        if look_only:
            home = next(part for part in (home, *home.absolute().parents) if part.is_dir())
        else:
            home.mkdir(parents=True, exist_ok=True)
            hold(home)
        self.home = home
        """The folder that programs run in."""

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
        """See :meth:`Connection.execute`; a disk of this machine is waited for."""
        del stall
        deadline = None if timeout is None else time.monotonic() + timeout
        # Output goes through files: no pipe can fill up while the other one is read.
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            try:
                process = subprocess.Popen(
                    list(argv),
                    stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
                    stdout=subprocess.DEVNULL if stdout is None else output,
                    stderr=errors,
                    cwd=self.home,
                    process_group=0,
                )
            except OSError as error:
                return 127, f"{argv[0]}: {error.strerror}"
            reader = _Reader(output, errors, stdout, advance if stdin is None else None)
            try:
                if stdin is not None and process.stdin is not None:
                    _feed(process.stdin, stdin, advance)
                for left in _looks(deadline):
                    with suppress(subprocess.TimeoutExpired):
                        children.wait(process, left)
                    reader.take()
                    if process.returncode is not None:
                        break
                else:
                    raise self.time_up(argv[0], timeout or 0.0)
            except FloodError as error:
                raise self.too_much(argv[0]) from error
            finally:
                # poll() would take the exit code, and with it the certainty whose group it is.
                if process.returncode is None:
                    children.kill_group(process)
            code = process.returncode
            errors.seek(0)
            text = errors.read().decode("utf-8", errors="replace")
        return (128 - code if code < 0 else code), text

    def close(self) -> None:
        """Nothing is held."""


def _looks(deadline: float | None) -> Iterator[float]:
    """Short waits, seconds each, until a point of the monotonic clock."""
    while deadline is None or (left := deadline - time.monotonic()) > 0:
        yield _LOOK_S if deadline is None else min(_LOOK_S, left)


class _Reader:
    """Passes on what a program writes into a file, while it does.

    Args:
        output: the file; its position is the program's, which has it, too.
        errors: that of what it writes to standard error, which stays there.
        sink: takes what is passed on.
        advance: is told how many bytes have come.
    """

    def __init__(
        self, output: IO[bytes], errors: IO[bytes], sink: Sink | None, advance: Advance | None
    ) -> None:
        self._output, self._errors = output.fileno(), errors.fileno()
        self._sink, self._advance = sink, advance
        self._taken = 0

    def take(self) -> None:
        """Pass on what is new.

        Raises:
            FloodError: the sink takes no more, or standard error has too much.
        """
        while self._sink and (piece := os.pread(self._output, CHUNK, self._taken)):
            self._taken += len(piece)
            self._sink.write(piece)
            if self._advance:
                self._advance(len(piece))
        if os.fstat(self._errors).st_size > MOST:
            raise FloodError


def _feed(sink: IO[bytes], source: BinaryIO, advance: Advance | None) -> None:
    # A program that ends early breaks the pipe: its exit code and standard error say why.
    with suppress(BrokenPipeError), sink:
        while piece := next_piece(source):
            interrupts.check()
            sink.write(piece)
            if advance:
                advance(len(piece))
