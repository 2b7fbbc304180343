"""The cache outside the tree: archives, unpacked sources, compiled stages, board images.

An entry is a folder that appears whole or not at all: it is filled under a temporary name and
renamed at the end, so that a cancelled step leaves nothing that looks finished.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock
import platformdirs


def cache_dir() -> Path:
    """``$TILESKIP_CACHE``, or the user's cache folder for ``tileskip``; made if it is not there."""
    chosen = os.environ.get("TILESKIP_CACHE")
    root = Path(chosen) if chosen else platformdirs.user_cache_path("tileskip")
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
def locked(name: str) -> Iterator[None]:
    """Hold the cache's lock called ``name``; a second process waits for the first."""
    folder = cache_dir() / "locks"
    folder.mkdir(exist_ok=True)
    with filelock.FileLock(folder / f"{name}.lock"):
        yield


def entry(kind: str, key: str, fill: Callable[[Path], None]) -> Path:
    """The folder ``<cache>/<kind>/<key>``; if absent, ``fill(folder)`` makes it, all or nothing."""
    target = cache_dir() / kind / key
    if target.is_dir():
        return target
    with locked(f"{kind}-{key}"):
        if target.is_dir():
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{key[:16]}-", dir=target.parent))
        try:
            fill(scratch)
            scratch.chmod(0o755)
            scratch.replace(target)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return target
