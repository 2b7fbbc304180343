from __future__ import annotations

import io
import stat
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.board.cpio import CpioWriter


@dataclass
class Entry:
    name: str
    mode: int
    data: bytes
    device: tuple[int, int]
    inode: int


def read_newc(raw: bytes) -> Iterator[Entry]:
    """An independent reader, from the format's description."""
    at = 0
    while True:
        assert raw[at : at + 6] == b"070701"
        fields = [int(raw[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        name_end = at + 110 + fields[11]
        name = raw[at + 110 : name_end - 1].decode()
        assert raw[name_end - 1] == 0
        data_start = name_end + -name_end % 4
        data = raw[data_start : data_start + fields[6]]
        assert len(data) == fields[6]
        at = data_start + fields[6] + -(data_start + fields[6]) % 4
        if name == "TRAILER!!!":
            assert at == len(raw)
            return
        yield Entry(name, fields[1], data, (fields[9], fields[10]), fields[0])


names = st.text("abcXYZ0_.-", min_size=1, max_size=12).filter(lambda name: name not in (".", ".."))


@given(files=st.dictionaries(names, st.binary(max_size=64), max_size=8))
def test_reads_back_every_file(files: dict[str, bytes]) -> None:
    stream = io.BytesIO()
    archive = CpioWriter(stream)
    for name, data in files.items():
        archive.file(f"top/{name}", data, 0o640)
    archive.close()
    entries = list(read_newc(stream.getvalue()))
    found = {e.name: e.data for e in entries if stat.S_ISREG(e.mode)}
    assert found == {f"top/{name}": data for name, data in files.items()}
    assert [e.name for e in entries if stat.S_ISDIR(e.mode)] == (["top"] if files else [])
    assert len({e.inode for e in entries}) == len(entries)


def test_keeps_kinds_modes_and_devices() -> None:
    stream = io.BytesIO()
    archive = CpioWriter(stream)
    archive.directory("root", 0o700)
    archive.symlink("bin", "usr/bin")
    archive.character_device("dev/console", 5, 1)
    archive.file("usr/bin/busybox", b"\x7fELF", 0o755)
    archive.close()
    entries = {entry.name: entry for entry in read_newc(stream.getvalue())}
    assert entries["root"].mode == stat.S_IFDIR | 0o700
    assert entries["bin"].mode == stat.S_IFLNK | 0o777
    assert entries["bin"].data == b"usr/bin"
    assert entries["dev/console"].mode == stat.S_IFCHR | 0o600
    assert entries["dev/console"].device == (5, 1)
    assert entries["usr/bin/busybox"].mode == stat.S_IFREG | 0o755
    assert list(entries) == ["root", "bin", "dev", "dev/console", "usr", "usr/bin",
                             "usr/bin/busybox"]  # fmt: skip


def test_equal_contents_give_equal_bytes() -> None:
    def make() -> bytes:
        stream = io.BytesIO()
        archive = CpioWriter(stream)
        archive.file("a/b", b"data")
        archive.close()
        return stream.getvalue()

    assert make() == make()


@pytest.mark.parametrize("path", ["/etc/passwd", "../up", "a/../../up", "", "."])
def test_refuses_paths_that_leave_the_archive(path: str) -> None:
    with pytest.raises(ValueError, match="not a path inside"):
        CpioWriter(io.BytesIO()).file(path, b"")


def test_refuses_a_path_twice() -> None:
    archive = CpioWriter(io.BytesIO())
    archive.file("a/b", b"")
    with pytest.raises(ValueError, match="already"):
        archive.directory("a")
