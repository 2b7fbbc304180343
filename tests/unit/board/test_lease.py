"""One user at a time: whoever measures has a board alone, and what is dead holds nothing."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from support.leases import Told, Waiting
from support.patience import PATIENCE, await_that
from support.places import REPOSITORY
from toolchain.board import lease
from toolchain.board.connection import Connection
from toolchain.board.lease import Lease
from toolchain.board.local import LocalConnection
from toolchain.board.ssh import SshConnection
from toolchain.errors import ConnectionFailed, LeaseError

from .conftest import Cuttable, reached

SELF = re.escape(f"{lease._owner()}: ")


pytestmark = pytest.mark.usefixtures("locks")


@pytest.fixture(params=["here", "paramiko", "openssh"])
def board(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Connection]:
    if request.param == "here":
        yield LocalConnection("host", tmp_path / "home")
        return
    server = reached(request.param, tmp_path)
    with server as there, SshConnection("pi", there.target) as opened:
        yield opened


def test_who_measures_has_the_board_alone_and_the_next_one_is_told(
    board: Connection, someone: Callable[..., Waiting]
) -> None:
    told = Told()
    with Lease(board, "profile a.tflite", note=told) as first:
        assert first.is_kept
        second = someone("profile b.tflite")
        await_that("it waits", second.told.has(rf"waiting for {SELF}profile a\.tflite, for \d+ s"))
        assert not second.held.is_set()
        first.require()
    assert second.held.wait(PATIENCE)
    assert told.lines == []


def test_what_only_computes_shares_a_board_and_keeps_no_measurement_out_for_ever(
    someone: Callable[..., Waiting],
) -> None:
    first, second = (someone(f"verify {name}", shared=True) for name in "ab")
    assert first.held.wait(PATIENCE)
    assert second.held.wait(PATIENCE)
    alone = someone("profile c")
    await_that("it waits", alone.told.has("waiting for"))
    late = someone("verify d", shared=True)
    await_that("it waits behind the measurement", late.told.has("waiting for"))
    first.finish()
    assert not alone.held.is_set()
    second.finish()
    assert alone.held.wait(PATIENCE)
    assert not late.held.is_set()
    alone.finish()
    assert late.held.wait(PATIENCE)


def test_who_will_not_wait_is_told_who_uses_the_board(
    board: Connection, someone: Callable[..., Waiting]
) -> None:
    assert someone("profile a.tflite").held.wait(PATIENCE)
    fault = rf"in use: {SELF}profile a\.tflite, for \d+ s"
    with (
        pytest.raises(LeaseError, match=fault) as caught,
        Lease(board, "profile b.tflite", wait=0.0, note=Told()),
    ):
        pytest.fail("it has a board that another one has")
    assert "--queue" in (caught.value.hint or "")


def test_force_ends_what_is_there_and_says_so(
    board: Connection, someone: Callable[..., Waiting]
) -> None:
    first = someone("profile a.tflite")
    assert first.held.wait(PATIENCE)
    told = Told()
    with Lease(board, "profile b.tflite", force=True, note=told) as second:
        assert second.is_kept
        assert told.has(rf"interrupting {SELF}profile a\.tflite")()

        def is_lost() -> bool:
            with suppress(LeaseError):
                first.lease.require()
                return False
            return True

        await_that("the first one learns of it", is_lost)
        with pytest.raises(LeaseError, match="took it with --force"):
            first.lease.require()
        second.require()


def test_a_lease_that_goes_on_and_on_is_taken_back(
    board: Connection, someone: Callable[..., Waiting], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "_BEAT_S", 0.1)
    with Lease(board, "profile a", limit=1, note=Told()) as first:
        second = someone("profile b")
        assert second.held.wait(PATIENCE)
        with pytest.raises(LeaseError, match="its time was over"):
            first.require()


CLIENT = """\
import os, sys
from pathlib import Path
from toolchain.board import lease
from toolchain.board.ssh import SshConnection
from toolchain.board.target import SshTarget
user, port, key, known, place = sys.argv[1:]
lease.PLACES = (place, place)
target = SshTarget("127.0.0.1", user, int(port), (Path(key),), (Path(known),), only_identities=True)
with SshConnection("pi", target) as board, lease.Lease(board, "profile a", note=print):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lease_whose_owner_was_killed_is_free(cuttable: Cuttable, locks: Path) -> None:
    target = cuttable.target
    (key,), (known,) = target.identities, target.known_hosts
    words = [target.user, str(target.port), str(key), str(known), str(locks)]
    with subprocess.Popen(
        [sys.executable, "-c", CLIENT, *words],
        cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        os.kill(process.pid, signal.SIGKILL)
    with SshConnection("pi", target) as board, Lease(board, "profile b", note=Told()) as second:
        second.require()


def test_a_link_that_is_cut_gives_the_board_back(cuttable: Cuttable) -> None:
    first = SshConnection("pi", cuttable.target)
    with first, Lease(first, "profile a", note=Told()) as held:
        cuttable.drop()
        await_that("it is noticed", lambda: held._ended)
        with pytest.raises(ConnectionFailed, match="connection was lost"):
            held.require()
    with SshConnection("pi", cuttable.target) as again, Lease(again, "b", note=Told()) as second:
        second.require()


def test_a_board_without_flock_keeps_none_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sh", "head", "grep", "rm", "sleep"):
        (programs / name).symlink_to(f"/bin/{name}")
    monkeypatch.setenv("PATH", str(programs))
    told = Told()
    with Lease(LocalConnection("host", tmp_path / "home"), "profile", note=told) as held:
        assert not held.is_kept
        held.require()
    assert told.lines == ["host: it has no flock: no lease keeps others from using it"]


@pytest.mark.parametrize(
    "line",
    [
        "a[$(touch pwned)] 0 x",
        "$(touch pwned) `touch pwned` x",
        "1 a[$(touch>pwned)] x",
        "-1 0 x",
        "1 0 " + "x" * 5000,
        "",
        "\x1b]0;title\x07 1 2",
    ],
)
def test_what_others_leave_among_the_locks_is_neither_run_nor_ended(
    locks: Path, tmp_path: Path, line: str
) -> None:
    board = LocalConnection("host", tmp_path / "home")
    (locks / f"tileskip.holder.{'ab' * 8}").write_text(line)
    victim = subprocess.Popen(["/bin/sleep", "600"])
    (locks / f"tileskip.holder.{'cd' * 8}").write_text(f"{victim.pid} 0 x\n")
    try:
        first = Waiting(board, "profile a")
        assert first.held.wait(PATIENCE)
        told = Told()
        with Lease(board, "profile b", force=True, note=told) as second:
            second.require()
        first.finish()
        assert victim.poll() is None, "a number that stands in a file is no holder"
        assert all("\x1b" not in text for text in told.lines)
        assert not list(locks.glob("pwned"))
    finally:
        victim.kill()
        victim.wait()


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox"])
def test_every_shell_hands_a_board_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shell: str
) -> None:
    found = shutil.which(shell)
    if not found:
        pytest.skip(f"{shell} is not installed")
    (tmp_path / "sh").symlink_to(found)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    board = LocalConnection("host", tmp_path / "home")
    with Lease(board, "profile a", note=Told()):
        second = Waiting(board, "profile b")
        await_that("it waits", second.told.has("waiting for"))
    assert second.held.wait(PATIENCE)
    with Lease(board, "profile c", force=True, note=Told()) as third:
        third.require()
    second.finish()


def test_a_pipe_in_the_place_of_a_lock_is_not_opened(locks: Path, tmp_path: Path) -> None:
    os.mkfifo(locks / "tileskip.lease")
    told = Told()
    with Lease(LocalConnection("host", tmp_path / "home"), "profile", note=told) as held:
        assert not held.is_kept
    assert told.has("tileskip.lease cannot be read")()


def test_nothing_of_a_lease_that_was_given_back_is_left(board: Connection, locks: Path) -> None:
    with Lease(board, "profile a", note=Told()):
        assert list(locks.glob("tileskip.holder.*"))
    assert not list(locks.glob("tileskip.holder.*"))
