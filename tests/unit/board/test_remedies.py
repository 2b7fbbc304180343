"""What programs on a board say, in a message: what to do about it, and no more than a line."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.openssh import make_key, public_text, serving
from toolchain.board.connection import Connection
from toolchain.board.local import LocalConnection
from toolchain.board.ssh import SshConnection
from toolchain.board.target import SshTarget
from toolchain.errors import BoardError


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("mkdir: cannot create directory 'x': Read-only file system", "mount it for writing"),
        ("mkdir: cannot create directory 'x': No space left on device", "free some space"),
        ("mkdir: cannot create directory 'x': Disk quota exceeded", "free some space"),
        ("mkdir: cannot create directory 'x': Permission denied", "see whose it is"),
        ("mkdir: cannot create directory 'x': Not a directory", "in a folder's place"),
        ("cat: x: Input/output error", "the disk there may be broken"),
        ("Oops", "log in to the board"),
        ("", "log in to the board"),
    ],
)
def test_what_a_program_there_says_tells_what_to_do(tmp_path: Path, said: str, hint: str) -> None:
    board = LocalConnection("board", tmp_path)
    with pytest.raises(BoardError) as caught:
        board.run(["sh", "-c", 'echo "$1" >&2; exit 1', "sh", said])
    assert said in caught.value.what
    assert hint in (caught.value.hint or "")


def test_what_a_program_there_says_is_told_in_a_line(tmp_path: Path) -> None:
    board = LocalConnection("board", tmp_path)
    with pytest.raises(BoardError) as caught:
        board.run(["sh", "-c", "head -c 1000000 /dev/zero | tr '\\0' x >&2; exit 1"])
    assert len(caught.value.what) < 1000


@pytest.fixture(params=["yes tileskip", "yes tileskip >&2", "cat /dev/zero"])
def endless(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Connection]:
    """A board whose login prints without end before it runs anything."""
    key = make_key(tmp_path / "key")
    login = f"cd {shlex.quote(str(tmp_path))}; {request.param}"
    with serving(tmp_path / "sshd", authorized=public_text(key) + "\n", login=login) as server:
        known = tmp_path / "known"
        known.write_text(server.known_line)
        target = SshTarget("127.0.0.1", server.user, server.port, (key,), (known,))
        with SshConnection("pi", target) as connection:
            yield connection


def test_a_login_that_prints_without_end_is_told_as_that(endless: Connection) -> None:
    """Not as one that waits for something, when it has printed for two minutes."""
    with pytest.raises(BoardError, match="the login: more came from there than there should be"):
        endless.run(["true"])
