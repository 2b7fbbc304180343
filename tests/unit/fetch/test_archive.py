"""Archives are used only when their hash is the pinned one, and unpack inside their folder."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from toolchain.errors import SourceError
from toolchain.fetch.archive import check_sha256, take_cached, unpack_tarball
from toolchain.storage.cache import cache_dir, sha256_file


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILESKIP_CACHE", str(tmp_path / "cache"))


def make_tarball(
    path: Path, members: dict[str, bytes], links: dict[str, str] | None = None
) -> Path:
    with tarfile.open(path, "w:xz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    return path


def test_a_file_with_another_hash_is_deleted_and_both_hashes_are_named(tmp_path: Path) -> None:
    damaged = tmp_path / "a.tar.xz"
    damaged.write_bytes(b"half of it")
    found = sha256_file(damaged)
    with pytest.raises(SourceError) as caught:
        check_sha256(damaged, "0" * 64)
    assert str(damaged) in caught.value.what
    assert found in caught.value.what
    assert "0" * 64 in caught.value.what
    assert not damaged.exists()


def test_a_damaged_archive_in_the_cache_is_thrown_away() -> None:
    archives = cache_dir() / "archives"
    archives.mkdir()
    (archives / "a.tar.xz").write_bytes(b"bit rot")
    assert take_cached("a.tar.xz", "0" * 64) is None
    assert not (archives / "a.tar.xz").exists()


def test_the_users_folder_is_looked_into_and_copied_from(tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.mkdir()
    (given / "a.tar.xz").write_bytes(b"content")
    found = take_cached("a.tar.xz", sha256_file(given / "a.tar.xz"), given)
    assert found == cache_dir() / "archives" / "a.tar.xz"
    assert found.read_bytes() == b"content"


def test_a_damaged_archive_of_the_user_is_an_error_and_stays_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.tar.xz").write_bytes(b"content")
    with pytest.raises(SourceError, match=r"a\.tar\.xz: SHA-256 is .*, expected 1{64}"):
        take_cached("a.tar.xz", "1" * 64, tmp_path)
    assert (tmp_path / "a.tar.xz").exists()
    assert not (cache_dir() / "archives" / "a.tar.xz").exists()


def test_leading_folders_are_dropped(tmp_path: Path) -> None:
    archive = make_tarball(tmp_path / "a.tar.xz", {"top-1.0/src/x.c": b"x", "top-1.0/README": b"r"})
    unpack_tarball(archive, tmp_path / "out", strip=1)
    assert (tmp_path / "out/src/x.c").read_bytes() == b"x"
    assert (tmp_path / "out/README").read_bytes() == b"r"


def test_an_archive_without_a_top_folder_is_unpacked_as_it_is(tmp_path: Path) -> None:
    archive = make_tarball(tmp_path / "a.tar.xz", {"./src/x.c": b"x"})
    unpack_tarball(archive, tmp_path / "out", strip=0)
    assert (tmp_path / "out/src/x.c").read_bytes() == b"x"


def test_only_the_wanted_paths_are_unpacked(tmp_path: Path) -> None:
    members = {"t/lite/a": b"", "t/lite2/b": b"", "t/LICENSE": b"", "t/other/c": b""}
    archive = make_tarball(tmp_path / "a.tar.xz", members)
    unpack_tarball(archive, tmp_path / "out", strip=1, only=("lite", "LICENSE"))
    files = {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*")}
    assert files == {"lite", "lite/a", "LICENSE"}


@pytest.mark.parametrize("name", ["top/../../outside", "top/../../../outside"])
def test_a_path_that_leaves_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    archive = make_tarball(tmp_path / "a.tar.xz", {name: b"x"})
    with pytest.raises(SourceError, match="cannot be unpacked"):
        unpack_tarball(archive, tmp_path / "out", strip=1)
    assert not (tmp_path / "outside").exists()


def test_a_link_that_leaves_the_folder_is_refused(tmp_path: Path) -> None:
    archive = make_tarball(tmp_path / "a.tar.xz", {}, {"top/link": "../../../etc/passwd"})
    with pytest.raises(SourceError, match="cannot be unpacked"):
        unpack_tarball(archive, tmp_path / "out", strip=1)


def test_a_truncated_archive_is_an_error(tmp_path: Path) -> None:
    archive = make_tarball(tmp_path / "a.tar.xz", {"t/x": b"x" * 100_000})
    archive.write_bytes(archive.read_bytes()[:-40])
    with pytest.raises(SourceError, match=r"a\.tar\.xz cannot be unpacked"):
        unpack_tarball(archive, tmp_path / "out", strip=1)
