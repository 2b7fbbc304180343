"""Write a newc cpio archive, the format of a Linux initramfs.

Format: ``Documentation/driver-api/early-userspace/buffer-format.rst`` in the Linux sources. Owners
are root and times are zero, so equal contents give equal bytes; no privilege is needed, not even
for device nodes.
"""

from __future__ import annotations

import stat
from pathlib import PurePosixPath
from typing import BinaryIO

_TRAILER = "TRAILER!!!"


class CpioWriter:
    """Writes entries to ``stream`` in order; parent folders are added where they are missing.

    Paths are relative to the root of the archive (``usr/bin/busybox``). Call :meth:`close` at the
    end: an archive without its trailer is refused by the kernel.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._inode = 0
        self._seen: set[str] = set()

    def directory(self, path: str, mode: int = 0o755) -> None:
        """Add a folder; raises ``ValueError`` if the path is already there."""
        self._add(path, stat.S_IFDIR | mode)

    def file(self, path: str, data: bytes, mode: int = 0o644) -> None:
        """Add a regular file; raises ``ValueError`` if the path is already there."""
        self._add(path, stat.S_IFREG | mode, data)

    def symlink(self, path: str, target: str) -> None:
        """Add a symbolic link; raises ``ValueError`` if the path is already there."""
        self._add(path, stat.S_IFLNK | 0o777, target.encode())

    def character_device(self, path: str, major: int, minor: int, mode: int = 0o600) -> None:
        """Add a character device; raises ``ValueError`` if the path is already there."""
        self._add(path, stat.S_IFCHR | mode, device=(major, minor))

    def close(self) -> None:
        """Write the trailer; the stream itself stays open."""
        self._entry(_TRAILER, 0, 0, b"", (0, 0))

    def _add(
        self, path: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)
    ) -> None:
        pure = PurePosixPath(path)
        if pure.is_absolute() or ".." in pure.parts or not pure.parts:
            raise ValueError(f"not a path inside the archive: {path!r}")
        name = str(pure)
        if name in self._seen:
            raise ValueError(f"already in the archive: {name!r}")
        for parent in reversed(pure.parents[:-1]):
            if str(parent) not in self._seen:
                self.directory(str(parent))
        self._seen.add(name)
        self._inode += 1
        self._entry(name, self._inode, mode, data, device)

    def _entry(
        self, name: str, inode: int, mode: int, data: bytes, device: tuple[int, int]
    ) -> None:
        raw_name = name.encode() + b"\0"
        links = 2 if stat.S_ISDIR(mode) else 1
        fields = (
            inode, mode, 0, 0, links, 0, len(data), 0, 0, *device, len(raw_name), 0,
        )  # fmt: skip
        header = b"070701" + b"".join(f"{field:08X}".encode() for field in fields)
        self._padded(header + raw_name)
        self._padded(data)

    def _padded(self, data: bytes) -> None:
        self._stream.write(data + b"\0" * (-len(data) % 4))
