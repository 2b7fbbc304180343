"""Bundles and models on a board are listed and removed; what is in use, or not ours, stays."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from support.leases import Told, Waiting
from support.own_hash import own_hash
from support.patience import PATIENCE, await_that
from toolchain.board import push, store
from toolchain.board.cleaning import Cleaning
from toolchain.board.connection import Connection
from toolchain.board.lease import WAIT_S
from toolchain.board.local import LocalConnection
from toolchain.errors import BoardError, LeaseError
from toolchain.hardware.board_file import Ssh, load_board
from toolchain.progress import Silent

BOARD = load_board("host")
DAY = 86400.0
OLD, NEWER, NEW = own_hash("a"), own_hash("b"), own_hash("c")


pytestmark = pytest.mark.usefixtures("locks")


@pytest.fixture
def connection(tmp_path: Path) -> LocalConnection:
    return LocalConnection("host", tmp_path / "board")


@pytest.fixture
def place(tmp_path: Path, connection: LocalConnection) -> Path:  # noqa: ARG001
    """The folder of everything: two models, 40 and 3 days old, and a bundle of today."""
    place = tmp_path / "board" / "tileskip"
    lay(place / "models" / OLD, 40 * DAY, {"old.tflite": 3000})
    lay(place / "models" / NEWER, 3 * DAY, {"newer.tflite": 2000})
    lay(place / "bundles" / NEW, 0, {"tileskip-run": 700, "libtileskip_delegate.so": 300})
    return place


def lay(folder: Path, age: float, files: dict[str, int]) -> Path:
    folder.mkdir(parents=True)
    for name, size in files.items():
        (folder / name).write_bytes(bytes(size))
    aged(folder, age)
    return folder


def aged(folder: Path, age: float) -> None:
    now = folder.stat().st_ctime
    os.utime(folder, (now - age, now - age))


def clean(
    connection: Connection, told: Callable[[str], None] = lambda _: None, **limits: object
) -> Cleaning:
    cleaning = Cleaning(connection, BOARD)
    cleaning.choose(**limits)  # type: ignore[arg-type]
    cleaning.remove(wait=WAIT_S, force=False, note=told)
    return cleaning


def left(place: Path) -> list[str]:
    return sorted(path.name for kind in ("bundles", "models") for path in (place / kind).iterdir())


# --- what there is ---------------------------------------------------------------------------


@pytest.mark.usefixtures("place")
def test_each_bundle_and_model_is_listed_with_its_size_and_last_use(
    connection: LocalConnection,
) -> None:
    found = store.stored(connection, BOARD)
    assert [(it.kind, it.hash, set(it.names), it.bytes) for it in found] == [
        ("bundles", NEW, {"tileskip-run", "libtileskip_delegate.so"}, 1000),
        ("models", NEWER, {"newer.tflite"}, 2000),
        ("models", OLD, {"old.tflite"}, 3000),
    ]
    assert [round(it.age / DAY) for it in found] == [0, 3, 40]
    assert {it.used_by for it in found} == {None}
    assert not any(it.leftover for it in found)


@pytest.mark.parametrize(
    "name", ["two\nlines", "it's", '"', "-n", "*", "ü", "a b", "\x1b[2J", "\\"]
)
def test_names_are_listed_to_the_byte(connection: LocalConnection, place: Path, name: str) -> None:
    (place / "models" / OLD / name).write_bytes(b"1")
    (one,) = (it for it in store.stored(connection, BOARD) if it.hash == OLD)
    assert set(one.names) == {"old.tflite", name}
    assert one.bytes == 3001


def test_a_name_of_lone_bytes_is_listed_to_the_byte(
    connection: LocalConnection, place: Path
) -> None:
    name = os.fsdecode(b"lone \xff")
    (place / "models" / OLD / name).write_bytes(b"1")
    (one,) = (it for it in store.stored(connection, BOARD) if it.hash == OLD)
    assert set(one.names) == {"old.tflite", name}


def test_where_nothing_was_pushed_there_is_nothing(connection: LocalConnection) -> None:
    assert store.stored(connection, BOARD) == []


def others_in(place: Path) -> list[Path]:
    """What a user may have put there."""
    made = [place / "notes.txt", place / "models" / "mine.tflite", place / "models" / "mine" / "m"]
    made += [place / "models" / ("d" * 15) / "m", place / "models" / ("D" * 16) / "m"]
    made += [place / "mine" / ("e" * 16) / "m", place / "models" / ("e" * 16) / "folder" / "m"]
    for path in made:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"mine")
    return made


def test_what_is_not_of_the_store_is_neither_listed_nor_removed(
    connection: LocalConnection, place: Path, tmp_path: Path
) -> None:
    mine = others_in(place)
    elsewhere = lay(tmp_path / "elsewhere", 50 * DAY, {"m.tflite": 10})
    (place / "models" / ("f" * 16)).symlink_to(elsewhere)
    assert {it.hash for it in store.stored(connection, BOARD)} == {OLD, NEWER, NEW}
    clean(connection, everything=True)
    assert all(path.read_bytes() == b"mine" for path in mine)
    assert (elsewhere / "m.tflite").is_file()
    assert not any((place / kind / it).exists() for kind, it in (("models", OLD), ("bundles", NEW)))


@pytest.mark.parametrize("part", ["tileskip", "tileskip/models", "tileskip/bundles"])
def test_a_link_on_the_way_is_refused(
    connection: LocalConnection, place: Path, tmp_path: Path, part: str
) -> None:
    link = tmp_path / "board" / part
    moved = link.with_name("elsewhere")
    link.rename(moved)
    link.symlink_to(moved)
    with pytest.raises(BoardError, match="is a link"):
        store.stored(connection, BOARD)
    shared = BOARD.model_copy(update={"ssh": Ssh(shared=True)})
    kinds = {it.kind for it in store.stored(connection, shared)}
    # A link of the folder itself is meant so; one below it was made by nobody's push.
    assert kinds == {"bundles", "models"} - {part.partition("/")[2]}
    assert place


# --- what goes -------------------------------------------------------------------------------


def test_what_is_old_goes(connection: LocalConnection, place: Path) -> None:
    done = clean(connection, older_than=30 * DAY).done
    assert done is not None
    assert [it.hash for it in done.removed] == [OLD]
    assert done.freed == 3000
    assert left(place) == [NEWER, NEW]


@pytest.mark.parametrize(
    ("most", "stays"),
    [(6000, [OLD, NEWER, NEW]), (5999, [NEWER, NEW]), (1000, [NEW]), (999, []), (0, [])],
)
def test_the_least_recently_used_go_until_the_rest_fits(
    connection: LocalConnection, place: Path, most: int, stays: list[str]
) -> None:
    clean(connection, max_size=most)
    assert left(place) == stays


def test_without_a_limit_nothing_goes_that_is_whole(
    connection: LocalConnection, place: Path
) -> None:
    clean(connection)
    assert left(place) == [OLD, NEWER, NEW]


@pytest.mark.parametrize(("age", "stays"), [(0, True), (2 * DAY, False)])
def test_a_part_that_no_push_went_on_with_goes_in_any_case(
    connection: LocalConnection, place: Path, age: float, stays: bool
) -> None:
    folder = lay(place / "models" / ("d" * 16), age, {f".{'d' * 64}.part": 500})
    (one,) = (it for it in store.stored(connection, BOARD) if it.hash == "d" * 16)
    assert (one.names, one.bytes, one.leftover) == ((), 500, not stays)
    clean(connection)
    assert folder.exists() is stays


def test_ages_are_told_by_the_boards_own_clock(
    connection: LocalConnection, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A board without a battery may be a year off."""
    played = tmp_path / "bin"
    played.mkdir()
    (played / "date").write_text("#!/bin/sh\necho $(($(/usr/bin/date +%s) + 31536000))\n")
    (played / "date").chmod(0o755)
    monkeypatch.setenv("PATH", f"{played}:{os.environ['PATH']}")
    for folder in [*(place / "models").iterdir(), *(place / "bundles").iterdir()]:
        aged(folder, folder.stat().st_ctime - folder.stat().st_mtime - 365 * DAY)
    clean(connection, older_than=30 * DAY)
    assert left(place) == [NEWER, NEW]


