"""Unpack tar archives so that nothing lands outside the folder that is meant.

Does what ``tarfile.data_filter`` does, which Debian 12's Python 3.11.2 does not have yet.
"""

from __future__ import annotations

import copy
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

from toolchain.errors import SourceError, first_line
from toolchain.storage.files import disk_full

Rename = Callable[[tarfile.TarInfo], tarfile.TarInfo | None]


class UnsafeMemberError(tarfile.TarError):
    """A member of an archive would land outside, or is no file, folder or link."""


def extract(archive: tarfile.TarFile, dest: Path, rename: Rename = lambda member: member) -> None:
    """Unpack all members that ``rename`` keeps, one after the other; streams work too.

    Files belong to the user who unpacks, and lose set-user-ID bits and others' right to write.

    Args:
        archive: opened for reading.
        dest: an existing folder.
        rename: gives a member as it is to be unpacked, or ``None`` to leave it out.

    Raises:
        UnsafeMemberError: a path or a link leads out of ``dest``, or a member is a device.
        Exception: whatever tarfile raises of a damaged archive; see :func:`failure`.
    """
    root = os.path.realpath(dest)
    for member in archive:
        kept = rename(member)
        if kept is not None:
            archive.extract(_checked(kept, root), root)


def failure(name: str, error: Exception) -> Exception:
    """What to raise for an archive that was not unpacked.

    Of headers that no program writes tarfile and the decompressors raise anything: ``ValueError``
    of a map of holes, ``KeyError`` of a hard link, ``zlib.error``.

    Args:
        name: of the archive.
        error: what was raised.

    Returns:
        A :class:`SourceError`; where the disk is full, the error itself, which says so.
    """
    if isinstance(error, OSError) and disk_full(error):
        return error
    return SourceError(f"{name} cannot be unpacked: {first_line(error)}")


def _checked(member: tarfile.TarInfo, root: str) -> tarfile.TarInfo:
    """The member as it may be unpacked."""
    name = member.name.lstrip("/")
    if not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
        raise UnsafeMemberError(f"'{member.name}' is no file, folder or link")
    _require_inside(os.path.join(root, name), root, member)  # noqa: PTH118
    link = member.linkname
    if member.issym() or member.islnk():
        if link.startswith("/"):
            raise UnsafeMemberError(f"'{member.name}' is a link to '{link}', an absolute path")
        # A symbolic link is relative to its folder, a hard link to the archive's root.
        base = os.path.dirname(name) if member.issym() else ""  # noqa: PTH120
        _require_inside(os.path.join(root, base, link), root, member)  # noqa: PTH118
    mode = member.mode & 0o755 | (0o700 if member.isdir() else 0o600)
    owner = {"uid": os.getuid(), "gid": os.getgid(), "uname": "", "gname": ""}
    return renamed(member, name=name, mode=mode, **owner)


def _require_inside(path: str, root: str, member: tarfile.TarInfo) -> None:
    # Links that were unpacked before are followed, so that none can lead a later member out.
    real = os.path.realpath(path)
    if real != root and not real.startswith(root + os.sep):
        raise UnsafeMemberError(f"'{member.name}' leads out of the folder")


def renamed(member: tarfile.TarInfo, **fields: object) -> tarfile.TarInfo:
    """A copy with other fields; ``TarInfo.replace`` of later Pythons."""
    result = copy.copy(member)
    for key, value in fields.items():
        setattr(result, key, value)
    return result
