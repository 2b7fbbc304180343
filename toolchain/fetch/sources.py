"""The pinned sources of the runtime: ``runtime_patch/sources.toml``, and trees unpacked from it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from toolchain.errors import SourceError
from toolchain.fetch.apt import AptRoot, unpack_deb
from toolchain.fetch.archive import unpack_tarball
from toolchain.formats.toml_file import read_toml, validate
from toolchain.hardware.facts import DebArch
from toolchain.resources import runtime_patch_dir
from toolchain.storage.cache import digest, entry

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.+~_-]*$")]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9+.-]+$")]
Suite = Literal["bookworm", "trixie", "sid"]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(_Table):
    """One upstream tarball."""

    name: Name
    package: Name
    version: str
    suite: Suite
    file: FileName
    sha256: Sha256
    strip: Annotated[int, Field(ge=0, le=3)]
    only: tuple[str, ...] = ()


class DebFile(_Table):
    """A ``.deb`` of one architecture."""

    file: FileName
    sha256: Sha256
    version: str | None = None
    """Where it differs from the other architectures'; so with ``suite``."""
    suite: Suite | None = None


class Deb(_Table):
    """One binary package, for each architecture that boards have."""

    name: Name
    package: Name
    version: str
    suite: Suite
    amd64: DebFile
    arm64: DebFile
    armhf: DebFile

    def for_arch(self, arch: DebArch) -> DebFile:
        """The file of one architecture."""
        return {"amd64": self.amd64, "arm64": self.arm64, "armhf": self.armhf}[arch]


class SourceList(_Table):
    """All of ``sources.toml``."""

    source: tuple[Source, ...]
    deb: tuple[Deb, ...]

    def get(self, name: str) -> Source:
        """The source called ``name``.

        Raises:
            KeyError: there is none.
        """
        return {item.name: item for item in self.source}[name]

    def get_deb(self, name: str) -> Deb:
        """The binary package called ``name``.

        Raises:
            KeyError: there is none.
        """
        return {item.name: item for item in self.deb}[name]


def load_sources(path: Path | None = None) -> SourceList:
    """Read and validate ``sources.toml``.

    Raises:
        SourceError: it cannot be read, is not TOML, or has a key or value that is not allowed.
    """
    path = path or runtime_patch_dir() / "sources.toml"
    tables = read_toml(path, SourceError)
    return validate(SourceList, tables, path, SourceError, hint="it pins the upstream archives")


def fetch(source: Source, apt: AptRoot) -> Path:
    """The checked archive of a source.

    Raises:
        SourceError: it could not be fetched or is not the pinned one.
    """
    return apt.fetch_source(
        source.package, source.version, source.file, source.sha256, suite=source.suite
    )


def tree(source: Source, apt: AptRoot) -> Path:
    """The pristine unpacked tree of a source, kept in the cache; never write into it.

    Raises:
        SourceError: the archive could not be fetched, is not the pinned one, or is damaged.
    """
    key = digest(source.sha256, str(source.strip), *source.only)[:16]

    def fill(folder: Path) -> None:
        unpack_tarball(fetch(source, apt), folder, strip=source.strip, only=source.only)

    return entry("trees", f"{source.name}-{key}", fill)


def deb_tree(deb: Deb, arch: DebArch, apt: AptRoot) -> Path:
    """The unpacked files of a binary package, kept in the cache.

    Raises:
        SourceError: the package could not be fetched, is not the pinned one, or is damaged.
    """
    pinned = deb.for_arch(arch)

    def fill(folder: Path) -> None:
        wanted = [f"{deb.package}={pinned.version or deb.version}"]
        pins = {pinned.file: pinned.sha256}
        suite = pinned.suite or deb.suite
        (path,) = apt.fetch_debs(wanted, arch=arch, suite=suite, pins=pins)
        unpack_deb(path, folder)

    return entry("trees", f"{deb.name}-{arch}-{pinned.sha256[:16]}", fill)
