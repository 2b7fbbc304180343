from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.bundles import write_bundle
from toolchain.board import push
from toolchain.board.local import LocalConnection
from toolchain.build.bundle import Bundle
from toolchain.errors import BoardError, ModelError
from toolchain.hardware.board_file import Board, Ssh, load_board
from toolchain.progress import Silent, Stage

from .conftest import mounted

HASH = "0123456789abcdef" * 4


@pytest.fixture
def board() -> Board:
    return load_board("host")


@pytest.fixture
def connection(tmp_path: Path) -> LocalConnection:
    return LocalConnection("host", tmp_path / "board")


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write_bundle(tmp_path / "bundle", b"runner")


def test_what_is_there_is_not_sent_again(
    board: Board, connection: LocalConnection, bundle: Bundle, tmp_path: Path
) -> None:
    (tmp_path / "m.tflite").write_bytes(b"model")
    uploads = [*push.bundle_uploads(board, bundle), push.model_upload(board, tmp_path / "m.tflite")]
    first = push.push(connection, board, uploads, Silent())
    again = push.push(connection, board, uploads, Silent())
    assert [item.sent for item in first] == [True, True, True]
    assert [item.sent for item in again] == [False, False, False]
    assert connection.sha256(first[2].remote) == first[2].sha256


def test_a_file_that_was_changed_on_the_board_is_sent_again(
    board: Board, connection: LocalConnection, bundle: Bundle, tmp_path: Path
) -> None:
    uploads = push.bundle_uploads(board, bundle)
    push.push(connection, board, uploads, Silent())
    damaged = tmp_path / "board" / uploads[0].remote
    damaged.write_bytes(b"damaged")
    again = push.push(connection, board, uploads, Silent())
    assert [item.sent for item in again] == [True, False]
    assert damaged.read_bytes() == b"runner"


def test_the_runner_may_be_executed(
    board: Board, connection: LocalConnection, bundle: Bundle
) -> None:
    runner, delegate = push.push(connection, board, push.bundle_uploads(board, bundle), Silent())
    modes = connection.run(["stat", "-c", "%a", runner.remote, delegate.remote]).text.split()
    assert modes == ["755", "644"]


def test_two_models_of_one_name_lie_beside_each_other(board: Board, tmp_path: Path) -> None:
    remotes = set()
    for content in ("one", "two"):
        (tmp_path / content).mkdir()
        (tmp_path / content / "m.tflite").write_text(content)
        remotes.add(push.model_upload(board, tmp_path / content / "m.tflite").remote)
    assert len(remotes) == 2


def test_two_bundles_lie_beside_each_other(board: Board, bundle: Bundle, tmp_path: Path) -> None:
    other = write_bundle(tmp_path / "other", b"another runner")
    assert (
        push.bundle_uploads(board, bundle)[0].remote != push.bundle_uploads(board, other)[0].remote
    )


def test_too_little_room_is_told_before_anything_is_sent(
    board: Board, connection: LocalConnection, tmp_path: Path
) -> None:
    huge = tmp_path / "huge.tflite"
    with huge.open("wb") as stream:  # a hole: nothing is written
        stream.truncate(connection.free_bytes(".") + (8 << 30))
    upload = push.Upload(huge, "tileskip/models/x/huge.tflite", "0" * 64)
    with pytest.raises(
        BoardError, match=r"disk is full: [\d,]+ bytes are needed, [\d,]+ are free"
    ) as caught:
        push.push(connection, board, [upload], Silent())
    assert "deploy boards clean removes models and bundles" in (caught.value.hint or "")
    assert not list((tmp_path / "board").rglob("*.part"))
    assert not list((tmp_path / "board").rglob("huge*"))


