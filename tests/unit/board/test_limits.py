"""Whatever a board's programs do, or do not, ends in time though its server answers."""

from __future__ import annotations

import io
import os
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.openssh import Sshd, make_key, public_text, serving
from support.patience import PATIENCE
from toolchain.board import connection as limits
from toolchain.board.connection import TimeUp
from toolchain.board.ssh import SshConnection
from toolchain.board.target import SshTarget


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_key(tmp_path_factory.mktemp("key") / "user")


@pytest.fixture
def login() -> str:
    return 'exec sh -c "$SSH_ORIGINAL_COMMAND"'


@pytest.fixture
def server(key: Path, tmp_path: Path, login: str) -> Iterator[Sshd]:
    (tmp_path / "board").mkdir()
    login = f"cd {tmp_path / 'board'} && {login}"
    with serving(tmp_path / "sshd", authorized=public_text(key) + "\n", login=login) as running:
        yield running


@pytest.fixture
def board(server: Sshd, key: Path, tmp_path: Path) -> Iterator[SshConnection]:
    (tmp_path / "known_hosts").write_text(server.known_line)
    target = SshTarget(
        "127.0.0.1", server.user, server.port, (key,), (tmp_path / "known_hosts",),
        only_identities=True,
    )  # fmt: skip
    with SshConnection("pi", target) as connection:
        yield connection


def test_a_look_at_the_board_that_does_not_end(
    board: SshConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ``df`` does where a disk of a network has gone."""
    monkeypatch.setattr(SshConnection.run, "__kwdefaults__", {
        **(SshConnection.run.__kwdefaults__ or {}), "timeout": 1.0,
    })  # fmt: skip
    with pytest.raises(TimeUp, match=r"sleep did not end in 1 s, and was stopped"):
        board.run(["sleep", "600"])
    assert board.run(["echo", "still there"], timeout=PATIENCE).text == "still there\n"


def test_a_program_that_takes_nothing_of_what_it_is_sent(board: SshConnection) -> None:
    with pytest.raises(TimeUp, match=r"sleep moved nothing for 1 s"):
        board.execute(["sleep", "600"], stdin=io.BytesIO(bytes(10_000_000)), stall=1)
    assert board.run(["echo", "still there"]).text == "still there\n"


def test_a_program_that_does_not_end_after_its_input(board: SshConnection) -> None:
    with pytest.raises(TimeUp, match=r"sleep moved nothing for 1 s"):
        board.execute(["sleep", "600"], stdin=io.BytesIO(b"1"), stall=1)


def test_an_upload_that_stands_still(
    board: SshConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its folder is a pipe's: whoever opens it waits for a reader."""
    monkeypatch.setattr(limits, "STALL_S", 1)
    (tmp_path / "big").write_bytes(bytes(5_000_000))
    monkeypatch.setattr(secrets, "token_hex", lambda count: "ab" * count)
    (tmp_path / "board" / "d").mkdir()
    os.mkfifo(tmp_path / "board" / "d" / f".{'ab' * 6}.part")
    with pytest.raises(TimeUp, match=r"sh moved nothing for 1 s"):
        board.put(tmp_path / "big", "d/big")


def test_a_download_that_stands_still(
    board: SshConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "STALL_S", 1)
    os.mkfifo(tmp_path / "board" / "pipe")
    with pytest.raises(TimeUp, match=r"cat moved nothing for 1 s"):
        board.get("pipe", tmp_path / "here", most=100)
    assert not (tmp_path / "here").exists()


@pytest.mark.parametrize(
    "login",
    [
        'sh -c "$SSH_ORIGINAL_COMMAND"; code=$?; sleep 600 & echo $! >left; exit $code',
        'sh -c "$SSH_ORIGINAL_COMMAND"; code=$?; sleep 600 >/dev/null & echo $! >left; exit $code',
        'sh -c "$SSH_ORIGINAL_COMMAND"; code=$?; sleep 600 2>/dev/null & echo $! >left; exit $code',
    ],
    ids=["both", "standard error", "standard output"],
)
def test_a_login_that_leaves_something_which_holds_a_stream_open(
    board: SshConnection, tmp_path: Path
) -> None:
    """All that the program said has come, and its exit code: nobody has to wait for the end."""
    try:
        result = board.run(
            ["sh", "-c", "echo said; echo wrong >&2; exit 3"], check=False, timeout=PATIENCE
        )
    finally:
        os.kill(int((tmp_path / "board" / "left").read_text()), signal.SIGKILL)
    assert (result.exit_code, result.text, result.stderr) == (3, "said\n", "wrong\n")
