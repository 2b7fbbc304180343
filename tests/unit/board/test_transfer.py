"""A file arrives whole or not at all, and a transfer that was cut goes on where it ended."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import posixpath
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from support.leases import Told
from support.patience import PATIENCE, await_that
from support.relay import Relay
from support.unreadable import unreadable_after
from toolchain.board import push, transfer
from toolchain.board.local import LocalConnection
from toolchain.board.ssh import SshConnection
from toolchain.board.target import SshTarget
from toolchain.board.transfer import Goal, Sender
from toolchain.errors import BoardError, ConnectionFailed, ModelError
from toolchain.hardware.board_file import Board, Ssh, load_board
from toolchain.progress import Silent

from .conftest import mounted, reached

SIZE = 1_000_000
FOLDER = "tileskip/models/0123456789abcdef"


@pytest.fixture
def connection(tmp_path: Path) -> LocalConnection:
    return LocalConnection("host", tmp_path / "board")


@pytest.fixture
def content() -> bytes:
    return os.urandom(SIZE)


@pytest.fixture
def goal(tmp_path: Path, content: bytes) -> Goal:
    return goal_of(tmp_path / "m.tflite", content)


def goal_of(path: Path, content: bytes) -> Goal:
    path.write_bytes(content)
    known = hashlib.sha256(content).hexdigest()
    return Goal(path, f"{FOLDER}/{path.name}", known, 0o640, len(content))


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """The folder on the board."""
    folder = tmp_path / "board" / FOLDER
    folder.mkdir(parents=True)
    return folder


class Sent:
    """Bytes that reached the program on the board, and what was told of them."""

    def __init__(self, connection: LocalConnection, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bytes, self.advances, self.notes = 0, list[int](), Told()
        really_execute = connection.execute

        def execute(argv: list[str], **given: object) -> tuple[int, str]:
            source = given.get("stdin")
            if source is not None:
                really_read = source.read  # type: ignore[attr-defined]

                def read(size: int) -> bytes:
                    piece: bytes = really_read(size)
                    self.bytes += len(piece)
                    return piece

                source.read = read  # type: ignore[attr-defined]
            return really_execute(argv, **given)  # type: ignore[arg-type]

        monkeypatch.setattr(connection, "execute", execute)
        self._sender = Sender(connection, self.notes)

    def look(self, goal: Goal) -> int:
        return self._sender.look([goal])[goal.remote]

    def send(self, goal: Goal) -> str | None:
        return self._sender.send(goal, self.advances.append)


@pytest.fixture
def sent(connection: LocalConnection, monkeypatch: pytest.MonkeyPatch) -> Sent:
    return Sent(connection, monkeypatch)


def require_whole(there: Path, goal: Goal, content: bytes) -> None:
    assert (there / "m.tflite").read_bytes() == content
    assert (there / "m.tflite").stat().st_mode & 0o777 == goal.mode
    assert [path.name for path in there.iterdir()] == ["m.tflite"]


@pytest.mark.parametrize("arrived", [0, SIZE // 2])
@pytest.mark.parametrize("readable", [0, SIZE // 4])
def test_a_file_that_goes_away_is_told_by_its_name(
    sent: Sent,
    goal: Goal,
    there: Path,
    content: bytes,
    monkeypatch: pytest.MonkeyPatch,
    arrived: int,
    readable: int,
) -> None:
    """Wherever it is read: to be compared, to see whether it shrinks, to be sent."""
    (there / goal.part).write_bytes(content[:arrived])

    def going(path: Path, _mode: str) -> io.FileIO:
        return unreadable_after(path, readable)

    monkeypatch.setattr(Path, "open", going)
    with pytest.raises(ModelError, match=r"m\.tflite: cannot be read: Input/output error"):
        sent.send(goal)


def test_a_file_that_is_gone_is_told_by_its_name(sent: Sent, goal: Goal) -> None:
    goal.local.unlink()
    with pytest.raises(ModelError, match=r"m\.tflite: cannot be read: No such file") as caught:
        sent.send(goal)
    assert caught.value.exit_code == 3


# --- what has arrived before -----------------------------------------------------------------


@pytest.mark.parametrize("arrived", [0, 1, SIZE // 2, SIZE - 1, SIZE])
def test_only_what_is_missing_is_sent(
    sent: Sent, goal: Goal, there: Path, content: bytes, arrived: int
) -> None:
    (there / goal.part).write_bytes(content[:arrived])
    sent.send(goal)
    require_whole(there, goal, content)
    assert sent.bytes == SIZE - arrived
    assert sum(sent.advances) == SIZE


@pytest.mark.parametrize("place", [0, SIZE // 4, SIZE // 2 - 1])
def test_what_is_no_beginning_of_the_file_is_thrown_away(
    sent: Sent, goal: Goal, there: Path, content: bytes, place: int
) -> None:
    """A board that lost its power may have written zeros."""
    part = bytearray(content[: SIZE // 2])
    part[place] ^= 1
    (there / goal.part).write_bytes(part)
    sent.send(goal)
    require_whole(there, goal, content)
    assert sent.bytes == SIZE


def test_what_is_longer_than_the_file_is_thrown_away(
    sent: Sent, goal: Goal, there: Path, content: bytes
) -> None:
    (there / goal.part).write_bytes(content + b"x")
    sent.send(goal)
    require_whole(there, goal, content)


def test_what_another_has_changed_since_it_was_looked_at_is_looked_at_again(
    sent: Sent, goal: Goal, there: Path, content: bytes
) -> None:
    (there / goal.part).write_bytes(content[: SIZE // 2])
    assert sent.look(goal) == SIZE // 2
    (there / goal.part).write_bytes(content[:1000])
    sent.send(goal)
    require_whole(there, goal, content)
    assert min(sent.advances) >= 0
    assert sum(sent.advances) == SIZE


def test_an_empty_file_arrives(connection: LocalConnection, tmp_path: Path) -> None:
    goal = goal_of(tmp_path / "m.tflite", b"")
    Sender(connection, Told()).send(goal, lambda _: None)
    require_whole(tmp_path / "board" / FOLDER, goal, b"")


def test_a_push_that_is_cut_at_80_percent_and_repeated_sends_at_most_25(
    tmp_path: Path,
) -> None:
    size = 50_000_000
    model = tmp_path / "m.tflite"
    model.write_bytes(os.urandom(size))
    board = load_board("host")
    upload = push.model_upload(board, model)
    (tmp_path / "ssh").mkdir()
    with reached("openssh", tmp_path / "ssh") as served, Relay(served.target.port) as relay:
        target = through(relay, served.target, tmp_path)
        relay.after = (size * 8 // 10, "cut")
        with SshConnection("pi", target) as link, pytest.raises(ConnectionFailed):
            push.push(link, board, [upload], Silent())
        assert not (served.home / upload.remote).exists()
        relay.after, relay.fault, before = None, "none", relay.carried
        with SshConnection("pi", target) as link:
            (done,) = push.push(link, board, [upload], Silent())
        assert done.sent
        assert relay.carried - before < size // 4
        assert (served.home / upload.remote).read_bytes() == model.read_bytes()


def through(relay: Relay, target: SshTarget, folder: Path) -> SshTarget:
    """The same board, behind a relay."""
    (known,) = target.known_hosts
    own = folder / "known_hosts"
    own.write_text(known.read_text().replace(f":{target.port}", f":{relay.port}"))
    return replace(target, port=relay.port, known_hosts=(own,))


# --- hashed, synced, renamed -----------------------------------------------------------------


def test_a_copy_that_is_damaged_is_no_file_and_is_not_gone_on_with(
    sent: Sent, goal: Goal, there: Path, content: bytes
) -> None:
    wrong = hashlib.sha256(b"another").hexdigest()
    damaged = Goal(goal.local, goal.remote, wrong, goal.mode, goal.size)
    (there / damaged.part).write_bytes(content[:1000])
    with pytest.raises(BoardError, match=f"SHA-256 is {goal.sha256} after the copy"):
        sent.send(damaged)
    assert list(there.iterdir()) == []


def test_the_file_is_synced_before_it_has_its_name_and_the_folder_after_it(
    sent: Sent, goal: Goal, there: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    played = tmp_path / "bin"
    played.mkdir()
    for name in ("sync", "mv"):
        really = shutil.which(name)
        script = f'#!/bin/sh\necho {name} "$@" >>{log}\nexec {really} "$@"\n'
        (played / name).write_text(script)
        (played / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{played}:{os.environ['PATH']}")
    sent.send(goal)
    assert log.read_text().splitlines() == [
        f"sync -- {goal.part}", f"mv -f -- {goal.part} m.tflite", "sync -- .",
    ]  # fmt: skip
    assert (there / "m.tflite").is_file()


def test_a_board_whose_sync_takes_no_names_syncs_everything(
    sent: Sent, goal: Goal, there: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    played = tmp_path / "bin"
    played.mkdir()
    (played / "sync").write_text(f"#!/bin/sh\n[ $# = 0 ] && echo all >>{log}\n")
    (played / "sync").chmod(0o755)
    monkeypatch.setenv("PATH", f"{played}:{os.environ['PATH']}")
    sent.send(goal)
    assert log.read_text() == "all\nall\n"
    assert (there / "m.tflite").is_file()


@pytest.mark.parametrize("kind", ["folder", "link to a folder"])
def test_a_folder_in_the_way_is_told_and_nothing_goes_into_it(
    sent: Sent, goal: Goal, there: Path, tmp_path: Path, kind: str
) -> None:
    (tmp_path / "other").mkdir()
    if kind == "folder":
        (there / "m.tflite").mkdir()
    else:
        (there / "m.tflite").symlink_to(tmp_path / "other")
    with pytest.raises(BoardError, match="a folder of that name is in the way"):
        sent.send(goal)
    assert list((tmp_path / "other").iterdir()) == []


# --- links -----------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["file", "nothing", "folder"])
def test_a_link_in_the_place_of_a_part_is_not_followed(
    sent: Sent, goal: Goal, there: Path, content: bytes, tmp_path: Path, target: str
) -> None:
    (tmp_path / "file").write_bytes(content[:1000])
    (tmp_path / "folder").mkdir()
    (there / goal.part).symlink_to(tmp_path / target)
    sent.send(goal)
    require_whole(there, goal, content)
    assert (tmp_path / "file").read_bytes() == content[:1000]
    assert not (tmp_path / "nothing").exists()
    assert list((tmp_path / "folder").iterdir()) == []


def test_a_push_refuses_a_link_in_the_place_of_a_part(
    connection: LocalConnection, tmp_path: Path
) -> None:
    board = load_board("host")
    model = tmp_path / "m.tflite"
    model.write_bytes(b"model")
    upload = push.model_upload(board, model)
    folder = tmp_path / "board" / posixpath.dirname(upload.remote)
    folder.mkdir(parents=True)
    (folder / f".{upload.sha256}.part").symlink_to(tmp_path / "victim")
    with pytest.raises(BoardError, match="is a link"):
        push.push(connection, board, [upload], Silent())
    there = board.model_copy(update={"ssh": Ssh(shared=True)})
    push.push(connection, there, [upload], Silent())
    assert not (tmp_path / "victim").exists()
    assert (folder / "m.tflite").read_bytes() == b"model"


# --- others ----------------------------------------------------------------------------------


def test_two_pushes_of_one_file_at_once_do_not_spoil_each_other(
    tmp_path: Path, there: Path, goal: Goal, content: bytes
) -> None:
    errors: list[BaseException] = []

    def work() -> None:
        try:
            connection = LocalConnection("host", tmp_path / "board")
            Sender(connection, Told()).send(goal, lambda _: None)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert errors == []
    require_whole(there, goal, content)


class Holding:
    """Another push, which has the folder."""

    def __init__(self, there: Path) -> None:
        script = 'exec 9<"$1"; flock -x 9; echo held; read -r line'
        self.process = subprocess.Popen(
            ["/bin/sh", "-c", script, "sh", there], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"held\n"

    def end(self) -> None:
        self.process.communicate(b"\n")


@pytest.fixture
def holding(there: Path) -> Iterator[Holding]:
    found = Holding(there)
    yield found
    found.process.kill()
    found.process.communicate()


@pytest.mark.parametrize("left", ["a part", "the file", "nothing"])
def test_another_push_of_the_file_is_waited_for(
    sent: Sent, goal: Goal, there: Path, content: bytes, holding: Holding, left: str
) -> None:
    errors: list[BaseException] = []

    def work() -> None:
        try:
            sent.send(goal)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    await_that("it waits", sent.notes.has("waiting for another push of m.tflite"))
    if left == "a part":
        (there / goal.part).write_bytes(content[:1000])
    elif left == "the file":
        (there / "m.tflite").write_bytes(content)
        (there / "m.tflite").chmod(goal.mode)
    holding.end()
    thread.join(PATIENCE)
    assert errors == []
    require_whole(there, goal, content)
    assert sent.bytes == {"a part": SIZE - 1000, "the file": 0, "nothing": SIZE}[left]


def test_another_push_that_moves_nothing_is_told(
    sent: Sent, goal: Goal, holding: Holding, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "_WAIT", "exit 0")
    with pytest.raises(BoardError, match="another push has it, and moved nothing") as caught:
        sent.send(goal)
    assert "end that push" in (caught.value.hint or "")
    assert holding.process.poll() is None


# --- what a board lacks ----------------------------------------------------------------------


def without(program: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A board that lacks a program."""
    folder.mkdir()
    for place in ("/usr/bin", "/bin", "/usr/sbin", "/sbin"):
        for path in Path(place).iterdir():
            if path.name not in (program, "busybox") and not (folder / path.name).exists():
                (folder / path.name).symlink_to(path)
    monkeypatch.setenv("PATH", str(folder))


