"""This machine as a board: the same interface, through subprocess."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, BinaryIO

from toolchain import children, interrupts
from toolchain.board.connection import CHUNK, Advance, Connection, FloodError, Sink
from toolchain.storage.cache import hold


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
            try:
                if stdin is not None and process.stdin is not None:
                    _feed(process.stdin, stdin, advance)
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                code = children.wait(process, left)
            except subprocess.TimeoutExpired as error:
                raise self.time_up(argv[0], timeout or 0.0) from error
            finally:
                # poll() would take the exit code, and with it the certainty whose group it is.
                if process.returncode is None:
                    children.kill_group(process)
            if stdout is not None:
                output.seek(0)
                while piece := output.read(CHUNK):
                    try:
                        stdout.write(piece)
                    except FloodError as error:
                        raise self.too_much(argv[0]) from error
                    if advance and stdin is None:
                        advance(len(piece))
            errors.seek(0)
            text = errors.read().decode("utf-8", errors="replace")
        return (128 - code if code < 0 else code), text

    def close(self) -> None:
        """Nothing is held."""


def _feed(sink: IO[bytes], source: BinaryIO, advance: Advance | None) -> None:
    # A program that ends early breaks the pipe: its exit code and standard error say why.
    with suppress(BrokenPipeError), sink:
        while piece := source.read(CHUNK):
            interrupts.check()
            sink.write(piece)
            if advance:
                advance(len(piece))
