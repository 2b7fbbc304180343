"""The private apt root: the cache first, then the given folder, then a mirror; no network here."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from toolchain import children
from toolchain.errors import MissingToolError, SourceError
from toolchain.fetch import apt, unpack
from toolchain.fetch.apt import AptRoot, debian_mirror, unpack_deb
from toolchain.storage.cache import sha256_file

needs_apt = pytest.mark.skipif(not shutil.which("apt-get"), reason="a machine without apt")


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILESKIP_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def no_mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(apt.MIRROR_VARIABLE, f"file:{tmp_path}/no-such-mirror")


@pytest.mark.usefixtures("no_mirror")
def test_an_archive_at_hand_needs_no_network(tmp_path: Path) -> None:
    (tmp_path / "x_1.orig.tar.xz").write_bytes(b"content")
    sha256 = sha256_file(tmp_path / "x_1.orig.tar.xz")
    got = AptRoot(sources=tmp_path).fetch_source("x", "1-1", "x_1.orig.tar.xz", sha256)
    assert got.read_bytes() == b"content"
    again = AptRoot().fetch_source("x", "1-1", "x_1.orig.tar.xz", sha256)
    assert again == got


@pytest.mark.usefixtures("no_mirror")
def test_a_pinned_package_at_hand_needs_no_network(tmp_path: Path) -> None:
    (tmp_path / "x_1_arm64.deb").write_bytes(b"content")
    pins = {"x_1_arm64.deb": sha256_file(tmp_path / "x_1_arm64.deb")}
    (got,) = AptRoot(sources=tmp_path).fetch_debs(["x=1"], arch="arm64", suite="sid", pins=pins)
    assert got.read_bytes() == b"content"


@needs_apt
@pytest.mark.usefixtures("no_mirror")
def test_a_mirror_that_is_not_there_is_named_with_the_variable_that_changes_it() -> None:
    with pytest.raises(SourceError) as caught:
        AptRoot().fetch_source("x", "1-1", "x_1.orig.tar.xz", "0" * 64)
    assert "Debian trixie source index could not be fetched" in caught.value.what
    assert caught.value.hint is not None
    assert apt.MIRROR_VARIABLE in caught.value.hint


def test_a_machine_without_apt_is_told_of_the_folder_option(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingToolError) as caught:
        AptRoot().fetch_source("x", "1-1", "x_1.orig.tar.xz", "0" * 64)
    assert caught.value.hint is not None
    assert "--sources" in caught.value.hint


@needs_apt
@pytest.mark.parametrize("name", ["x; rm -rf /", "--option", "X", "a=1 b"])
def test_what_is_no_package_name_never_reaches_apt(name: str) -> None:
    with pytest.raises(SourceError, match="is not a Debian package name"):
        AptRoot().fetch_debs([name], arch="amd64", suite="sid")


@pytest.mark.parametrize("address", ["ftp://x/debian", "http://x/debian [trusted=yes]", "x"])
def test_a_mirror_address_must_be_one(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(apt.MIRROR_VARIABLE, address)
    with pytest.raises(SourceError, match=apt.MIRROR_VARIABLE):
        debian_mirror()


def test_any_revision_with_the_same_tarball_will_do() -> None:
    shown = "\n\n".join(
        f"Package: x\nVersion: {version}\nChecksums-Sha256:\n {sha256} 12 x_1.orig.tar.xz\n"
        for version, sha256 in [("1-2", "a" * 64), ("1-3", "b" * 64), ("1-4", "a" * 64)]
    )
    assert apt._source_versions(shown, "x_1.orig.tar.xz", "a" * 64) == ["1-2", "1-4"]
    assert apt._source_versions(shown, "x_1.orig.tar.gz", "a" * 64) == []


def make_deb(path: Path, names: list[str]) -> Path:
    """Write a ``.deb`` by hand: dpkg-deb would not make one with an unsafe path."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = 1
            archive.addfile(info, io.BytesIO(b"x"))
    control = io.BytesIO()
    with tarfile.open(fileobj=control, mode="w"):
        pass
    members = {"debian-binary": b"2.0\n", "control.tar": control.getvalue(),
               "data.tar": data.getvalue()}  # fmt: skip
    with path.open("wb") as deb:
        deb.write(b"!<arch>\n")
        for name, content in members.items():
            header = f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n"
            deb.write(header.encode() + content + b"\n" * (len(content) % 2))
    return path


@pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="a machine without dpkg")
def test_a_deb_unpacks_into_its_folder(tmp_path: Path) -> None:
    unpack_deb(make_deb(tmp_path / "x.deb", ["./usr/include/x.h"]), tmp_path / "out")
    assert (tmp_path / "out/usr/include/x.h").read_bytes() == b"x"


@pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="a machine without dpkg")
def test_an_interrupt_ends_dpkg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int | None] = []
    really_kill = children.kill_group

    def kill_group(process: subprocess.Popen[bytes]) -> None:
        really_kill(process)
        ended.append(process.poll())

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(children, "kill_group", kill_group)
    monkeypatch.setattr(unpack, "extract", interrupted)
    with pytest.raises(KeyboardInterrupt):
        unpack_deb(make_deb(tmp_path / "x.deb", ["./a"]), tmp_path / "out")
    assert len(ended) == 1
    assert ended[0] is not None


@pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="a machine without dpkg")
def test_files_that_are_not_wanted_are_left_out(tmp_path: Path) -> None:
    deb = make_deb(tmp_path / "x.deb", ["./usr/a", "./usr/b"])
    unpack_deb(deb, tmp_path / "out", without=["./usr/a"])
    assert [path.name for path in (tmp_path / "out/usr").iterdir()] == ["b"]


@pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="a machine without dpkg")
@pytest.mark.parametrize("content", ["unsafe", "truncated", "no deb"])
def test_a_deb_that_is_unsafe_or_damaged_is_refused(tmp_path: Path, content: str) -> None:
    deb = make_deb(tmp_path / "x.deb", ["../../outside" if content == "unsafe" else "./a"])
    if content == "truncated":
        deb.write_bytes(deb.read_bytes()[:-5000])
    elif content == "no deb":
        deb.write_bytes(b"something else")
    with pytest.raises(SourceError, match=r"x\.deb cannot be unpacked"):
        unpack_deb(deb, tmp_path / "a/b/out")
    assert not (tmp_path / "a/outside").exists()
    assert not (tmp_path / "outside").exists()
