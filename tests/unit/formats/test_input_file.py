"""Files that never end, never begin or are no files are told, in no time and no memory."""

from __future__ import annotations

import os
import socket
import threading
import time
from pathlib import Path

import pytest

from toolchain.errors import ModelError
from toolchain.formats.input_file import check_readable, read_limited


def test_a_file_and_what_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(range(256)) * 9000)
    assert read_limited(tmp_path / "file") == bytes(range(256)) * 9000
    assert read_limited(Path("/dev/null")) == b""
    assert read_limited(Path("/proc/self/status")).startswith(b"Name:")  # its size is told as 0


def test_what_is_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "hole").open("wb") as stream:
        stream.truncate(1 << 42)
    for path in (tmp_path / "hole", Path("/dev/zero")):
        with pytest.raises(OSError, match="is larger than 1 MiB"):
            read_limited(path, 1 << 20, pipe=True)


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        for path in (tmp_path / "pipe", tmp_path / "link", Path("/dev/zero"), Path("/dev/tty")):
            with pytest.raises(OSError, match=r"no file|No such device"):
                read_limited(path)
        for path in (tmp_path, tmp_path / "socket"):
            with pytest.raises(OSError, match=r"Is a directory|No such device"):
                read_limited(path, pipe=True)


def test_a_pipe_that_nobody_writes_to_is_given_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match=r"nothing has come out of it for 0\.2 s"):
        read_limited(tmp_path / "pipe", pipe=True, patience=0.2)


def test_a_pipe_whose_writer_stops_is_given_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    number = os.open(tmp_path / "pipe", os.O_RDWR)
    os.write(number, b"half")
    with pytest.raises(OSError, match=r"nothing has come out of it for 0\.2 s"):
        read_limited(tmp_path / "pipe", pipe=True, patience=0.2)
    os.close(number)


def test_a_pipe_is_read_until_it_ends_however_slow_it_is(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    def write() -> None:
        time.sleep(0.3)
        with (tmp_path / "pipe").open("wb", buffering=0) as stream:
            for number in range(5):
                stream.write(b"%d" % number * 100_000)
                time.sleep(0.1)

    threading.Thread(target=write, daemon=True).start()
    content = read_limited(tmp_path / "pipe", pipe=True, patience=20)
    assert content == b"".join(b"%d" % number * 100_000 for number in range(5))


def test_a_pipe_that_never_ends_is_too_large(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    def write() -> None:
        with (tmp_path / "pipe").open("wb", buffering=0) as stream:
            try:
                while True:
                    stream.write(bytes(1 << 16))
            except BrokenPipeError:
                return

    threading.Thread(target=write, daemon=True).start()
    with pytest.raises(OSError, match="is larger than 1 MiB"):
        read_limited(tmp_path / "pipe", 1 << 20, pipe=True)


def test_what_is_read_more_than_once_is_a_file(tmp_path: Path) -> None:
    pipe, file = tmp_path / "pipe", tmp_path / "file"
    os.mkfifo(pipe)
    file.touch()
    check_readable(file, ModelError)
    check_readable(pipe, ModelError, pipe=True)
    with pytest.raises(ModelError, match="is a pipe, and would have to be read more than once"):
        check_readable(pipe, ModelError)
    with pytest.raises(ModelError, match="is a device or a socket, and no file"):
        check_readable(Path("/dev/zero"), ModelError, pipe=True)