@pytest.mark.parametrize("missing", [0, 1])
def test_a_mebibyte_stays_free_beside_what_is_sent(
    board: Board,
    connection: LocalConnection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    missing: int,
) -> None:
    """For folders, inputs and outputs; a byte less is told with the sum that is needed."""
    uploads = []
    for name, size in (("a.tflite", 1000), ("b.tflite", 24)):
        (tmp_path / name).write_bytes(bytes(size))
        uploads.append(push.model_upload(board, tmp_path / name))
    free = 1024 + (1 << 20) - missing
    monkeypatch.setattr(connection, "free_bytes", lambda _: free)
    if missing:
        with pytest.raises(BoardError, match="1,049,600 bytes are needed, 1,049,599 are free"):
            push.push(connection, board, uploads, Silent())
    else:
        sent = push.push(connection, board, uploads, Silent())
        assert [item.sent for item in sent] == [True, True]


def test_what_commands_that_were_cut_off_left_is_removed(
    board: Board, connection: LocalConnection, tmp_path: Path
) -> None:
    """By the next one; what has just begun, and what somebody still works on, stays."""
    place = tmp_path / "board/tileskip"
    model, bundle = f"models/{HASH[:16]}", f"bundles/{HASH[:16]}"
    old = [f"{model}/.00000000000a.part", f"{bundle}/.00000000000b.part", "run-00000000000c/x"]
    used = [f"{model}/.00000000000d.part", "run-00000000000e/x"]
    new = [f"{model}/.00000000000f.part", "run-00000000000f/x"]
    others = [f"{model}/.mine.part", "run-mine/x", f"{model}/m.tflite"]
    for name in [*old, *used, *new, *others]:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).touch()
    for name in [*old, *used, *others]:
        for path in (place / name, (place / name).parent):
            os.utime(path, (0, 0))
    waits = ["/bin/sh", "-c", "read -r line", "sh", *(str(place / name) for name in used)]
    with subprocess.Popen(waits, stdin=subprocess.PIPE) as user:
        push.sweep(connection, board)
        user.communicate(b"")
    left = [str(path.relative_to(place)) for path in place.rglob("*") if path.is_file()]
    assert sorted(left) == sorted([*used, *new, *others])
    for name in used:
        os.utime((place / name).parent, (0, 0))
        if (place / name).suffix == ".part":
            os.utime(place / name, (0, 0))
    push.sweep(connection, board)
    assert not any((place / name).exists() for name in used)


@pytest.mark.parametrize(("hours", "stays"), [(1, True), (23, True), (25, False)])
def test_what_has_arrived_of_a_file_is_kept_for_a_day(
    board: Board, connection: LocalConnection, tmp_path: Path, hours: int, stays: bool
) -> None:
    part = tmp_path / "board/tileskip/models" / HASH[:16] / f".{HASH}.part"
    part.parent.mkdir(parents=True)
    part.touch()
    then = time.time() - hours * 3600
    os.utime(part, (then, then))
    push.sweep(connection, board)
    assert part.exists() is stays


