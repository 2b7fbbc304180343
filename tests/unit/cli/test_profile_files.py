"""What ``deploy profile`` keeps besides ``--output``: which files, and what stands in their way."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import typer

from support.profiles import in_turns, profile_of
from toolchain.cli.profile_files import Kept
from toolchain.errors import OutputError
from toolchain.failures import Failures
from toolchain.profile.export import saved_run
from toolchain.profile.history import default_path, read

PROFILE = profile_of(in_turns("m", [[1.0], [2.0]]))


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's data folder."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "data"


def test_without_a_word_a_line_is_added_to_the_users_history() -> None:
    for _ in range(2):
        Kept(None, None, False).write(PROFILE, [], Failures())
    assert len(list(read(default_path()))) == 2


def test_a_run_that_is_saved_is_found_by_its_line(tmp_path: Path) -> None:
    Kept(tmp_path / "run", None, False).write(PROFILE, [], Failures())
    (run,) = read(default_path())
    assert run.saved == str(tmp_path / "run")
    assert (tmp_path / "run/profile.json").is_file()


def test_another_history_is_taken_in_place_of_the_users(tmp_path: Path, data: Path) -> None:
    Kept(None, tmp_path / "h", False).write(PROFILE, [], Failures())
    assert len(list(read(tmp_path / "h"))) == 1
    assert not data.exists()


def test_no_history_is_written_where_none_is_wanted(tmp_path: Path, data: Path) -> None:
    Kept(tmp_path / "run", None, True).write(PROFILE, [], Failures())
    assert (tmp_path / "run").is_dir()
    assert not data.exists()


def test_a_history_and_none_are_one_too_many(tmp_path: Path) -> None:
    with pytest.raises(typer.BadParameter, match="one too many"):
        Kept(None, tmp_path / "h", True)


def test_work_that_was_ended_is_saved_and_in_no_history(tmp_path: Path, data: Path) -> None:
    failures = Failures()
    with failures.kept():
        raise KeyboardInterrupt
    Kept(tmp_path / "run", None, False).write(PROFILE, [], failures)
    assert (tmp_path / "run").is_dir()
    assert not data.exists()


def test_ctrl_c_while_it_is_saved_is_told_after_the_tables(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(saved_run, "_write_file", interrupted)
    failures = Failures()
    Kept(tmp_path / "run", None, False).write(PROFILE, [], failures)
    assert isinstance(failures.stopped, KeyboardInterrupt)
    assert list(tmp_path.iterdir()) == []
    assert not data.exists()


def test_a_folder_that_cannot_be_written_is_told_and_the_line_names_none(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/kept").write_text("kept")
    failures = Failures()
    Kept(tmp_path / "run", None, False).write(PROFILE, [], failures)
    with pytest.raises(OutputError, match="is not empty"):
        failures.require()
    (run,) = read(default_path())
    assert run.saved is None


def test_a_history_that_was_asked_for_and_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "h")
    failures = Failures()
    Kept(None, tmp_path / "h", False).write(PROFILE, [], failures)
    with pytest.raises(OutputError, match="no regular file"):
        failures.require()


def test_the_users_own_history_fails_with_a_word_alone(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data.write_text("a file")
    failures = Failures()
    Kept(None, None, False).write(PROFILE, [], failures)
    failures.require()
    said = capsys.readouterr().err
    assert "cannot be written" in said
    assert "--no-history" in said
