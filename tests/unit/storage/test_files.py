from __future__ import annotations

import os
import resource
import shlex
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest

from toolchain.errors import DeployError, ModelError, OutputError
from toolchain.storage.files import (
    STDOUT,
    check_folder,
    check_writable,
    make_folder,
    same_place,
    write_into,
    write_or_keep,
    write_whole,
    written_whole,
)

ROOT = Path(__file__).parents[3]


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def numbers(stream: BinaryIO) -> None:
    stream.write(b"1")
    stream.write(b"2")


@pytest.mark.parametrize(("content", "expected"), [(b"12", b"12"), (numbers, b"12"), (b"", b"")])
def test_a_file_is_made_or_replaced(
    tmp_path: Path, content: bytes | Callable[[BinaryIO], object], expected: bytes
) -> None:
    path = tmp_path / "a.json"
    for _ in range(2):
        write_whole(path, content)
        assert path.read_bytes() == expected
        assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_file_has_the_permissions_that_the_user_gives_files(
    tmp_path: Path, mask: int, mode: int
) -> None:
    with umask(mask):
        write_whole(tmp_path / "a", b"1")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == mode


def test_whoever_reads_meanwhile_finds_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_whole(path, b"old")

    def look(stream: BinaryIO) -> None:
        stream.write(b"new")
        stream.flush()
        assert path.read_bytes() == b"old"

    write_whole(path, look)
    assert path.read_bytes() == b"new"


def test_what_was_written_is_on_the_disk_before_it_has_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a power cut leaves an empty file under it."""
    path, synced = tmp_path / "a", list[tuple[int, int]]()
    write_whole(path, b"old")

    def fsync(number: int) -> None:
        facts = os.fstat(number)
        synced.append((facts.st_ino, facts.st_size))
        assert path.read_bytes() == b"old"

    monkeypatch.setattr(os, "fsync", fsync)
    write_whole(path, b"newer")
    assert synced == [(path.stat().st_ino, 5)]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError])
def test_after_an_interrupt_the_old_file_is_there_and_nothing_else(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path = tmp_path / "a"
    write_whole(path, b"old")

    def fail(stream: BinaryIO) -> None:
        stream.write(b"half")
        raise error

    with pytest.raises(error):
        write_whole(path, fail)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("fault", [OutputError, ModelError])
def test_a_full_disk_is_the_callers_error_and_leaves_the_old_file(
    tmp_path: Path, fault: type[DeployError]
) -> None:
    path = tmp_path / "a"
    write_whole(path, b"old")
    with file_size_limit(100), pytest.raises(fault, match="a: cannot be written: File too large"):
        write_whole(path, bytes(10_000), fault)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("absent/a", "absent/a: cannot be written: No such file or directory", "mkdir -p"),
        ("file/a", "file/a: cannot be written: Not a directory", "file is a file"),
        ("folder", "folder: is a folder", "the name of a file"),
    ],
)
def test_a_place_that_cannot_be_written_to_is_told_before_the_work(
    tmp_path: Path, name: str, message: str, hint: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    worked = False
    with pytest.raises(OutputError, match=message) as caught, written_whole(tmp_path / name):
        worked = True
    assert hint in (caught.value.hint or "")
    assert not worked
    with pytest.raises(OutputError, match=message):
        check_writable(tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_asking_whether_a_file_can_be_written_leaves_it_as_it_was(tmp_path: Path) -> None:
    check_writable(tmp_path / "a")
    assert not list(tmp_path.iterdir())
    write_whole(tmp_path / "a", b"1")
    check_writable(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"1"


def test_a_name_of_another_kind_of_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"ends in '\.jpg'") as caught:
        check_writable(tmp_path / "a.jpg", suffixes=[".png", ".svg"])
    assert caught.value.hint == f"use one of .png, .svg: {tmp_path / 'a.png'}"
    with pytest.raises(OutputError, match="has no suffix"):
        check_writable(tmp_path / "a", suffixes=[".png"])
    check_writable(tmp_path / "a.PNG", suffixes=[".png"])


@pytest.mark.parametrize("name", ["m.tflite", "./x/../m.tflite", "link", "hard"])
def test_what_is_read_is_not_replaced(tmp_path: Path, name: str) -> None:
    model = tmp_path / "m.tflite"
    model.write_bytes(b"model")
    (tmp_path / "x").mkdir()
    (tmp_path / "link").symlink_to(model)
    (tmp_path / "hard").hardlink_to(model)
    with pytest.raises(OutputError, match="is read here"):
        check_writable(tmp_path / name, inputs=[tmp_path / "absent", model])
    assert model.read_bytes() == b"model"


def test_a_place_is_known_before_there_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert same_place(tmp_path / "a", tmp_path / "link")
    assert same_place(tmp_path / "a", tmp_path / "x/../a")
    assert not same_place(tmp_path / "a", tmp_path / "b")


def test_a_pipe_is_written_to_and_stays_one(tmp_path: Path) -> None:
    """As are devices: ``-o /dev/null``, as root, must not put a file in its place."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    check_writable(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_whole(pipe, b"all of it")
        assert os.read(reader, 100) == b"all of it"
    finally:
        os.close(reader)
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]


def test_what_is_half_made_is_not_sent_down_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises(ValueError), written_whole(pipe) as scratch:  # noqa: PT011, PT012
            scratch.write_bytes(b"half")
            raise ValueError
        assert os.read(reader, 100) == b""
    finally:
        os.close(reader)


