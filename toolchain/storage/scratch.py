"""What a writer fills beside the place that it is for, under a hidden name.

Its owner has a lock on it, which goes with the process. So what a killed one left is told from what
is at work, and is removed by the next that makes one for the same place; other users' stays.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_ATTEMPTS = 100
_ENDING = ".tileskip"
_OURS = re.compile(r"-[0-9a-f]{8}" + re.escape(_ENDING))
_EARLIER = re.compile(r"-(?=[0-9]*[a-f])[0-9a-f]{8}")
"""What earlier versions called files; all digits may be a date."""


@contextmanager
def scratch_file(place: Path) -> Iterator[Path]:
    """An empty file beside ``place``, removed at the end unless it was renamed.

    Its content has to be written into the file itself: another one that takes its name is not
    locked.

    Raises:
        OSError: it cannot be made.
    """
    sweep(place)
    path, number = _made(place, folder=False)
    try:
        yield path
    finally:
        with suppress(OSError):
            path.unlink()
        os.close(number)


@contextmanager
def scratch_folder(place: Path) -> Iterator[Path]:
    """An empty folder beside ``place``, removed at the end unless it was renamed.

    Raises:
        OSError: it cannot be made.
    """
    sweep(place)
    path, number = _made(place, folder=True)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(number)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """An empty folder of this user's alone among the system's temporary ones, removed at the end.

    Raises:
        OSError: it cannot be made.
    """
    with scratch_folder(Path(tempfile.gettempdir()) / "tileskip") as folder:
        yield folder


def sweep(place: Path) -> None:
    """Remove what processes that are gone have left of this user's beside ``place``."""
    begin = f".{place.name}"
    with suppress(OSError):
        for name in os.listdir(place.parent):  # noqa: PTH208 (one call, whatever lies there)
            end = name[len(begin) :] if name.startswith(begin) else ""
            if _OURS.fullmatch(end) or _EARLIER.fullmatch(end):
                with suppress(OSError):
                    _remove_unowned(place.with_name(name), folders=bool(_OURS.fullmatch(end)))


def _made(place: Path, *, folder: bool) -> tuple[Path, int]:
    """A file or folder, and the descriptor that has it locked."""
    for _ in range(_ATTEMPTS):
        path = place.with_name(f".{place.name}-{secrets.token_hex(4)}{_ENDING}")
        if folder:
            path.mkdir(mode=0o700)
            try:
                number = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue  # it was swept before it was opened
        else:
            number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        with suppress(OSError):  # a file system without locks: then nothing is swept
            fcntl.flock(number, fcntl.LOCK_EX)
        if _is(path, number):
            return path, number
        os.close(number)  # it was swept before it was locked
    raise FileNotFoundError(f"{place}: what is made beside it is removed at once")


def _remove_unowned(path: Path, *, folders: bool) -> None:
    kind = path.lstat()
    is_folder = stat.S_ISDIR(kind.st_mode)
    known = (is_folder and folders) or stat.S_ISREG(kind.st_mode)
    if kind.st_uid != os.geteuid() or not known:
        return
    number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not _is(path, number):
            return
        if is_folder:
            shutil.rmtree(path)
        else:
            path.unlink()
    finally:
        os.close(number)


def _is(path: Path, number: int) -> bool:
    """Whether a name is still that of an open file."""
    try:
        found, own = path.lstat(), os.fstat(number)
    except OSError:
        return False
    return (found.st_dev, found.st_ino) == (own.st_dev, own.st_ino)
