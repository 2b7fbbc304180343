"""Files that come from anybody, read without waiting for ever and without more than a limit.

A pipe that nobody writes to, ``/dev/zero`` and a file with a hole of terabytes are files, too.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import time
from contextlib import suppress
from pathlib import Path

from toolchain.errors import DeployError
from toolchain.hints import nearest

LARGEST = 64 << 20
"""Bytes of a text file, at most."""
PATIENCE_S = 30.0
"""Seconds in which something has to come out of a pipe."""
_PIECE = 1 << 20
_NULL = os.makedev(1, 3)
"""``/dev/null``, which stands for a file that holds nothing."""


def read_limited(
    path: Path, most: int = LARGEST, *, pipe: bool = False, patience: float | None = None
) -> bytes:
    """A file's content.

    Args:
        path: of the file.
        most: bytes that it may have.
        pipe: whether it may be a pipe or a device, which are read until they end.
        patience: seconds in which something has to come out of one; :data:`PATIENCE_S` unless
            given.

    Raises:
        OSError: it cannot be read, is no regular file, or has more; says so in ``strerror``.
    """
    # Whoever opens a pipe without this waits for somebody who writes to it.
    number = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        found = os.fstat(number)
        kind = found.st_mode
        if stat.S_ISDIR(kind):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
        if stat.S_ISCHR(kind) and found.st_rdev == _NULL:
            return b""
        if not stat.S_ISREG(kind) and not (pipe and (stat.S_ISFIFO(kind) or stat.S_ISCHR(kind))):
            raise OSError(errno.EINVAL, "is a device, a pipe or a socket, and no file")
        if stat.S_ISREG(kind) and found.st_size > most:
            raise _too_large(most)
        return _content(number, most, PATIENCE_S if patience is None else patience)
    finally:
        os.close(number)


def check_readable(path: Path, fault: type[DeployError], *, pipe: bool = False) -> None:
    """Make sure that a file is there and can be read, before what is slow. Nothing is opened.

    Args:
        path: of the file.
        fault: the class of the error.
        pipe: whether it may be a pipe, as of ``<(...)``: it is read once.

    Raises:
        DeployError: of class ``fault``: it is not, or is a folder or a device.
    """
    try:
        kind = path.stat().st_mode
        if stat.S_ISFIFO(kind) and not pipe:
            raise fault(
                f"{path}: cannot be read: is a pipe, and would have to be read more than once",
                hint="write what comes out of it to a file, and give that",
            )
        if not stat.S_ISDIR(kind) and not stat.S_ISREG(kind) and not stat.S_ISFIFO(kind):
            raise fault(f"{path}: cannot be read: is a device or a socket, and no file")
        if not stat.S_ISDIR(kind) and os.access(path, os.R_OK):
            return
        number = errno.EISDIR if stat.S_ISDIR(kind) else errno.EACCES
    except OSError as error:
        raise fault(f"{path}: cannot be read: {error.strerror}", hint=_nearest(path)) from error
    raise fault(f"{path}: cannot be read: {os.strerror(number)}")


def _nearest(path: Path) -> str | None:
    """A file beside one that is not there, with a name much like it."""
    with suppress(OSError):
        names = (item.name for item in path.parent.iterdir() if item.suffix == path.suffix)
        if meant := nearest(path.name, names):
            return f"did you mean {path.with_name(meant)}?"
    return None


def _content(number: int, most: int, patience: float) -> bytes:
    content = bytearray()
    last = time.monotonic()
    waiting = select.poll()
    waiting.register(number, select.POLLIN)
    while len(content) <= most:
        try:
            piece = os.read(number, _PIECE)
        except BlockingIOError:
            piece = None
        if piece:
            content += piece
            last = time.monotonic()
        elif piece is not None and (content or stat.S_ISREG(os.fstat(number).st_mode)):
            return bytes(content)
        else:  # nothing yet: nobody writes, or has not written
            left = patience - (time.monotonic() - last)
            if left <= 0:
                raise OSError(errno.ETIMEDOUT, f"nothing has come out of it for {patience:g} s")
            if piece is None:
                waiting.poll(left * 1000)
            else:
                time.sleep(min(left, 0.05))
    raise _too_large(most)


def _too_large(most: int) -> OSError:
    size = f"{most >> 20} MiB" if most >> 20 else f"{most} bytes"
    return OSError(errno.EFBIG, f"is larger than {size}")
