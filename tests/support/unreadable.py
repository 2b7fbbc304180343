"""A file of a disk that goes away while it is read."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path


class _Unreadable(io.FileIO):
    def __init__(self, path: Path, size: int) -> None:
        super().__init__(path)
        self._left = size

    def read(self, size: int | None = -1, /) -> bytes:
        if self._left <= 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        piece = super().read(size) or b""
        self._left -= len(piece)
        return piece


def unreadable_after(path: Path, size: int) -> io.FileIO:
    """Write a file, and open it so that it cannot be read on.

    Args:
        path: where.
        size: bytes that can be read, about; it has twice as many.
    """
    with io.FileIO(path, "w") as file:
        file.write(bytes(2 * size))
    return _Unreadable(path, size)
