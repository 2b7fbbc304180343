"""The finished tasks of a sweep: a folder each, which appears whole or not at all, and once.

Whoever asks for a result gets it from here, so that nothing else has to survive: a sweep that was
killed, in whichever part, goes on with what is here. The layout of the folder::

    done/<kind>-<key>/result.json    a finished task, with its files beside it
    work/<kind>-<key>/               what a task that is not finished needs to go on
    work/<kind>-<key>.lock           held by the process that is at work on it
"""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import filelock
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from toolchain.errors import OutputError
from toolchain.formats.json_text import to_json
from toolchain.storage.cache import sha256_file
from toolchain.storage.files import check_folder, disk_full, make_folder, write_whole
from toolchain.storage.scratch import scratch_folder
from toolchain.sweep.tasks import Kind, Task

RESULT = "result.json"
_LOOK_S = 0.2


class Record(BaseModel):
    """A finished task."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = Field(default=1, alias="schema")
    key: str
    kind: Kind
    name: str
    result: dict[str, Any]
    """What came out: the same wherever it is done."""
    files: dict[str, str]
    """The files beside it, with their SHA-256."""
    host: str
    """The machine that did it."""
    seconds: float
    """That it took there, the last time that it was begun."""


class Store:
    """The folder of one sweep.

    Args:
        folder: made when something is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()

    def check(self) -> None:
        """Make sure that it can be written to.

        Raises:
            OutputError: it cannot.
        """
        check_folder(self.folder)

    def place(self, task: Task) -> Path:
        """The folder of a task's result, there or not."""
        return self.folder / "done" / task.folder

    def state(self, task: Task) -> Path:
        """The folder in which an unfinished task keeps what it needs to go on."""
        return self.folder / "work" / task.folder

    def record(self, task: Task) -> Record | None:
        """The result of a task; ``None`` if it is not finished, or what is there is damaged."""
        place = self.place(task)
        try:
            found = Record.model_validate_json((place / RESULT).read_bytes())
            whole = all(sha256_file(place / name) == sha for name, sha in found.files.items())
        except (OSError, ValidationError):
            return None
        return found if whole and found.key == task.key else None

    def once(self, task: Task, work: Callable[[Path], dict[str, Any]]) -> Record:
        """The result of a task, which is made if it is not there.

        One process at a time works on a task; another one waits, and takes what the first has made.

        Args:
            task: what is to be done.
            work: does it: fills an empty folder with files, and returns the result.

        Raises:
            OutputError: the folder cannot be written.
            Exception: what ``work`` raises; nothing is kept then.
        """
        with self._claimed(task):
            if (found := self.record(task)) is not None:
                return found
            place, started = self.place(task), time.monotonic()
            try:
                with scratch_folder(place) as scratch:
                    result = work(scratch)
                    record = Record(
                        key=task.key,
                        kind=task.kind,
                        name=task.name,
                        result=result,
                        files=_hashes(scratch),
                        host=socket.gethostname(),
                        seconds=round(time.monotonic() - started, 3),
                    )
                    write_whole(scratch / RESULT, to_json(record).encode() + b"\n")
                    return self._kept(task, scratch, record)
            except OSError as error:
                if (full := disk_full(error, place)) is None:
                    raise
                raise full from error

    def adopt(self, task: Task, files: dict[str, bytes]) -> Record:
        """Keep the result of a task that was done in another folder.

        Args:
            task: which.
            files: the content of its folder, by name.

        Raises:
            OutputError: it is not whole, or the folder cannot be written.
        """
        with self._claimed(task):
            if (found := self.record(task)) is not None:
                return found
            with scratch_folder(self.place(task)) as scratch:
                for name, content in files.items():
                    write_whole(scratch / Path(name).name, content)
                try:
                    record = Record.model_validate_json(files[RESULT])
                except (KeyError, ValidationError) as error:
                    raise OutputError(f"{task.name}: its result did not arrive whole") from error
                return self._kept(task, scratch, record)

    def packed(self, task: Task) -> dict[str, bytes]:
        """The files of a finished task, by name, as :meth:`adopt` takes them."""
        place = self.place(task)
        return {path.name: path.read_bytes() for path in sorted(place.iterdir()) if path.is_file()}

    def _kept(self, task: Task, scratch: Path, record: Record) -> Record:
        """Give a result its name; the first one stays, where machines do not share locks."""
        place = self.place(task)
        scratch.chmod(0o755)
        _sync(scratch)
        for _ in range(2):
            try:
                scratch.rename(place)
            except OSError:
                if (found := self.record(task)) is not None:
                    return found
                self._set_aside(place)
                continue
            shutil.rmtree(self.state(task), ignore_errors=True)
            return record
        raise OutputError(f"{place}: cannot be written", hint="look at what is there, or remove it")

    def _set_aside(self, place: Path) -> None:
        """Remove a result that is damaged."""
        with scratch_folder(place) as scratch, suppress(OSError):
            place.rename(scratch / "damaged")

    @contextmanager
    def _claimed(self, task: Task) -> Iterator[None]:
        """Hold a task, once whoever held it has finished or died."""
        make_folder(self.folder / "done")
        make_folder(self.folder / "work")
        lock = filelock.FileLock(f"{self.state(task)}.lock")
        while True:
            try:
                lock.acquire(timeout=_LOOK_S)
                break
            except filelock.Timeout:
                continue
            except (OSError, NotImplementedError):  # a file system without locks
                yield
                return
        try:
            yield
        finally:
            if self.place(task).exists():
                with suppress(OSError):
                    Path(lock.lock_file).unlink()
            lock.release()


def _hashes(folder: Path) -> dict[str, str]:
    return {path.name: sha256_file(path) for path in sorted(folder.iterdir()) if path.is_file()}


def _sync(folder: Path) -> None:
    """Bring a folder's files to the disk, before its name is."""
    for path in folder.iterdir():
        number = os.open(path, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
