"""Archives in the cache: checked when they come, checked again whenever they are used."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

from toolchain.errors import SourceError
from toolchain.fetch import unpack
from toolchain.storage.cache import cache_dir, hold, sha256_file
from toolchain.storage.files import written_whole


def check_sha256(path: Path, sha256: str, *, name: str | None = None) -> None:
    """Compare a file with its pinned hash; a file that is not the one is deleted.

    Raises:
        SourceError: names the file, the hash that was expected and the one found.
    """
    found = sha256_file(path)
    if found != sha256:
        path.unlink()
        raise SourceError(
            f"{name or path}: SHA-256 is {found}, expected {sha256}",
            hint="the file is damaged or another one; it was not kept, so try again",
        )


def take_cached(filename: str, sha256: str, given: Path | None = None) -> Path | None:
    """The archive from the cache, or from the folder that the user gave, if it is there.

    A damaged file in the cache is deleted, so that it is fetched anew; a damaged file in the
    user's folder is left alone and is an error.

    Raises:
        SourceError: the user's file has another hash.
    """
    archives = cache_dir() / "archives"
    cached = archives / filename
    if cached.is_file():
        if hold(cached) and sha256_file(cached) == sha256:
            return cached
        cached.unlink(missing_ok=True)
    if given is not None and (given / filename).is_file():
        found = sha256_file(given / filename)
        if found != sha256:
            raise SourceError(
                f"{given / filename}: SHA-256 is {found}, expected {sha256}",
                hint="the file is damaged or another one; replace it",
            )
        archives.mkdir(exist_ok=True)
        with written_whole(cached) as scratch:
            shutil.copyfile(given / filename, scratch)
            check_sha256(scratch, sha256, name=filename)
        hold(cached)
        return cached
    return None


def unpack_tarball(archive: Path, dest: Path, *, strip: int, only: tuple[str, ...] = ()) -> None:
    """Unpack a source tarball, dropping the first ``strip`` parts of every path.

    Args:
        archive: the tarball, compressed or not.
        dest: the folder to fill.
        strip: how many leading parts of each path to drop.
        only: paths (after dropping) to unpack with all below them; everything when empty.

    Raises:
        SourceError: not a tarball, a damaged one, or one with a path that leaves ``dest``.
        OSError: the disk is full.
    """
    dest.mkdir(parents=True, exist_ok=True)

    def keep(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        parts = [part for part in member.name.split("/") if part not in ("", ".")]
        if len(parts) <= strip:
            return None
        name = "/".join(parts[strip:])
        if only and not any(name == path or name.startswith(f"{path}/") for path in only):
            return None
        fields = {"name": name}
        if member.islnk():
            target = [part for part in member.linkname.split("/") if part not in ("", ".")]
            fields["linkname"] = "/".join(target[strip:])
        return unpack.renamed(member, **fields)

    try:
        with tarfile.open(archive) as stream:
            unpack.extract(stream, dest, keep)
    except Exception as error:
        raise unpack.failure(archive.name, error) from error
