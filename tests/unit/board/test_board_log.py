"""What a board's log says is shown harmless, from whichever program tells it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from toolchain.board import emulator
from toolchain.board.board_log import read_log, read_serial
from toolchain.board.local import LocalConnection
from toolchain.errors import BoardError, EmulatorError
from toolchain.hardware.board_file import Board, load_board


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


@pytest.fixture
def board(tmp_path: Path) -> LocalConnection:
    return LocalConnection("pi", tmp_path / "home")


def program(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_a_journal_goes_first(programs: Path, board: LocalConnection) -> None:
    program(programs, "journalctl", 'echo "$*"; echo hint >&2')
    log = read_log(board, 5)
    assert (log.source, log.lines, log.remark) == ("journalctl", ["--no-pager -n 5"], "hint")


def test_the_kernel_tells_where_there_is_no_other_log(
    programs: Path, board: LocalConnection
) -> None:
    program(programs, "journalctl", "exit 0")  # it has nothing to say
    program(programs, "dmesg", "seq 1 100")
    if any(Path("/var/log", name).exists() for name in ("syslog", "messages")):
        pytest.skip("this machine has another log")
    log = read_log(board, 3)
    assert (log.source, log.lines) == ("dmesg", ["98", "99", "100"])


def test_a_log_that_may_not_be_read_is_told(programs: Path, board: LocalConnection) -> None:
    program(programs, "journalctl", "exit 1")
    program(programs, "dmesg", "echo 'dmesg: Operation not permitted' >&2; exit 1")
    if any(Path("/var/log", name).exists() for name in ("syslog", "messages")):
        pytest.skip("this machine has another log")
    with pytest.raises(BoardError, match="Operation not permitted") as caught:
        read_log(board, 3)
    assert "group adm" in (caught.value.hint or "")


def test_lines_are_harmless_and_no_longer_than_a_limit(
    programs: Path, board: LocalConnection
) -> None:
    program(
        programs, "journalctl", r"printf 'a\033[2J\377\r\n'; head -c 9000 /dev/zero | tr '\0' x"
    )
    first, second = read_log(board, 5).lines
    assert first == "a\\x1b[2J\ufffd"
    assert second == "x" * 4096


# --- the emulated board --------------------------------------------------------------------------


@pytest.fixture
def qemu() -> Board:
    return load_board("qemu")


def test_the_end_of_a_serial_line_is_shown(qemu: Board) -> None:
    path = emulator.serial_log(qemu)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"one\r\ntwo\n\x1b[31mthree\nlast without an end")
    log = read_serial(qemu, 2)
    assert (log.source, log.lines) == (str(path), ["\\x1b[31mthree", "last without an end"])
    assert len(read_serial(qemu, 100).lines) == 4


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_as_many_lines_are_shown_as_are_asked_for(qemu: Board, end: str) -> None:
    path = emulator.serial_log(qemu)
    path.parent.mkdir(parents=True)
    path.write_bytes(f"one\r\ntwo\r\nthree{end}".encode())
    assert read_serial(qemu, 1).lines == ["three"]
    assert read_serial(qemu, 2).lines == ["two", "three"]
    assert read_serial(qemu, 9).lines == ["one", "two", "three"]


def test_a_board_that_never_ran_has_none(qemu: Board) -> None:
    with pytest.raises(EmulatorError, match="has no log"):
        read_serial(qemu, 2)