def test_more_than_one_command_line_holds_goes(connection: LocalConnection, place: Path) -> None:
    for number in range(50):
        lay(place / "models" / f"{number:016x}", 50 * DAY, {"m.tflite": 1})
    done = clean(connection, older_than=45 * DAY).done
    assert done is not None
    assert len(done.removed) == 50
    assert left(place) == [OLD, NEWER, NEW]


def test_what_cannot_be_removed_is_told(connection: LocalConnection, place: Path) -> None:
    cleaning = Cleaning(connection, BOARD)
    cleaning.choose(everything=True)
    before = (place / "models" / OLD).stat()
    (place / "models" / OLD / "folder").mkdir()
    os.utime(place / "models" / OLD, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(BoardError, match=f"models/{OLD}: cannot be removed"):
        cleaning.remove(wait=WAIT_S, force=False, note=Told())
    assert left(place) == [OLD]


# --- what is in use --------------------------------------------------------------------------


@pytest.fixture
def pushing(place: Path) -> Iterator[None]:
    """A push that has the folder of the old model."""
    script = "exec 9<.; flock -x 9; echo held; read -r line"
    with subprocess.Popen(
        ["/bin/sh", "-c", script], cwd=place / "models" / OLD,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield
        process.communicate(b"\n")


@pytest.fixture
def running(place: Path, tmp_path: Path) -> Iterator[None]:
    """A program that was started on the old model."""
    model = (place / "models" / OLD / "old.tflite").relative_to(tmp_path / "board")
    with subprocess.Popen(
        ["/bin/sh", "-c", "read -r line", "tileskip-run", "--model", model], stdin=subprocess.PIPE
    ) as process:
        yield
        process.communicate(b"\n")


@pytest.mark.parametrize(
    ("user", "said"), [("pushing", "another push"), ("running", "a program there")]
)
def test_what_is_in_use_stays(
    connection: LocalConnection, place: Path, user: str, said: str,
    request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    request.getfixturevalue(user)
    cleaning = clean(connection, everything=True)
    assert [(it.hash, by) for it, by in cleaning.kept] == [(OLD, said)]
    assert left(place) == [OLD]
    assert (place / "models" / OLD / "old.tflite").is_file()


@pytest.mark.parametrize("user", ["pushing", "running"])
def test_what_is_used_since_it_was_listed_stays(
    connection: LocalConnection, place: Path, user: str, request: pytest.FixtureRequest
) -> None:
    cleaning = Cleaning(connection, BOARD)
    cleaning.choose(everything=True)
    request.getfixturevalue(user)
    cleaning.remove(wait=WAIT_S, force=False, note=Told())
    assert [it.hash for it, _ in cleaning.kept] == [OLD]
    assert left(place) == [OLD]


def test_what_a_command_has_used_since_it_was_listed_stays(
    connection: LocalConnection, place: Path
) -> None:
    cleaning = Cleaning(connection, BOARD)
    cleaning.choose(older_than=DAY)
    aged(place / "models" / OLD, 0)
    cleaning.remove(wait=WAIT_S, force=False, note=Told())
    assert cleaning.kept[0][1] == "a command just now"
    assert left(place) == [OLD, NEW]


def test_who_works_on_the_board_is_waited_for(connection: LocalConnection, place: Path) -> None:
    other = Waiting(connection, "profile m.tflite")
    assert other.held.wait(PATIENCE)
    told = Told()
    thread = threading.Thread(
        target=clean, args=(connection, told), kwargs={"everything": True}, daemon=True
    )
    thread.start()
    await_that("it waits", told.has(r"waiting for .*profile m\.tflite"))
    assert left(place) == [OLD, NEWER, NEW]
    other.finish()
    thread.join(PATIENCE)
    assert left(place) == []


def test_a_cleaning_that_may_not_wait_ends_and_says_for_whom(
    connection: LocalConnection, place: Path
) -> None:
    other = Waiting(connection, "profile m.tflite")
    assert other.held.wait(PATIENCE)
    cleaning = Cleaning(connection, BOARD)
    cleaning.choose(everything=True)
    with pytest.raises(LeaseError, match=r"in use: .*profile m\.tflite"):
        cleaning.remove(wait=0.0, force=False, note=Told())
    other.finish()
    assert left(place) == [OLD, NEWER, NEW]


# --- damaged answers -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "printed",
    [
        b"x\0", b"1\0folder\0", b"1\0folder\0models\0short\0nobody\0001 1\0", b"\xff\0\xff\0",
        b"1\0folder\0models\0" + b"a" * 16 + b"\0nobody\0never never\0",
        b"1\0folder\0models\0" + b"a" * 16 + b"\0nobody\0",
        b"1\0folder\0models\0" + b"a" * 16 + b"\0nobody\0" + b"9" * 30 + b" 1\0",
        b"1\0folder\0models\0" + b"a" * 16 + b"\0nobody\0001 1\0file\0m\0",
        b"1\0folder\0../..\0" + b"a" * 16 + b"\0nobody\0001 1\0",
    ],
)  # fmt: skip
def test_an_answer_that_is_none_is_a_fault_of_the_board(
    connection: LocalConnection, printed: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def execute(argv: list[str], stdout: object = None, **_: object) -> tuple[int, str]:
        if stdout is not None and "models" in argv[2] and "--above" not in argv:
            stdout.write(printed)  # type: ignore[attr-defined]
        return 0, ""

    monkeypatch.setattr(connection, "execute", execute)
    with pytest.raises(BoardError, match="looking at what lies there"):
        store.stored(connection, BOARD)


# --- both at once ----------------------------------------------------------------------------


def test_a_push_and_a_cleaning_at_once_spoil_nothing(tmp_path: Path) -> None:
    """Neither fails, and whatever has its name on the board is whole."""
    content = os.urandom(300_000)
    (tmp_path / "m.tflite").write_bytes(content)
    upload = push.model_upload(BOARD, tmp_path / "m.tflite")
    errors, cleaned = list[BaseException](), threading.Event()
    over = threading.Event()

    def remove() -> None:
        connection = LocalConnection("host", tmp_path / "board")
        try:
            while not over.is_set():
                cleaning = clean(connection, everything=True)
                if cleaning.done and cleaning.done.removed:
                    cleaned.set()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=remove)
    thread.start()
    connection = LocalConnection("host", tmp_path / "board")
    try:
        for number in range(100):
            (pushed,) = push.push(connection, BOARD, [upload], Silent())
            with suppress(FileNotFoundError):
                assert (tmp_path / "board" / pushed.remote).read_bytes() == content
            if number >= 10 and cleaned.is_set():
                break
    finally:
        over.set()
        thread.join(PATIENCE)
    assert errors == []
    assert cleaned.is_set()
