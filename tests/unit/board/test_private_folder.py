"""Files on a board lie where nobody else can put another in their place."""

from __future__ import annotations

import os
import posixpath
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from support.powered import program
from toolchain.board import push
from toolchain.board.local import LocalConnection
from toolchain.board.private_folder import require_private
from toolchain.errors import BoardError
from toolchain.hardware.board_file import Board, Ssh, load_board
from toolchain.progress import Silent

FILES = ["tileskip/bundles/0123/tileskip-run", "tileskip/models/4567/m.tflite"]
OTHER_USER, OTHER_GROUP = 12345, 12345


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home on the board, with everything that was pushed before."""
    folder = tmp_path / "home"
    for name in FILES:
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(b"content")
    return folder


@pytest.fixture
def connection(home: Path) -> LocalConnection:
    return LocalConnection("board", home)


def move_and_link(path: Path) -> None:
    """As another user would: what is there now, for as long as it is looked at."""
    moved = path.with_name("elsewhere")
    path.rename(moved)
    path.symlink_to(moved)


def given_away(user: int, group: int, mode: int) -> Callable[[Path], None]:
    def give(path: Path) -> None:
        if os.geteuid():
            pytest.skip("only root may give files away")
        os.chown(path, user, group)
        path.chmod(mode)

    return give


FAULTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "a link": (move_and_link, "is a link"),
    "open to all": (lambda path: path.chmod(0o757), "may be written to by other users"),
    "open to a group": (given_away(0, OTHER_GROUP, 0o775), "may be written to by other users"),
    "another's": (given_away(OTHER_USER, 0, 0o755), "belongs to another user"),
    "another's, sticky": (given_away(OTHER_USER, 0, 0o1777), "belongs to another user"),
}


@pytest.mark.parametrize("part", ["tileskip", "tileskip/bundles", "tileskip/bundles/0123"])
@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("absolute", [False, True])
def test_a_folder_that_others_could_change_is_refused(
    home: Path, connection: LocalConnection, name: str, part: str, absolute: bool
) -> None:
    before = str(home) if absolute else ""
    place, files = posixpath.join(before, "tileskip"), [posixpath.join(before, it) for it in FILES]
    require_private(connection, place, files)
    fault, said = FAULTS[name]
    fault(home / part)
    with pytest.raises(BoardError, match=said) as caught:
        require_private(connection, place, files)
    assert f"{posixpath.join(before, part)}: " in caught.value.what
    assert "shared = true" in (caught.value.hint or "")


@pytest.mark.parametrize("name", ["open to all", "open to a group", "another's"])
def test_so_is_one_above_it(home: Path, connection: LocalConnection, name: str) -> None:
    fault, said = FAULTS[name]
    fault(home)
    with pytest.raises(BoardError, match=said):
        require_private(connection, str(home / "tileskip"), [str(home / it) for it in FILES])
    with pytest.raises(BoardError, match=said):
        require_private(connection, "tileskip", FILES)


def test_a_folder_like_tmp_is_no_danger(home: Path, connection: LocalConnection) -> None:
    home.chmod(0o1777)
    require_private(connection, str(home / "tileskip"), [str(home / it) for it in FILES])


def test_a_folder_of_ones_own_group_alone_is_no_danger(
    home: Path, connection: LocalConnection
) -> None:
    (home / "tileskip").chmod(0o775)  # as a umask of 002 makes it
    require_private(connection, "tileskip", FILES)


def test_a_link_of_root_above_it_is_no_danger(home: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(home)
    connection = LocalConnection("board", home)
    if link.lstat().st_uid:
        pytest.skip("the link would have to be root's")
    require_private(connection, str(link / "tileskip"), [str(link / it) for it in FILES])


def test_what_is_not_there_yet_is_no_danger(connection: LocalConnection) -> None:
    require_private(connection, "new/deep", ["new/deep/bundles/1/tileskip-run"])


@pytest.mark.parametrize("kind", ["link", "folder", "link to a folder", "dangling link"])
def test_a_file_is_a_file(
    home: Path, connection: LocalConnection, tmp_path: Path, kind: str
) -> None:
    file = home / FILES[1]
    file.unlink()
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"content")
    targets = {"link": "file", "link to a folder": "folder", "dangling link": "nothing"}
    if kind == "folder":
        file.mkdir()
    else:
        file.symlink_to(tmp_path / targets[kind])
    said = "is there and is no regular file" if kind == "folder" else "is a link"
    with pytest.raises(BoardError, match=said):
        require_private(connection, "tileskip", FILES)
    with pytest.raises(BoardError, match="is in the way") if "folder" in kind else nullcontext():
        connection.put(tmp_path / "file", FILES[1])
        assert not file.is_symlink()
    assert list((tmp_path / "folder").iterdir()) == []
    assert not (tmp_path / "nothing").exists()


def test_a_push_looks_first_unless_the_board_says_that_it_is_meant_so(
    home: Path, connection: LocalConnection, tmp_path: Path
) -> None:
    (tmp_path / "m.tflite").write_bytes(b"model")
    move_and_link(home / "tileskip")

    def pushed(board: Board) -> list[push.Pushed]:
        uploads = [push.model_upload(board, tmp_path / "m.tflite")]
        return push.push(connection, board, uploads, Silent())

    board = load_board("host")
    with pytest.raises(BoardError, match="tileskip: is a link"):
        pushed(board)
    assert len(list((home / "elsewhere/models").iterdir())) == 1
    (sent,) = pushed(board.model_copy(update={"ssh": Ssh(shared=True)}))
    assert (home / sent.remote).read_bytes() == b"model"


def test_folders_that_a_push_makes_are_its_users_alone(
    home: Path, connection: LocalConnection, tmp_path: Path
) -> None:
    (tmp_path / "m.tflite").write_bytes(b"model")
    board = load_board("host").model_copy(update={"ssh": Ssh(directory="fresh")})
    before = os.umask(0)
    try:
        push.push(connection, board, [push.model_upload(board, tmp_path / "m.tflite")], Silent())
    finally:
        os.umask(before)
    for folder in (path for path in (home / "fresh").rglob("*") if path.is_dir()):
        assert folder.stat().st_mode & 0o022 == 0


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_part_that_another_push_renames_meanwhile_is_no_danger(
    home: Path,
    connection: LocalConnection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    when: str,
) -> None:
    """Just before it is looked at, or just after."""
    part = f"{posixpath.dirname(FILES[0])}/.0123.part"
    (home / part).write_bytes(b"half")
    gone = f'case $* in *.part) rm -f -- "{home / part}" ;; esac'
    real = f'{shutil.which("ls")} "$@"'
    lines = [gone, real] if when == "before" else [real, gone]
    program(tmp_path / "bin/ls", "; ".join(lines))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    require_private(connection, "tileskip", [*FILES, part])
    assert not (home / part).exists()
