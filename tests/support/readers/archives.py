"""Archives, packages and their indexes."""

from __future__ import annotations

import functools
import gzip
import io
import lzma
import tarfile
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from hypothesis import strategies as st

from support.malformed import Bytes, damaged
from support.readers.format import (
    Format,
    on_path,
    write_program,
)
from toolchain.errors import DeployError
from toolchain.fetch import apt
from toolchain.fetch.archive import unpack_tarball

_NAMES = (
    "a", "d/b", "d/../../x", "/abs", "", ".", "..", "d", "a/b", "A" * 300, "x/" * 200 + "y",
    "\udcff", "a\nb", "-rf", "d/l/x", "l",
)  # fmt: skip
_TYPES = (
    tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE,
    tarfile.FIFOTYPE, tarfile.CONTTYPE, tarfile.GNUTYPE_SPARSE, b"Z", tarfile.XHDTYPE,
    tarfile.GNUTYPE_LONGNAME, tarfile.XGLTYPE,
)  # fmt: skip
_PAX = (
    {"size": "x"}, {"size": "-1"}, {"path": "../x"}, {"mtime": "nan"}, {"mtime": "1e400"},
    {"uid": "9" * 5000}, {"GNU.sparse.map": "1,x"},
    {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"},
    {"hdrcharset": "x"}, {"linkpath": "\0"},
)  # fmt: skip


@st.composite
def _tars(draw: st.DrawFn) -> bytes:
    """An archive of members as nobody writes them, headers and checksums right."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in draw(st.lists(st.sampled_from(_NAMES), min_size=1, max_size=6)):
            member = tarfile.TarInfo(f"top/{name}" if draw(st.booleans()) else name)
            member.type = draw(st.sampled_from((*_TYPES[:4], *_TYPES)))
            member.linkname = draw(st.sampled_from(_NAMES)) if member.type in _TYPES[2:4] else ""
            member.mode = draw(st.sampled_from([0o644, 0, 0o7777, -1]))
            member.mtime = draw(st.sampled_from([0, -1, 2**33, 2**62]))
            member.pax_headers = draw(st.sampled_from(({}, {}, {}, *_PAX)))
            member.size = draw(st.sampled_from([0, 3, 3, 512]))
            archive.addfile(member, io.BytesIO(b"x" * member.size))
    return stream.getvalue()


@functools.cache
def _sound_tar() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name in ("top/a", "top/d/b"):
            member = tarfile.TarInfo(name)
            member.size = 3
            archive.addfile(member, io.BytesIO(b"abc"))
    return stream.getvalue()


def _tarballs() -> Bytes:
    inner = _tars() | damaged([_sound_tar()])
    packed = [gzip.compress(_sound_tar()), lzma.compress(_sound_tar())]
    return inner | inner.map(gzip.compress) | damaged(packed)


def _tarball(path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        unpack_tarball(path, Path(folder) / "out", strip=1)


def _ar(members: Sequence[tuple[bytes, bytes]]) -> bytes:
    parts = [b"!<arch>\n"]
    for name, data in members:
        parts.append(b"%-16s%-12d%-6d%-6d%-8s%-10d`\n" % (name, 0, 0, 0, b"100644", len(data)))
        parts.append(data + b"\n" * (len(data) % 2))
    return b"".join(parts)


def _deb(data: bytes) -> bytes:
    control = io.BytesIO()
    with tarfile.open(fileobj=control, mode="w:gz") as archive:
        text = b"Package: x\nVersion: 1\nArchitecture: all\nMaintainer: x\nDescription: x\n"
        member = tarfile.TarInfo("./control")
        member.size = len(text)
        archive.addfile(member, io.BytesIO(text))
    parts = [(b"debian-binary", b"2.0\n"), (b"control.tar.gz", control.getvalue())]
    return _ar([*parts, (b"data.tar.gz", gzip.compress(data))])


def _debs() -> Bytes:
    return damaged([_deb(_sound_tar())]) | (_tars() | damaged([_sound_tar()])).map(_deb)


def _unpacked_deb(path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        apt.unpack_deb(path, Path(folder) / "out")


_STANZAS = b"""Package: xnnpack
Version: 0.0~git20241108.4ea82e5-1
Filename: pool/x/xnnpack_1_amd64.deb
SHA256: %s
Checksums-Sha256:
 %s 123 xnnpack.orig.tar.xz

Package: other
Version: 2
""" % (b"0" * 64, b"1" * 64)


def _indexes() -> Bytes:
    return damaged([_STANZAS])


def _index(path: Path) -> None:
    """What ``apt-cache`` and ``apt-get`` print of an index, by programs of those names."""
    for name in ("apt-get", "apt-cache", "apt-config"):
        write_program(path.parent / "bin" / name, path)
    with on_path(path.parent / "bin"):
        root = apt.AptRoot()
        with suppress(DeployError):
            root.fetch_debs(["xnnpack"], arch="amd64", suite="trixie")
        root.fetch_source("xnnpack", "1", "xnnpack.orig.tar.xz", "1" * 64)


ARCHIVES = (
    Format("tarball", "a.tar.gz", _tarballs, _tarball),
    Format(".deb", "a.deb", _debs, _unpacked_deb, 0.5),
    Format("apt index", "Packages", _indexes, _index, 0.3),
)  # fmt: skip
