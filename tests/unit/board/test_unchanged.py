"""What is changed on a board between its push and its run is noticed before it is run."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from support.bundles import write_bundle, write_masked_model
from toolchain.board import unchanged
from toolchain.board.invoke import BoardRunner, Settings
from toolchain.board.local import LocalConnection
from toolchain.errors import BoardError
from toolchain.hardware.board_file import load_board
from toolchain.progress import Lines
from toolchain.storage.cache import sha256_file
from toolchain.tflite_file.graph import Model, read_model

OURS = b'#!/bin/sh\necho ours "$@"\n'
THEIRS = b'#!/bin/sh\necho them "$@"\n'
FILES = ["tileskip-run", "libtileskip_delegate.so", "m.tflite"]


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return read_model(write_masked_model(tmp_path / "m.tflite", size=4, channels=2))


@pytest.fixture
def runner(tmp_path: Path, model: Model) -> BoardRunner:
    """One on whose board everything lies by now."""
    bundle = write_bundle(tmp_path / "bundle", OURS)
    made = BoardRunner(
        LocalConnection("host", tmp_path / "board"), load_board("host"), bundle, Lines()
    )
    made.push_models([Path(model.path)])
    return made


def on_the_board(tmp_path: Path, name: str) -> Path:
    (path,) = (tmp_path / "board").rglob(name)
    return path


def rewritten(path: Path) -> None:
    """In its place, as long as before and of the same time."""
    before = path.stat()
    path.write_bytes(THEIRS.ljust(before.st_size, b"#")[: before.st_size])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replaced(path: Path) -> None:
    before = path.stat()
    other = path.with_name("other")
    other.write_bytes(THEIRS.ljust(before.st_size, b"#")[: before.st_size])
    other.chmod(before.st_mode)
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.rename(path)


def linked(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(THEIRS)
    other.chmod(0o755)
    path.unlink()
    path.symlink_to(other)


CHANGES: dict[str, Callable[[Path], None]] = {
    "rewritten": rewritten,
    "replaced": replaced,
    "removed": Path.unlink,
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("change", CHANGES)
def test_what_was_changed_since_is_sent_anew_before_it_runs(
    tmp_path: Path, runner: BoardRunner, model: Model, name: str, change: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert runner.run(model, Settings()).report.startswith("ours ")
    path = on_the_board(tmp_path, name)
    before = sha256_file(path)
    CHANGES[change](path)
    capsys.readouterr()
    assert runner.run(model, Settings()).report.startswith("ours ")
    assert sha256_file(path) == before
    assert f"{name}: was changed or removed there since it was pushed" in capsys.readouterr().err


@pytest.mark.parametrize("name", FILES)
def test_a_link_in_the_place_of_a_file_is_refused(
    tmp_path: Path, runner: BoardRunner, model: Model, name: str
) -> None:
    linked(on_the_board(tmp_path, name))
    with pytest.raises(BoardError, match="is a link"):
        runner.run(model, Settings())


def test_what_was_only_touched_is_run_and_not_sent(
    tmp_path: Path, runner: BoardRunner, model: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    path = on_the_board(tmp_path, "tileskip-run")
    os.utime(path, (1, 1))
    inode = path.stat().st_ino
    assert runner.run(model, Settings()).report.startswith("ours ")
    assert path.stat().st_ino == inode
    assert "sent anew" not in capsys.readouterr().err


def test_nothing_is_hashed_again_for_a_second_run(
    runner: BoardRunner, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner.run(model, Settings())
    asked: list[object] = []
    really_examine = unchanged.examine

    def examine(*given: object) -> object:
        asked.append(given)
        return really_examine(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(unchanged, "examine", examine)
    runner.run(model, Settings())
    assert asked == []


def test_a_file_that_is_changed_again_and_again_is_told(
    tmp_path: Path, runner: BoardRunner, model: Model
) -> None:
    path = on_the_board(tmp_path, "m.tflite")
    really_look = runner._look_again

    def look(files: object) -> None:
        really_look(files)  # type: ignore[arg-type]
        rewritten(path)

    runner._look_again = look  # type: ignore[method-assign]
    rewritten(path)
    with pytest.raises(BoardError, match=r"m\.tflite: .* changed again and again"):
        runner.run(model, Settings())


def test_the_exit_code_of_the_guard_is_the_runners_where_the_guard_says_nothing(
    tmp_path: Path, model: Model
) -> None:
    bundle = write_bundle(tmp_path / "bundle", b"#!/bin/sh\nexit 79\n")
    connection = LocalConnection("host", tmp_path / "board")
    runner = BoardRunner(connection, load_board("host"), bundle, Lines())
    with pytest.raises(BoardError, match="the runner ended with 79"):
        runner.run(model, Settings())


def played_stat(folder: Path, format_: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A board whose file system keeps whole seconds, as ``stat`` there tells it."""
    folder.mkdir()
    script = f'#!/bin/sh\n[ "$2" = "%i %s %y" ] && exec /usr/bin/stat -c "%i %s %Y" "$4"\n{format_}'
    (folder / "stat").write_text(script)
    (folder / "stat").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


@pytest.mark.parametrize(("age", "known"), [(0, False), (10, True)])
def test_where_times_are_whole_seconds_what_has_just_changed_has_no_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, age: int, known: bool
) -> None:
    connection = LocalConnection("host", tmp_path / "board")
    path = tmp_path / "board" / "folder" / "file"
    path.parent.mkdir()
    path.write_bytes(b"content")
    seconds = int(time.time()) - age
    line = f'echo "{seconds} 1 7 x:00.000000000 +0000 x:00.000000000 +0000"'
    played_stat(tmp_path / "bin", line.replace("x:00", "2026-01-01 00:00:00"), monkeypatch)
    seen = unchanged.examine(connection, {"folder/file": "0" * 64})["folder/file"]
    assert seen.sha256 == sha256_file(path)
    assert (seen.mark is not None) is known


def test_a_board_that_tells_no_marks_has_its_files_hashed_before_each_run(
    tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    played_stat(tmp_path / "bin", "exit 1", monkeypatch)
    bundle = write_bundle(tmp_path / "bundle", OURS)
    connection = LocalConnection("host", tmp_path / "board")
    runner = BoardRunner(connection, load_board("host"), bundle, Lines())
    runner.push_models([Path(model.path)])
    rewritten(on_the_board(tmp_path, "tileskip-run"))
    assert runner.run(model, Settings()).report.startswith("ours ")


@pytest.mark.parametrize("text", ["", "-", "1 2\0", "1\x1b[2J", "x 1 2", "1" * 5000])
def test_what_is_no_mark_is_none(text: str) -> None:
    assert unchanged.told_mark(text) is None


def test_a_run_records_when_its_files_were_used(
    tmp_path: Path, runner: BoardRunner, model: Model
) -> None:
    folders = [on_the_board(tmp_path, name).parent for name in ("tileskip-run", "m.tflite")]
    for folder in folders:
        os.utime(folder, (0, 0))
    runner.run(model, Settings())
    assert all(folder.stat().st_mtime > 1e9 for folder in folders)


def test_so_does_a_push_that_finds_them_there(
    tmp_path: Path, runner: BoardRunner, model: Model
) -> None:
    folder = on_the_board(tmp_path, "m.tflite").parent
    os.utime(folder, (0, 0))
    runner._models.clear()
    runner.push_models([Path(model.path)])
    assert folder.stat().st_mtime > 1e9
