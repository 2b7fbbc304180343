"""One user at a time: whoever measures has a board alone, and what is dead holds nothing."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from support.leases import Told, Waiting
from support.patience import PATIENCE, await_that
from support.places import REPOSITORY
from toolchain import children
from toolchain.board import lease
from toolchain.board.connection import Connection
from toolchain.board.lease import Lease
from toolchain.board.local import LocalConnection
from toolchain.board.ssh import SshConnection
from toolchain.board.target import SshTarget
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
from toolchain import children
from toolchain.board import lease
from toolchain.board.ssh import SshConnection
from toolchain.board.target import SshTarget
user, port, key, known, place, linger = sys.argv[1:]
lease.PLACES = (place, place)
target = SshTarget("127.0.0.1", user, int(port), (Path(key),), (Path(known),), only_identities=True)
with SshConnection("pi", target, linger=int(linger)) as board:
    with lease.Lease(board, "profile", note=lambda line: print(line, flush=True)):
        print("held", flush=True)
        sys.stdin.read()
"""


@contextmanager
def client(target: SshTarget, locks: Path, linger: int = 60) -> Iterator[subprocess.Popen[str]]:
    """Another program that measures, and says when it waits or has the board."""
    (key,), (known,) = target.identities, target.known_hosts
    words = [target.user, str(target.port), str(key), str(known), str(locks), str(linger)]
    with subprocess.Popen(
        [sys.executable, "-c", CLIENT, *words],
        cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def test_a_lease_whose_owner_was_killed_is_free(cuttable: Cuttable, locks: Path) -> None:
    target = cuttable.target
    with client(target, locks) as process:
        assert said(process) == "held\n"
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


def users(file: Path) -> set[int]:
    """The processes that have a lock's file open."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended by now
            for link in (folder / "fd").iterdir():
                with suppress(OSError):
                    if link.readlink() == file:
                        found.add(int(folder.name))
    return found


class Locks:
    """The processes at a board's locks, as the kernel sees them."""

    def __init__(self, folder: Path) -> None:
        self._queue, self._lease = folder / "tileskip.queue", folder / "tileskip.lease"

    @property
    def queue(self) -> set[int]:
        return users(self._queue)

    def have_a_next_one(self) -> bool:
        """Besides one that holds the lease, one waits for it, which has no part in the queue."""
        return len(users(self._lease) - self.queue) > 1

    def have_one_alone(self) -> bool:
        """Whether nobody but one that holds the lease is left."""
        return not self.queue and len(users(self._lease)) == 1


def test_who_gives_up_leaves_the_queue_though_the_connection_is_kept(
    board: Connection, someone: Callable[..., Waiting], locks: Path
) -> None:
    assert someone("verify a", shared=True).held.wait(PATIENCE)
    with (
        pytest.raises(LeaseError, match="in use"),
        Lease(board, "profile b", wait=0.0, note=Told()),
    ):
        pytest.fail("it measures beside another one")
    await_that("nobody waits", Locks(locks).have_one_alone)
    assert someone("run c", shared=True).held.wait(PATIENCE)


def test_who_gives_up_behind_others_leaves_the_queue_too(
    board: Connection, someone: Callable[..., Waiting], locks: Path
) -> None:
    ann = someone("verify a", shared=True)
    assert ann.held.wait(PATIENCE)
    first = someone("profile b")
    await_that("it is the next one", Locks(locks).have_a_next_one)
    with pytest.raises(LeaseError, match="in use"), Lease(board, "run c", wait=0.0, note=Told()):
        pytest.fail("it has a board that another one has")
    await_that("one waits", lambda: len(Locks(locks).queue) == 1)
    assert not first.held.is_set()
    ann.finish()
    assert first.held.wait(PATIENCE)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT, signal.SIGSTOP])
def test_a_command_that_ends_while_it_waits_leaves_the_queue(
    cuttable: Cuttable, locks: Path, end: signal.Signals
) -> None:
    """Also one of which nothing is heard any more."""
    processes = Locks(locks)
    with SshConnection("pi", cuttable.target) as board:
        ann = Waiting(board, "verify a", shared=True)
        assert ann.held.wait(PATIENCE)
        with client(cuttable.target, locks, linger=8) as bob:
            assert "waiting for" in said(bob)
            await_that("it is the next one", processes.have_a_next_one)
            os.kill(bob.pid, end)
            await_that("nobody waits", processes.have_one_alone)
            cid = Waiting(board, "run c", shared=True)
            assert cid.held.wait(PATIENCE)
        cid.finish()
        ann.finish()


def test_a_place_in_the_queue_is_free_once_its_script_is_killed(
    someone: Callable[..., Waiting], locks: Path
) -> None:
    processes = Locks(locks)
    assert someone("verify a", shared=True).held.wait(PATIENCE)
    someone("profile b")
    await_that("it is the next one", processes.have_a_next_one)
    os.kill(min(processes.queue), signal.SIGKILL)
    await_that("nobody waits", lambda: not processes.queue)
    assert someone("run c", shared=True).held.wait(PATIENCE)


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


@pytest.fixture(params=["dash", "bash", "busybox"])
def shell_board(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Connection:
    """A board whose ``sh`` is one of several."""
    found = shutil.which(request.param)
    if not found:
        pytest.skip(f"{request.param} is not installed")
    (tmp_path / "sh").symlink_to(found)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return LocalConnection("host", tmp_path / "home")


def test_every_shell_hands_a_board_over(shell_board: Connection) -> None:
    with Lease(shell_board, "profile a", note=Told()):
        second = Waiting(shell_board, "profile b")
        await_that("it waits", second.told.has("waiting for"))
    assert second.held.wait(PATIENCE)
    with Lease(shell_board, "profile c", force=True, note=Told()) as third:
        third.require()
    second.finish()


def test_every_shell_waits_for_one_that_does_not_say_who_it_is(
    shell_board: Connection, locks: Path
) -> None:
    with (locks / "tileskip.lease").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        waiting = Waiting(shell_board, "profile")
        await_that("it waits", Locks(locks).have_a_next_one)
        assert not waiting.held.is_set()
    assert waiting.held.wait(PATIENCE)
    waiting.finish()


def test_every_shell_ends_who_gives_up(
    shell_board: Connection, locks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By itself: nobody has to end it."""
    first = Waiting(shell_board, "verify a", shared=True)
    assert first.held.wait(PATIENCE)
    with monkeypatch.context() as patched:
        patched.setattr(lease, "_GRACE_S", PATIENCE)
        patched.setattr(children, "kill_group", lambda process: process.wait())
        with (
            pytest.raises(LeaseError, match="in use"),
            Lease(shell_board, "profile b", wait=0.0, note=Told()),
        ):
            pytest.fail("it measures beside another one")
        await_that("nobody waits", Locks(locks).have_one_alone)
    first.finish()


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
