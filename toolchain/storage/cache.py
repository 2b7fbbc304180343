"""The cache outside the tree: archives, unpacked sources, compiled stages, board images.

An entry is a folder that appears whole or not at all: it is filled under a temporary name and
renamed at the end, so that a cancelled step leaves nothing that looks finished. It records what it
holds, so that what a fault, a full disk or a hand has changed since is not taken for it.

Whoever takes an entry holds a shared lock on it until the process ends, and touches it:
:mod:`toolchain.storage.cache_content` removes neither what is held nor, before others, what was
just used.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import filelock
import platformdirs

from toolchain.formats.json_text import loads

_PATIENCE_S = 1.0
RECORD = ".entry.json"
"""The file of an entry that has the hashes of the others."""
LOCKS = "locks"
"""The folder of the cache that has its locks."""
_held: dict[Path, int] = {}
"""What this process holds, as open files."""


def cache_place() -> Path:
    """Where the cache is or would be: ``$TILESKIP_CACHE``, or among the user's caches."""
    chosen = os.environ.get("TILESKIP_CACHE")
    return Path(chosen) if chosen else platformdirs.user_cache_path("tileskip")


def cache_dir() -> Path:
    """The cache's folder, see :func:`cache_place`; made if it is not there."""
    root = cache_place()
    root.mkdir(parents=True, exist_ok=True)
    return root


def sha256_file(path: Path) -> str:
    """The SHA-256 of a file, as lower-case hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest(*parts: str | bytes) -> str:
    """One SHA-256 over several parts; each part's length is hashed too, so that joins differ."""
    total = hashlib.sha256()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        total.update(len(raw).to_bytes(8, "little"))
        total.update(raw)
    return total.hexdigest()


@contextmanager
def locked(name: str, waiting: Callable[[], object] | None = None) -> Iterator[None]:
    """Hold the cache's lock called ``name``; a second process waits for the first.

    Who holds it may take it again.

    Args:
        name: of the lock.
        waiting: is called where it has to be waited for, so that the wait is no silent one.
    """
    own = lock(name)
    try:
        own.acquire(timeout=_PATIENCE_S if waiting else -1)
    except filelock.Timeout:
        if waiting:
            waiting()
        own.acquire()
    try:
        yield
    finally:
        own.release()


def present(kind: str, key: str) -> Path | None:
    """The folder ``<cache>/<kind>/<key>``, if it is there and holds what was put into it."""
    target = cache_dir() / kind / key
    return target if _taken(target) else None


def hold(path: Path) -> bool:
    """Keep a file or folder of the cache from being cleaned away until this process ends.

    That it is used now is recorded: as the time of its record, or its own.

    Returns:
        Whether it is there, and stays.
    """
    try:
        number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    found = os.fstat(number)
    try:
        with suppress(PermissionError):
            record = path / RECORD
            os.utime(record if record.exists() else path)
        fcntl.flock(number, fcntl.LOCK_SH | fcntl.LOCK_NB)
        there = path.stat()
    except BlockingIOError:  # it is being removed
        os.close(number)
        return False
    except OSError:  # a file system without such locks; or it is gone
        os.close(number)
        return path.exists()
    if (there.st_dev, there.st_ino) != (found.st_dev, found.st_ino):
        os.close(number)
        return False
    release(path)
    _held[path] = number
    return True


def release(path: Path) -> None:
    """Hold something no longer."""
    if (number := _held.pop(path, None)) is not None:
        os.close(number)


def entry(
    kind: str,
    key: str,
    fill: Callable[[Path], None],
    *,
    needs: Sequence[str] = (),
    again: bool = False,
) -> Path:
    """The folder ``<cache>/<kind>/<key>``; unless it is there and whole, ``fill(folder)`` makes it.

    It appears whole or not at all, with a record of its files' hashes that is compared each time.
    What was damaged since is made anew, as is what was left by a process that was killed.

    Args:
        kind: a folder of the cache.
        key: says all that the content is made from.
        fill: makes the content in an empty folder.
        needs: files that are there in any case. An entry of an earlier version, which has no
            record, is taken where it has them, and gets one; without ``needs`` it is made anew.
        again: make it anew, whatever is there.
    """
    target = cache_dir() / kind / key
    if not again and _taken(target):
        return target
    with locked(f"{kind}-{key}"):
        if not again and (_taken(target) or _adopted(target, needs)):
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(kind, key)
        scratch = Path(tempfile.mkdtemp(prefix=f".{key}-", dir=target.parent))
        try:
            fill(scratch)
            _seal(scratch)
            scratch.chmod(0o755)
            if target.exists():
                aside = Path(tempfile.mkdtemp(prefix=f".{key}-", dir=target.parent))
                target.replace(aside / "old")
                scratch.replace(target)
                shutil.rmtree(aside, ignore_errors=True)
            else:
                scratch.replace(target)
            hold(target)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return target


def lock(name: str) -> filelock.BaseFileLock:
    """The cache's lock called ``name``, not held yet."""
    folder = cache_dir() / LOCKS
    folder.mkdir(exist_ok=True)
    return filelock.FileLock(folder / f"{name}.lock", is_singleton=True)


def _sweep(kind: str, key: str) -> None:
    """Remove what processes that were killed left of entries of this kind; ``key`` is locked."""
    for scratch in (cache_dir() / kind).glob(".*-*"):
        other = scratch.name[1:].rpartition("-")[0]
        # An earlier version named them after the key's first sixteen characters.
        if other == key or (len(other) == 16 and key.startswith(other)):
            shutil.rmtree(scratch, ignore_errors=True)
        elif len(other) > 16:
            with suppress(filelock.Timeout), lock(f"{kind}-{other}").acquire(blocking=False):
                shutil.rmtree(scratch, ignore_errors=True)


# --- what an entry holds ---------------------------------------------------------------------


def _seal(folder: Path) -> None:
    (folder / RECORD).write_text(json.dumps({"files": _content(folder)}), encoding="utf-8")


def _adopted(folder: Path, needs: Sequence[str]) -> bool:
    """Whether this is the entry of an earlier version; it is sealed now."""
    if not needs or (folder / RECORD).exists() or not all((folder / it).exists() for it in needs):
        return False
    _seal(folder)
    return hold(folder)


def _taken(folder: Path) -> bool:
    """Whether an entry is whole; then it is held."""
    if hold(folder) and _is_whole(folder):
        return True
    release(folder)
    return False


def _is_whole(folder: Path) -> bool:
    """Whether every file is there as it was when the entry was made."""
    try:
        recorded = loads((folder / RECORD).read_bytes())["files"]
        return all(_hash(folder / name) == known for name, known in recorded.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _content(folder: Path) -> dict[str, str]:
    """Each file's hash; not of what Python leaves when it runs something there."""
    return {
        path.relative_to(folder).as_posix(): _hash(path)
        for path in sorted(folder.rglob("*"))
        if "__pycache__" not in path.parts and (path.is_symlink() or path.is_file())
    }


def _hash(path: Path) -> str:
    if path.is_symlink():
        return f"-> {path.readlink()}"
    if not path.is_file():  # a device may never end
        raise FileNotFoundError(path)
    return sha256_file(path)