def test_a_file_that_is_protected_against_writing_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    path.chmod(0o444)
    if os.getuid() == 0:  # who may do everything: let the kernel's answer be another user's
        monkeypatch.setattr(os, "access", lambda *_: False)
    for write in (check_writable, lambda path: write_whole(path, b"new")):
        with pytest.raises(OutputError, match="Permission denied") as caught:
            write(path)
        assert "another name" in (caught.value.hint or "")
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize(
    ("name", "message"),
    [("file", "file is no folder"), ("file/a/b", "file is no folder"), ("/proc/x", "/proc/x")],
)
def test_a_folder_that_cannot_be_made_is_told_before_the_work(
    tmp_path: Path, name: str, message: str
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=message):
        check_folder(tmp_path / name)


def test_asking_whether_a_folder_can_be_made_makes_none(tmp_path: Path) -> None:
    check_folder(tmp_path / "a/b/c")
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written_is_kept_among_the_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that has filled up since it was looked at; here its folder is taken away."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "full").mkdir()
    check_writable(tmp_path / "full/p.json")
    (tmp_path / "full").rmdir()
    with pytest.raises(OutputError, match="cannot be written") as caught:
        write_or_keep(tmp_path / "full/p.json", b"measured")
    assert caught.value.hint is not None
    kept = Path(caught.value.hint.rpartition(" ")[2])
    assert kept.name == "p.json"
    assert kept.read_bytes() == b"measured"


def test_files_are_written_into_a_folder_that_is_made(tmp_path: Path) -> None:
    paths = write_into(tmp_path / "a/b", {"page.md": b"# Page\n", "page.json": b"{}"})
    assert paths == [tmp_path / "a/b/page.md", tmp_path / "a/b/page.json"]
    assert [path.read_bytes() for path in paths] == [b"# Page\n", b"{}"]


def test_a_folder_is_made_with_those_above_it(tmp_path: Path) -> None:
    make_folder(tmp_path / "a/b")
    make_folder(tmp_path / "a/b")
    assert (tmp_path / "a/b").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(ModelError, match=r"file/b: cannot be written: Not a directory"):
        make_folder(tmp_path / "file/b", ModelError)


# --- what is no regular file -----------------------------------------------------------------

NULL, FULL = os.makedev(1, 3), os.makedev(1, 7)


@pytest.fixture
def device(tmp_path: Path) -> Callable[[int], Path]:
    """Makes a device of this number, in the test's own folder: those of /dev are everybody's."""

    def make(number: int) -> Path:
        path = tmp_path / "device"
        try:
            os.mknod(path, stat.S_IFCHR | 0o666, number)
            path.open("wb").close()
        except PermissionError:
            pytest.skip("devices are made by root alone")
        return path

    return make


def test_a_device_is_written_to_and_stays(tmp_path: Path, device: Callable[[int], Path]) -> None:
    path = device(NULL)
    check_writable(path)
    write_whole(path, b"12")
    assert stat.S_ISCHR(path.stat().st_mode)
    assert [item.name for item in tmp_path.iterdir()] == ["device"]


def test_a_full_device_is_told_and_stays(
    tmp_path: Path, device: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, scratch = device(FULL), tmp_path / "temporary"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    with pytest.raises(OutputError, match="cannot be written: No space left"):
        write_whole(path, b"12")
    assert stat.S_ISCHR(path.stat().st_mode)
    assert list(scratch.iterdir()) == []
    with pytest.raises(OutputError) as caught:
        write_or_keep(path, b"12")
    (kept,) = scratch.glob("*/device")
    assert kept.read_bytes() == b"12"
    assert str(kept) in str(caught.value.hint)


@pytest.mark.parametrize("there", [True, False])
def test_a_link_is_followed_and_stays(tmp_path: Path, there: bool) -> None:
    target = tmp_path / "elsewhere/a.json"
    target.parent.mkdir()
    if there:
        target.write_bytes(b"before")
    between, link = tmp_path / "between", tmp_path / "link"
    between.symlink_to("elsewhere/a.json")
    link.symlink_to(between)
    check_writable(link)
    write_whole(link, b"12")
    assert (link.readlink(), between.readlink()) == (between, Path("elsewhere/a.json"))
    assert target.read_bytes() == b"12"
    assert [item.name for item in target.parent.iterdir()] == ["a.json"]


def test_links_that_lead_nowhere_are_told(tmp_path: Path) -> None:
    loop, dangling = tmp_path / "loop", tmp_path / "dangling"
    loop.symlink_to(loop)
    dangling.symlink_to("nodir/a.json")
    for path, said in ((loop, "Too many levels"), (dangling, "No such file")):
        with pytest.raises(OutputError, match=f"{path.name}: cannot be written: {said}|{said}"):
            check_writable(path)
        assert path.is_symlink()


def test_a_socket_is_told(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        with pytest.raises(OutputError, match="is a socket"):
            check_writable(path)


def test_standard_output_is_called_by_a_dash(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    check_writable(STDOUT)
    sys.stdout.write("before ")
    write_whole(STDOUT, b"\x00\xff")
    assert capfdbinary.readouterr().out == b"before \x00\xff"
    assert not STDOUT.exists()


@pytest.mark.parametrize("place", ["/dev/stdout", "/proc/self/fd/1", "/dev/fd/1"])
def test_a_file_that_is_open_already_is_written_to(tmp_path: Path, place: str) -> None:
    code = f"""
import sys; from pathlib import Path; from toolchain.storage.files import write_whole
print("before", flush=True); write_whole(Path({place!r}), b"12"); print("after")
"""
    command, file = shlex.join([sys.executable, "-c", code]), shlex.quote(str(tmp_path / "file"))
    for line in (f"{command} | cat", f"{command} > {file}; cat {file}"):
        done = subprocess.run(["/bin/sh", "-c", line], cwd=ROOT, capture_output=True, check=False)
        assert done.stdout == b"before\n12after\n", done.stderr
