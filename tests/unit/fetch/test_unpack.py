from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from toolchain.fetch.unpack import UnsafeMemberError, extract


def archive_of(*members: tarfile.TarInfo, data: bytes = b"data") -> tarfile.TarFile:
    """A stream, as ``dpkg-deb --fsys-tarfile`` gives one."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for member in members:
            member.size = len(data) if member.isreg() else 0
            archive.addfile(member, io.BytesIO(data))
    buffer.seek(0)
    return tarfile.open(fileobj=buffer, mode="r|")


def entry(
    name: str, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644
) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.mode = kind, link, mode
    return member


def test_files_folders_and_links_within_are_unpacked(tmp_path: Path) -> None:
    members = [
        entry("./a", tarfile.DIRTYPE, mode=0o755),
        entry("./a/file"),
        entry("./a/soft", tarfile.SYMTYPE, "file"),
        entry("./a/hard", tarfile.LNKTYPE, "./a/file"),
    ]
    extract(archive_of(*members), tmp_path)
    assert {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()} == dict.fromkeys(
        ("file", "soft", "hard"), b"data"
    )


def test_a_leading_slash_is_dropped(tmp_path: Path) -> None:
    extract(archive_of(entry("/etc/thing")), tmp_path)
    assert (tmp_path / "etc/thing").read_bytes() == b"data"


@pytest.mark.parametrize(
    "members",
    [
        [entry("../out")],
        [entry("a/../../out")],
        [entry("link", tarfile.SYMTYPE, "..")],
        [entry("link", tarfile.SYMTYPE, "/etc")],
        [entry("a/link", tarfile.SYMTYPE, "../../out")],
        [entry("link", tarfile.LNKTYPE, "../out")],
        [entry("device", tarfile.CHRTYPE)],
        [entry("pipe", tarfile.FIFOTYPE)],
    ],
    ids=lambda members: " ".join(f"{item.name}-{item.linkname}" for item in members),
)
def test_what_leads_out_or_is_a_device_is_refused(
    tmp_path: Path, members: list[tarfile.TarInfo]
) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    with pytest.raises(UnsafeMemberError):
        extract(archive_of(*members), inside)
    assert [path.name for path in tmp_path.iterdir()] == ["inside"]
    assert list(inside.iterdir()) == []


def test_a_link_that_was_there_before_does_not_lead_out(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "link").symlink_to(tmp_path)
    with pytest.raises(UnsafeMemberError):
        extract(archive_of(entry("link/out")), inside)


def test_set_user_id_and_others_right_to_write_are_dropped(tmp_path: Path) -> None:
    extract(archive_of(entry("program", mode=0o4777)), tmp_path)
    found = (tmp_path / "program").stat()
    assert found.st_mode & 0o7777 == 0o755
    assert found.st_uid == os.getuid()


def test_members_that_rename_leaves_out_are_not_there(tmp_path: Path) -> None:
    archive = archive_of(entry("keep"), entry("drop"))
    extract(archive, tmp_path, lambda member: member if member.name == "keep" else None)
    assert [path.name for path in tmp_path.iterdir()] == ["keep"]