def test_what_has_arrived_stays_while_a_push_has_its_folder(
    board: Board, connection: LocalConnection, tmp_path: Path
) -> None:
    part = tmp_path / "board/tileskip/models" / HASH[:16] / f".{HASH}.part"
    part.parent.mkdir(parents=True)
    part.touch()
    os.utime(part, (0, 0))
    script = 'exec 9<"$1"; flock -x 9; echo held; read -r line'
    with subprocess.Popen(
        ["/bin/sh", "-c", script, "sh", part.parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        push.sweep(connection, board)
        assert part.exists()
        other.communicate(b"\n")
    push.sweep(connection, board)
    assert not part.exists()


def test_a_model_of_two_places_is_sent_once(
    board: Board, connection: LocalConnection, tmp_path: Path
) -> None:
    uploads = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "m.tflite").write_bytes(b"model")
        uploads.append(push.model_upload(board, tmp_path / name / "m.tflite"))
    moved: list[float] = []

    class Counting(Silent):
        @contextmanager
        def stage(self, title: str, total: float | None = None) -> Iterator[Stage]:
            with super().stage(title, total) as stage:
                really_advance = stage.advance

                def advance(steps: float = 1, detail: str | None = None) -> None:
                    moved.append(steps)
                    really_advance(steps, detail)

                stage.advance = advance  # type: ignore[method-assign]
                yield stage

    first, second = push.push(connection, board, uploads, Counting())
    assert first.remote == second.remote
    assert sum(moved) == len(b"model")


def test_a_folder_of_a_run_goes_with_the_part_of_an_input_in_it(
    board: Board, connection: LocalConnection, tmp_path: Path
) -> None:
    part = tmp_path / "board/tileskip/run-00000000000c/.00000000000a.part"
    part.parent.mkdir(parents=True)
    part.touch()
    for path in (part, part.parent):
        os.utime(path, (0, 0))
    push.sweep(connection, board)
    assert not part.parent.exists()


SHELLS = ["dash", "bash", "busybox"]
USERS = {
    "a number": "run-1/x",
    "a year": "run-2024/x",
    "a day": "run-20250101/x",
    "a minute": "run-202501011230/x",
    "a longer number": "run-0123456789abcdef/x",
    "a part of a note": "notes/.a.part",
    "a part of a name like ours": "notes/.00000000000a.part",
    "a part right there": ".00000000000a.part",
    "a part among models": "models/.00000000000a.part",
    "a part of a model of a name": "models/mine/.00000000000a.part",
    "a part below a model": f"models/{HASH[:16]}/x/.00000000000a.part",
    "a short part of a model": f"models/{HASH[:16]}/.a.part",
    "a part in a run of theirs": "run-1/.00000000000a.part",
}


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("directory", ["tileskip", "."])
def test_what_users_put_there_stays(tmp_path: Path, shell: str, directory: str) -> None:
    """Only names that are made here are ours, and only where they are made."""
    place = tmp_path / directory
    ours = [f"models/{HASH[:16]}/.00000000000a.part", "run-00000000000c/x"]
    lay_long_ago(place, [*USERS.values(), *ours])
    swept(shell, tmp_path, directory)
    left = {str(path.relative_to(place)) for path in place.rglob("*") if path.is_file()}
    assert left == set(USERS.values())


@pytest.mark.parametrize("shell", SHELLS)
def test_a_link_to_elsewhere_is_not_swept(tmp_path: Path, shell: str) -> None:
    place, elsewhere = tmp_path / "tileskip", tmp_path / "elsewhere"
    lay_long_ago(elsewhere, [f"models/{HASH[:16]}/.00000000000a.part", "x/.00000000000a.part"])
    place.mkdir()
    (place / "models").symlink_to(elsewhere / "models")
    (place / "bundles").mkdir()
    (place / "bundles" / HASH[:16]).symlink_to(elsewhere / "x")
    (place / "run-00000000000c").symlink_to(elsewhere / "x")
    swept(shell, tmp_path, "tileskip")
    assert len(list(elsewhere.rglob("*.part"))) == 2


@pytest.mark.parametrize("shell", SHELLS)
def test_a_search_path_of_cd_leads_nowhere_else(tmp_path: Path, shell: str) -> None:
    lay_long_ago(tmp_path / "src/tileskip", ["run-00000000000c/x"])
    lay_long_ago(tmp_path / "tileskip", ["run-00000000000d/x"])
    swept(shell, tmp_path, "tileskip", CDPATH=str(tmp_path / "src"))
    assert [path.parent.name for path in tmp_path.rglob("x")] == ["run-00000000000c"]


def test_a_run_has_a_folder_of_a_name_that_is_swept(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name of digits alone may be a date, which is a user's."""
    drawn = iter(["202501011230", "00000000000c"])
    monkeypatch.setattr(secrets, "token_hex", lambda _: next(drawn))
    assert push.run_folder(board) == f"{board.ssh.directory}/run-00000000000c"


def lay_long_ago(place: Path, names: Sequence[str]) -> None:
    for name in names:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).touch()
    for path in place.rglob("*"):
        os.utime(path, (0, 0))


def swept(shell: str, home: Path, directory: str, **environment: str) -> None:
    """Sweep as a board does that has this shell; one of busybox has its other programs, too."""
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    with tempfile.TemporaryDirectory() as programs:
        for applet in ("find", "grep", "flock", "rm"):
            found = program if shell == "busybox" else shutil.which(applet)
            (Path(programs) / applet).symlink_to(found or program)
        done = subprocess.run(
            [program, *(["sh"] if shell == "busybox" else []), "-c", push._SWEEP, "sh", directory,
             str(push.RESUMED_FOR_MIN)],
            cwd=home, check=True, env={"PATH": programs} | environment, capture_output=True,
            text=True,
        )  # fmt: skip
    assert done.stderr == ""


def test_where_nothing_was_ever_pushed_there_is_nothing_to_sweep(
    board: Board, connection: LocalConnection, tmp_path: Path
) -> None:
    push.sweep(connection, board)
    assert list((tmp_path / "board").iterdir()) == []


@pytest.mark.parametrize("directory", ["~/deep/tileskip", "~"])
def test_a_folder_named_by_a_tilde_lies_in_the_home(
    board: Board, connection: LocalConnection, bundle: Bundle, tmp_path: Path, directory: str
) -> None:
    there = board.model_copy(update={"ssh": Ssh(directory=directory)})
    runner, _ = push.push(connection, there, push.bundle_uploads(there, bundle), Silent())
    assert (tmp_path / "board" / directory[2:] / "bundles").is_dir()
    assert connection.run(["test", "-x", runner.remote]).exit_code == 0
    assert not list((tmp_path / "board").rglob("~*"))


@pytest.fixture
def no_programs(tmp_path: Path) -> Iterator[Path]:
    """A file system that is mounted noexec."""
    with mounted(tmp_path / "board" / "barred", "noexec,size=4m") as folder:
        yield folder


def test_a_folder_whose_programs_may_not_be_started_is_told_before_anything_is_sent(
    board: Board, connection: LocalConnection, bundle: Bundle, no_programs: Path
) -> None:
    there = board.model_copy(update={"ssh": Ssh(directory="barred")})
    with pytest.raises(BoardError, match=r"barred/bundles/\w+: .*: Permission denied") as caught:
        push.push(connection, there, push.bundle_uploads(there, bundle), Silent())
    assert "noexec" in (caught.value.hint or "")
    assert "[ssh] directory" in (caught.value.hint or "")
    assert not [path for path in no_programs.rglob("*") if path.is_file()]


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A file system that is mounted read-only."""
    with mounted(tmp_path / "board" / "sealed", "ro,size=4m") as folder:
        yield folder


def test_a_folder_that_cannot_be_written_to_is_told_with_what_helps(
    board: Board, connection: LocalConnection, bundle: Bundle, read_only: Path
) -> None:
    there = board.model_copy(update={"ssh": Ssh(directory=f"{read_only.name}/tileskip")})
    with pytest.raises(BoardError, match="Read-only file system") as caught:
        push.push(connection, there, push.bundle_uploads(there, bundle), Silent())
    assert "[ssh] directory" in (caught.value.hint or "")


def test_models_may_lie_where_no_programs_may(
    board: Board, connection: LocalConnection, no_programs: Path, tmp_path: Path
) -> None:
    (tmp_path / "m.tflite").write_bytes(b"model")
    there = board.model_copy(update={"ssh": Ssh(directory="barred")})
    (sent,) = push.push(
        connection, there, [push.model_upload(there, tmp_path / "m.tflite")], Silent()
    )
    assert (no_programs.parent / sent.remote).is_file()


def test_a_model_that_is_not_there_is_named(board: Board, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"absent\.tflite: cannot be read"):
        push.model_upload(board, tmp_path / "absent.tflite")
