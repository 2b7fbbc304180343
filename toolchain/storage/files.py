"""Files that appear whole: written under another name beside their place, then renamed.

Whoever reads meanwhile, and whoever comes after a fault, an interrupt or a loss of power, finds
the file as it was before or as it is afterwards.

A symbolic link is followed, and stays. What is no regular file (a terminal, ``/dev/null``, a named
pipe) is written to once the content is whole, and never renamed over; so is standard output, which
is called :data:`STDOUT`.
"""

from __future__ import annotations

import errno
import io
import os
import shlex
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from toolchain.errors import DeployError, OutputError
from toolchain.storage.scratch import scratch_file

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""How a disk says that it takes no more."""
STDOUT = Path("-")
"""What stands for standard output where a file is asked for; ``./-`` is a file of that name."""


def write_whole(
    path: Path,
    content: bytes | memoryview | Callable[[BinaryIO], object],
    fault: type[DeployError] = OutputError,
) -> None:
    """Write a file, replacing the one that may be there.

    Args:
        path: in a folder that exists.
        content: what the file gets, or a function that writes it to a stream.
        fault: the class of the error.

    Raises:
        DeployError: of class ``fault``: the file cannot be written. Nothing is left behind.
    """
    # Into memory first: what torch and numpy raise where a disk is full does not say so.
    if callable(content):
        stream = io.BytesIO()
        content(stream)
        content = stream.getbuffer()
    with written_whole(path, fault) as scratch:
        try:
            scratch.write_bytes(content)
        except OSError as error:
            raise _cannot_be_written(path, error, fault) from error


@contextmanager
def written_whole(path: Path, fault: type[DeployError] = OutputError) -> Iterator[Path]:
    """An empty file beside ``path``, which takes its place when the block ends well.

    Else it is removed. A place that cannot be written to is told before the block begins, a full
    disk that the block runs into as what ``path`` cannot be written for. Where
    ``path`` is no regular file the empty one is among the temporary files, and is copied to it.

    Args:
        path: in a folder that exists.
        fault: the class of the error.

    Raises:
        DeployError: of class ``fault``: the file cannot be made or cannot be renamed.
    """
    place = _place(path, fault)
    with _among_temporary(path, fault) if place is None else _beside(place, fault) as scratch:
        try:
            yield scratch
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise _cannot_be_written(path, error, fault) from error
        try:
            if place is None:
                _copy_to_stream(scratch, path)
            else:
                _sync(scratch)
                scratch.replace(place)
        except OSError as error:
            raise _cannot_be_written(path, error, fault) from error


def disk_full(error: OSError, place: Path | None = None) -> OutputError | None:
    """What to tell of an error that says that a disk is full; ``None`` if it says something else.

    Args:
        error: of whatever was written; one of ``shutil.copytree`` has those of its files.
        place: what was to be written, where that is known; else the path is what the error names.
    """
    named, reason = error.filename2 or error.filename, error.strerror
    if isinstance(error, shutil.Error) and error.args and error.args[0]:
        _, named, reason = error.args[0][0]
        error = next((OSError(no, "") for no in FULL if f"[Errno {no}]" in str(reason)), error)
        reason = os.strerror(error.errno or 0)
    if error.errno not in FULL:
        return None
    path = place or named
    where = f"{os.fsdecode(path)}: " if path is not None else ""
    return OutputError(f"{where}cannot be written: {reason}", hint="free some space there")


def make_folder(folder: Path, fault: type[DeployError] = OutputError) -> None:
    """Make a folder, and those above it, unless it is there.

    Raises:
        DeployError: of class ``fault``: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise fault(f"{folder}: cannot be written: {error.strerror or error}") from error


def write_into(folder: Path, contents: Mapping[str, bytes]) -> list[Path]:
    """Write files, by name, into a folder that is made if it is not there; returns their paths.

    Raises:
        OutputError: the folder cannot be made, or a file not be written.
    """
    make_folder(folder)
    for name, content in contents.items():
        write_whole(folder / name, content)
    return [folder / name for name in contents]


def check_writable(
    path: Path,
    fault: type[DeployError] = OutputError,
    *,
    suffixes: Sequence[str] = (),
    inputs: Iterable[Path] = (),
) -> None:
    """Make sure that a file can be written, before the work whose result it gets.

    Args:
        path: the file; its folder has to exist.
        fault: the class of the error.
        suffixes: those that the name may end in, such as ``.png``; any if empty.
        inputs: files that the work reads, none of which may be replaced by its result.

    Raises:
        DeployError: of class ``fault``: it cannot.
    """
    if suffixes and path.suffix.lower() not in suffixes:
        ends = f"ends in '{path.suffix}'" if path.suffix else "has no suffix"
        raise fault(
            f"{path}: the name of this output {ends}",
            hint=f"use one of {', '.join(suffixes)}: {path.with_suffix(suffixes[0])}",
        )
    for source in inputs:
        if same_place(path, source):
            raise fault(
                f"{path}: is read here, and would be replaced by what is written",
                hint="give the output another name",
            )
    place = _place(path, fault)
    if place is not None:
        with _beside(place, fault):
            pass


def check_folder(folder: Path, fault: type[DeployError] = OutputError) -> None:
    """Make sure that a folder can be made and written to, before the work whose results it gets.

    Nothing is left behind, so that work that fails later leaves no empty folder.

    Raises:
        DeployError: of class ``fault``: it cannot.
    """
    if folder == STDOUT:
        raise fault("standard output (-) is no folder", hint="for a folder of that name give: ./-")
    there = folder
    try:
        while not there.exists() and not there.is_symlink() and there != there.parent:
            there = there.parent
    except OSError as error:
        raise fault(f"{folder}: cannot be written: {error.strerror or error}") from error
    if not there.is_dir():
        raise fault(
            f"{folder}: cannot be written: {there} is no folder", hint="give the name of a folder"
        )
    try:
        with scratch_file(there / (folder.name or "folder")):
            pass
    except OSError as error:
        raise fault(
            f"{folder}: cannot be written: {error.strerror or error}",
            hint="choose a folder that you may write to",
        ) from error


