from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.unreadable import unreadable_after
from toolchain.board.connect import connect
from toolchain.board.connection import Connection
from toolchain.board.local import LocalConnection
from toolchain.errors import BoardError, ModelError
from toolchain.hardware.board_file import load_board
from toolchain.storage.cache import sha256_file


@pytest.fixture
def connection(tmp_path: Path) -> LocalConnection:
    return LocalConnection("host", tmp_path / "board")


def test_the_host_board_is_this_machine() -> None:
    with connect(load_board("host")) as connection:
        assert isinstance(connection, LocalConnection)
        assert connection.run(["uname", "-m"]).text.strip() == os.uname().machine


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(text=st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30))
def test_arguments_arrive_as_they_are(connection: Connection, text: str) -> None:
    assert connection.run(["printf", "%s", text]).stdout == text.encode()


def test_exit_codes_and_signals(connection: Connection) -> None:
    assert connection.run(["sh", "-c", "exit 5"], check=False).exit_code == 5
    killed = connection.run(["sh", "-c", "kill -KILL $$"], check=False)
    assert killed.exit_code == 128 + signal.SIGKILL
    assert connection.run(["no-such-program"], check=False).exit_code == 127


def test_a_program_that_takes_too_long_is_ended(connection: Connection) -> None:
    with pytest.raises(BoardError, match="did not end"):
        connection.run(["sleep", "60"], timeout=0.2)


def test_much_output_does_not_block(connection: Connection) -> None:
    result = connection.run(["sh", "-c", "head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2"])
    assert len(result.stdout) == len(result.stderr) == 300000


def test_files_go_there_and_back(connection: Connection, tmp_path: Path) -> None:
    local = tmp_path / "file"
    local.write_bytes(os.urandom(700_000))
    moved: list[int] = []
    connection.make_directory("a/b")
    connection.put(local, "a/b/c", mode=0o755, advance=moved.append)
    assert sum(moved) == 700_000
    assert connection.exists("a/b/c")
    assert connection.sha256("a/b/c") == sha256_file(local)
    connection.get("a/b/c", tmp_path / "back", most=1 << 20)
    assert (tmp_path / "back").read_bytes() == local.read_bytes()
    connection.remove("a")
    assert not connection.exists("a")
    assert connection.sha256("a/b/c") is None


def test_a_file_replaces_the_one_of_before_at_once(connection: Connection, tmp_path: Path) -> None:
    for content in (b"old", b"new"):
        (tmp_path / "f").write_bytes(content)
        connection.put(tmp_path / "f", "f")
    assert (tmp_path / "board" / "f").read_bytes() == b"new"
    assert [path.name for path in (tmp_path / "board").iterdir()] == ["f"]


def test_free_space_is_what_the_file_system_says(connection: Connection, tmp_path: Path) -> None:
    known = os.statvfs(tmp_path)
    free = connection.free_bytes(".")
    assert abs(free - known.f_bavail * known.f_frsize) < 1 << 30


def test_who_only_looks_makes_nothing_and_works_in_what_is_there(tmp_path: Path) -> None:
    looking = LocalConnection("host", tmp_path / "a" / "b", look_only=True)
    assert looking.run(["pwd", "-P"]).text.strip() == str(tmp_path.resolve())
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a" / "b").mkdir(parents=True)
    before = (tmp_path / "a" / "b").stat().st_mtime_ns
    again = LocalConnection("host", tmp_path / "a" / "b", look_only=True)
    assert again.run(["pwd", "-P"]).text.strip() == str((tmp_path / "a" / "b").resolve())
    assert (tmp_path / "a" / "b").stat().st_mtime_ns == before


@pytest.mark.parametrize("script", ["exec yes", "exec yes >&2", "yes & wait"])
def test_a_program_that_writes_without_end_is_ended_before_a_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    for module in ("connection", "local"):
        monkeypatch.setattr(f"toolchain.board.{module}.MOST", 1 << 20)
    with LocalConnection("host", tmp_path) as connection, pytest.raises(BoardError, match="more c"):
        connection.run(["sh", "-c", script])


def test_a_file_that_cannot_be_read_on_is_told(connection: LocalConnection, tmp_path: Path) -> None:
    with (
        unreadable_after(tmp_path / "m.tflite", 1_000_000) as source,
        pytest.raises(ModelError, match=r"m\.tflite: cannot be read: Input/output error"),
    ):
        connection.execute(["sh", "-c", 'cat > "$1"', "sh", "part"], stdin=source)