def test_without_locks_a_file_is_sent_whole_and_leaves_nothing(
    sent: Sent, goal: Goal, there: Path, content: bytes, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    without("flock", tmp_path / "bin", monkeypatch)
    sent.send(goal)
    require_whole(there, goal, content)
    assert sum(sent.advances) == SIZE


def test_on_a_file_system_without_locks_a_file_arrives(
    sent: Sent, goal: Goal, there: Path, content: bytes, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """What flock says there is another number than where somebody has the lock."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "flock").write_text("#!/bin/sh\nexit 65\n")
    (tmp_path / "bin" / "flock").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    sent.send(goal)
    require_whole(there, goal, content)


def text_of(size: int) -> bytes:
    return b"".join(b"line %d of a file that shrinks\n" % number for number in range(size // 30))


def test_what_shrinks_goes_packed_over_a_slow_link(
    sent: Sent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "SLOW", float("inf"))
    content = text_of(3_000_000)
    sent.send(goal_of(tmp_path / "m.tflite", content))
    assert (tmp_path / "board" / FOLDER / "m.tflite").read_bytes() == content
    probe = 256 * 1024
    assert sent.bytes < probe + 1.3 * len(gzip.compress(content[probe:], 6))
    assert sum(sent.advances) == len(content)


def test_over_a_fast_link_it_goes_as_it_is(
    sent: Sent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "SLOW", 0.0)
    content = text_of(3_000_000)
    sent.send(goal_of(tmp_path / "m.tflite", content))
    assert sent.bytes == len(content)


def test_weights_are_never_packed(sent: Sent, goal: Goal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "SLOW", float("inf"))
    sent.send(goal)
    assert sent.bytes == SIZE


def test_a_board_without_gzip_gets_the_file_as_it_is(
    sent: Sent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without("gzip", tmp_path / "bin", monkeypatch)
    monkeypatch.setattr(transfer, "SLOW", float("inf"))
    content = text_of(3_000_000)
    sent.send(goal_of(tmp_path / "m.tflite", content))
    assert sent.bytes == len(content)


def test_a_packed_transfer_that_was_cut_goes_on(
    sent: Sent, tmp_path: Path, there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "SLOW", float("inf"))
    content = text_of(3_000_000)
    goal = goal_of(tmp_path / "m.tflite", content)
    (there / goal.part).write_bytes(content[:2_000_000])
    sent.send(goal)
    require_whole(there, goal, content)
    assert sent.bytes < 900_000


# --- the disk --------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB."""
    with mounted(tmp_path / "board" / "small", "size=3m") as folder:
        yield folder


def small_board() -> Board:
    return load_board("host").model_copy(update={"ssh": Ssh(directory="small")})


def test_what_has_arrived_needs_no_room_again(
    connection: LocalConnection, small_disk: Path, tmp_path: Path
) -> None:
    content = os.urandom(1_900_000)
    model = tmp_path / "m.tflite"
    model.write_bytes(content)
    upload = push.model_upload(small_board(), model)
    folder = small_disk.parent / posixpath.dirname(upload.remote)
    folder.mkdir(parents=True)
    (folder / f".{upload.sha256}.part").write_bytes(content[:1_500_000])
    push.push(connection, small_board(), [upload], Silent())
    assert (folder / "m.tflite").read_bytes() == content


def test_a_disk_that_fills_up_on_the_way_keeps_no_part(
    connection: LocalConnection, small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "m.tflite"
    model.write_bytes(os.urandom(4_000_000))
    upload = push.model_upload(small_board(), model)
    really_free = connection.free_bytes
    answers = iter([1 << 40])
    monkeypatch.setattr(
        connection, "free_bytes", lambda folder: next(answers, None) or really_free(folder)
    )
    with pytest.raises(BoardError, match="disk is full: 4,000,000 bytes are needed") as caught:
        push.push(connection, small_board(), [upload], Silent())
    free = int(caught.value.what.split("needed, ")[1].split(" are")[0].replace(",", ""))
    assert free > 2_900_000, "what had been copied is counted as free again"
    assert not [path for path in small_disk.rglob("*") if path.is_file()]