def check_name(path: Path, fault: type[DeployError]) -> None:
    """Make sure that a file can be given to programs and libraries which take UTF-8 alone.

    Raises:
        DeployError: of class ``fault``: its path holds other bytes.
    """
    try:
        str(path.absolute()).encode()
    except UnicodeEncodeError as error:
        raise fault(
            f"{path}: its path holds bytes that are not UTF-8",
            hint="rename it, or its folder: TensorFlow Lite, QEMU and others take no such names",
        ) from error


def write_or_keep(path: Path, content: bytes, fault: type[DeployError] = OutputError) -> None:
    """Write a file; what cannot be written there is kept among the temporary files.

    For results that cost work: the disk that was checked before may be full afterwards.

    Args:
        path: in a folder that exists.
        content: what the file gets.
        fault: the class of the error.

    Raises:
        DeployError: of class ``fault``: it cannot be written; the hint is where it is kept.
    """
    try:
        write_whole(path, content, fault)
    except DeployError as error:
        try:
            name = "output" if path == STDOUT else path.name
            kept = Path(tempfile.mkdtemp(prefix="tileskip-")) / name
            kept.write_bytes(content)
        except OSError as second:
            raise fault(
                f"{error.what}; nor can it be kept among the temporary files: "
                f"{second.strerror or second}",
                hint=error.hint,
            ) from error
        raise fault(error.what, hint=f"what it was to hold is kept in {kept}") from error


def same_place(one: Path, other: Path) -> bool:
    """Whether two paths are of one file, be it there or not."""
    try:
        return one.samefile(other)
    except OSError:  # one of the two is not there
        return os.path.realpath(one) == os.path.realpath(other)


def _place(path: Path, fault: type[DeployError]) -> Path | None:
    """The regular file that ``path`` leads to, there or not; ``None`` for what is written to."""
    if path == STDOUT:
        return None
    try:
        kind = path.stat().st_mode
    except FileNotFoundError:
        kind = stat.S_IFREG  # also a link to a file that is not there yet
    except OSError as error:
        raise _cannot_be_written(path, error, fault) from error
    if stat.S_ISDIR(kind):
        raise fault(f"{path}: is a folder", hint="give the name of a file")
    if stat.S_ISBLK(kind) or stat.S_ISSOCK(kind):
        what = "a disk" if stat.S_ISBLK(kind) else "a socket"
        raise fault(f"{path}: is {what}", hint="give the name of a file")
    if path.exists() and not os.access(path, os.W_OK):
        raise fault(
            f"{path}: cannot be written: {os.strerror(errno.EACCES)}",
            hint="it is protected against writing: give another name",
        )
    if stat.S_ISREG(kind) and _descriptor(path) is None:
        return Path(os.path.realpath(path)) if path.is_symlink() else path
    return None


def _descriptor(path: Path) -> int | None:
    """The number of the file that this process has open and ``path`` is: 1 of ``/dev/stdout``."""
    while True:
        path = Path(os.path.realpath(path.parent), path.name)
        if str(path.parent) == f"/proc/{os.getpid()}/fd" and path.name.isdecimal():
            return int(path.name)
        if not path.is_symlink():
            return None
        path = path.parent / path.readlink()


@contextmanager
def _among_temporary(path: Path, fault: type[DeployError]) -> Iterator[Path]:
    try:
        number, name = tempfile.mkstemp(prefix="tileskip-")
    except OSError as error:
        raise fault(
            f"{path}: cannot be written by way of a temporary file: {error.strerror or error}",
            hint="free some space, or let TMPDIR name another folder",
        ) from error
    os.close(number)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _copy_to_stream(scratch: Path, path: Path) -> None:
    sys.stdout.flush()
    number = _descriptor(path)
    with scratch.open("rb") as content:
        if path == STDOUT:
            shutil.copyfileobj(content, sys.stdout.buffer)
            sys.stdout.buffer.flush()
        elif number is not None:  # opened anew, a file would be written from its beginning
            with os.fdopen(os.dup(number), "wb") as stream:
                shutil.copyfileobj(content, stream)
        else:
            with path.open("wb") as stream:  # of a named pipe: waits for its reader
                shutil.copyfileobj(content, stream)


@contextmanager
def _beside(path: Path, fault: type[DeployError]) -> Iterator[Path]:
    """An empty file ``.<name>-<hex>`` in the folder of ``path``, with the user's permissions."""
    with ExitStack() as stack:
        try:
            scratch = stack.enter_context(scratch_file(path))
        except OSError as error:
            raise _cannot_be_written(path, error, fault) from error
        yield scratch


def _cannot_be_written(path: Path, error: OSError, fault: type[DeployError]) -> DeployError:
    hint = None
    if error.errno == errno.ENOENT and not path.parent.exists():
        hint = f"make its folder: mkdir -p {shlex.quote(str(path.parent))}"
    elif error.errno == errno.ENOTDIR:
        hint = f"{_nearest_there(path)} is a file: choose another folder"
    elif isinstance(error, PermissionError) or error.errno in (errno.ENOENT, errno.EROFS):
        hint = "choose a folder that you may write to"
    return fault(f"{path}: cannot be written: {error.strerror or error}", hint=hint)


def _nearest_there(path: Path) -> Path:
    """The first part of a path, from its end, that exists."""
    return next((part for part in path.parents if os.path.lexists(part)), path)


def _sync(path: Path) -> None:
    # A rename may reach the disk before what was written does.
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
