"""What the cache holds, what of it is in use, and its removal.

Nothing is removed that another program has locked, holds (:func:`toolchain.storage.cache.hold`) or
works with: has open, runs, or was started on.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar

import filelock

from toolchain.storage import cache

_SINGLE = ("ccache", "local-board")
"""Folders of the cache that are one entry as a whole."""
_BUILDING = ("tflite-", "xnnpack-", "programs-", "xnnpack-tests-", "benchmark-model-")
"""How the locks of what runs ccache begin."""
_KEY = re.compile(r"[0-9a-f]{32,}")


@dataclass(frozen=True)
class Item:
    """One entry of the cache, or what a program that was killed has left of one."""

    kind: str
    """The folder of the cache that it is in."""
    name: str
    path: Path
    bytes: int
    last_used: float
    """Seconds since 1970."""
    leftover: bool
    used_by: str | None
    """Who works with it now."""

    @property
    def short_name(self) -> str:
        """The name with at most the first 16 digits of a hash."""
        return _KEY.sub(lambda found: found[0][:16], self.name)

    def document(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            "kind": self.kind,
            "entry": self.name,
            "bytes": self.bytes,
            "last_used": datetime.fromtimestamp(self.last_used, UTC).isoformat(timespec="seconds"),
            "leftover": self.leftover,
            "used_by": self.used_by,
        }


@dataclass(frozen=True)
class Removal:
    """What was removed, and what was not."""

    removed: list[Item]
    kept: list[Item]
    """Wanted away, but in use."""
    faults: list[str]
    """Why others could not be removed."""

    @property
    def freed(self) -> int:
        """Bytes."""
        return sum(item.bytes for item in self.removed)

    def document(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            "freed": self.freed,
            "removed": [item.document() for item in self.removed],
            "kept": [item.document() for item in self.kept],
            "faults": self.faults,
        }


def content(kinds: Sequence[str] = ()) -> list[Item]:
    """Everything in the cache, by kind; in each what was used last comes first.

    Args:
        kinds: those to look at; all of them if empty.
    """
    root = cache.cache_dir()
    found = list[Item]()
    users = _Users(root)
    for folder in sorted(path for path in _children(root) if _is_folder(path)):
        if folder.name == cache.LOCKS or (kinds and folder.name not in kinds):
            continue
        single = folder.name in _SINGLE
        items = [
            _item(folder.name, path, users) for path in ([folder] if single else _children(folder))
        ]
        found += sorted(items, key=lambda item: (-item.last_used, item.name))
    return found


def kinds() -> list[str]:
    """The kinds that there are."""
    folders = [path for path in _children(cache.cache_dir()) if _is_folder(path)]
    return sorted(path.name for path in folders if path.name != cache.LOCKS)


class Kept(Protocol):
    """What is kept until it is removed: an entry of the cache, or what lies on a board."""

    @property
    def bytes(self) -> int:
        """Its size."""

    @property
    def last_used(self) -> float:
        """Seconds since 1970."""

    @property
    def leftover(self) -> bool:
        """Whether nobody can use it."""

    @property
    def used_by(self) -> str | None:
        """Who works with it now."""


_Kept = TypeVar("_Kept", bound=Kept)


def chosen(
    items: Sequence[_Kept],
    *,
    everything: bool = False,
    older_than: float | None = None,
    max_size: int | None = None,
    now: float | None = None,
) -> list[_Kept]:
    """What goes: leftovers in any case, and what a limit says.

    Args:
        items: all that there are.
        everything: all of them.
        older_than: seconds; what was not used for longer.
        max_size: bytes; what was used least recently, until no more than these are left.
        now: seconds since 1970, by the clock that their times are of; this machine's unless given.
    """
    now = time.time() if now is None else now
    gone = {
        number
        for number, item in enumerate(items)
        if everything
        or item.leftover
        or (older_than is not None and now - item.last_used > older_than)
    }
    if max_size is not None:
        left = sum(item.bytes for number, item in enumerate(items) if number not in gone)
        for number, item in sorted(enumerate(items), key=lambda pair: pair[1].last_used):
            if left <= max_size:
                break
            if number not in gone and item.used_by is None:
                gone.add(number)
                left -= item.bytes
    return [item for number, item in enumerate(items) if number in gone]


def remove(items: Iterable[Item], removing: Callable[[Item], object] = lambda _: None) -> Removal:
    """Remove entries, each whole; those that are in use by now stay.

    Args:
        items: of :func:`content`.
        removing: is told of each before it goes.
    """
    done, users = Removal([], [], []), _Users(cache.cache_dir())
    for item in items:
        removing(item)
        try:
            with _alone(item, users) as is_free:
                if is_free:
                    _remove(item.path)
        except OSError as error:
            done.faults.append(f"{error.filename or item.path}: {error.strerror or error}")
            continue
        (done.removed if is_free else done.kept).append(item)
    return done


@contextmanager
def _alone(item: Item, users: _Users) -> Iterator[bool]:
    """Whether nobody uses an entry; nobody begins to while this lasts."""
    lock = cache.lock(_lock_name(item.kind, item.name))
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        yield False
        return
    try:
        with _held_by_nobody(item.path) as is_free:
            yield is_free and users.of(item.path) is None and not _is_built(item.kind)
    finally:
        lock.release()


@contextmanager
def _held_by_nobody(path: Path) -> Iterator[bool]:
    """Whether no process holds something; none can take hold of it while this lasts."""
    if path.is_symlink() or not path.exists():  # another program was faster
        yield True
        return
    number = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(number)


def _remove(path: Path) -> None:
    if not _is_folder(path):
        path.unlink(missing_ok=True)
        return
    # Under a name that says what it is: whoever looks meanwhile finds it whole or not at all.
    aside = path if path.name.startswith(".") else _aside(path)
    if aside != path:
        path.rename(aside)
    shutil.rmtree(aside)


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}-{secrets.token_hex(4)}")


def _item(kind: str, path: Path, users: _Users) -> Item:
    leftover = path.name.startswith(".")
    used_by = _used_by(kind, path, users)
    return Item(
        kind=kind,
        name=path.name,
        path=path,
        bytes=_size(path),
        last_used=_last_used(path),
        leftover=leftover and used_by is None,
        used_by=used_by,
    )


def _used_by(kind: str, path: Path, users: _Users) -> str | None:
    if found := users.of(path):
        return found
    if _is_locked(_lock_name(kind, path.name)) or _is_built(kind):
        return "another command"
    with suppress(OSError), _held_by_nobody(path) as is_free:
        return None if is_free else "another command"
    return None


def _lock_name(kind: str, name: str) -> str:
    """The lock of who makes or changes an entry, or of whom a leftover is."""
    if kind == "archives":
        made = re.sub(r"^\.(.*)-[0-9a-f]{8}(?:\.tileskip)?$", r"\1", name)
        return f"archive-{cache.digest(made)[:16]}"
    if name.startswith("."):
        name = name[1:].rpartition("-")[0] or name
    return f"{kind}-{name}"


def _is_locked(name: str) -> bool:
    if not (cache.cache_dir() / cache.LOCKS / f"{name}.lock").exists():
        return False
    lock = cache.lock(name)
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        return True
    lock.release()
    return False


def _is_built(kind: str) -> bool:
    """Whether something is being compiled, where that uses an entry of this kind."""
    if kind != "ccache":
        return False
    locks = [path.stem for path in _children(cache.cache_dir() / cache.LOCKS)]
    return any(_is_locked(name) for name in locks if name.startswith(_BUILDING))


class _Users:
    """Which other processes have something of a folder open, run it, or were started on it."""

    def __init__(self, root: Path) -> None:
        self._said: list[tuple[str, str]] = []
        for folder in Path("/proc").glob("[0-9]*"):
            if int(folder.name) == os.getpid():
                continue
            text = _mentions(folder, root)
            if text:
                name = "a process"
                with suppress(OSError):
                    name = (folder / "comm").read_text(errors="replace").strip()
                self._said.append((f"{name} ({folder.name})", text))

    def of(self, path: Path) -> str | None:
        """Who uses a file or folder."""
        pattern = re.compile(re.escape(os.fspath(path)) + r"(?![^/\n\0,:; ])")
        return next((who for who, text in self._said if pattern.search(text)), None)


def _mentions(process: Path, root: Path) -> str:
    """Each path of a folder that a process tells of; nothing of another user's."""
    place, texts = os.fspath(root), list[str]()
    links = [process / "cwd", process / "exe"]
    with suppress(OSError):
        links += list((process / "fd").iterdir())
    for link in links:
        with suppress(OSError):
            texts.append(os.fspath(link.readlink()))
    for name in ("cmdline", "maps"):
        with suppress(OSError):
            text = (process / name).read_bytes().decode(errors="surrogateescape")
            texts += [line for line in re.split(r"[\n\0]", text) if place in line]
    return "\n".join(text for text in texts if place in text)


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _children(folder: Path) -> list[Path]:
    with suppress(OSError):
        return list(folder.iterdir())
    return []


def _size(path: Path) -> int:
    """Bytes of all files below; what goes away meanwhile counts nothing."""
    total = 0
    with suppress(OSError):
        if not _is_folder(path):
            return path.lstat().st_size
        with os.scandir(path) as found:
            for item in found:
                with suppress(OSError):
                    if item.is_dir(follow_symlinks=False):
                        total += _size(Path(item.path))
                    else:
                        total += item.stat(follow_symlinks=False).st_size
    return total


def _last_used(path: Path) -> float:
    """When its record was touched; without one, when it or something in it was changed."""
    with suppress(OSError):
        return (path / cache.RECORD).lstat().st_mtime
    times = [0.0]
    for one in [path, *(_children(path) if _is_folder(path) else [])]:
        with suppress(OSError):
            times.append(one.lstat().st_mtime)
    return max(times)
