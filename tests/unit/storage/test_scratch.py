"""What killed writers left beside a place goes with the next one; what is at work stays."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.places import REPOSITORY
from toolchain.errors import OutputError
from toolchain.storage.files import check_folder, check_writable, write_whole, written_whole
from toolchain.storage.scratch import scratch_file, scratch_folder, sweep, temporary_folder

WRITERS = {
    "a file": "from toolchain.storage.files import written_whole as make",
    "a folder": "from toolchain.storage.scratch import scratch_folder as make",
}


@contextmanager
def writer(kind: str, place: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is writing something beside a place."""
    code = (
        f"import sys; from pathlib import Path; {WRITERS[kind]}\n"
        "with make(Path(sys.argv[1])): print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, place], cwd=REPOSITORY,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout
        process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


def beside(place: Path) -> list[Path]:
    return [path for path in place.parent.iterdir() if path != place]


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("name", ["s20.tflite", "a[1] *.pt", "-", "ünï"])
def test_what_a_killed_writer_left_goes_with_the_next(tmp_path: Path, kind: str, name: str) -> None:
    place = tmp_path / name
    with writer(kind, place) as process:
        (left,) = beside(place)
        write_whole(place, b"1")
        assert beside(place) == [left], "its owner is at work"
        process.kill()
        process.wait()
    assert beside(place) == [left]
    write_whole(place, b"2")
    assert beside(place) == []
    assert place.read_bytes() == b"2"


def test_a_look_whether_a_place_can_be_written_sweeps_too(tmp_path: Path) -> None:
    for look in (check_writable, check_folder):
        place = tmp_path / "out"
        with writer("a file", place) as process:
            process.kill()
        assert len(beside(place)) == 1
        look(place)
        assert beside(place) == []


def test_what_earlier_versions_left_goes(tmp_path: Path) -> None:
    place = tmp_path / "s20.tflite"
    (tmp_path / ".s20.tflite-1a2b3c4d").write_bytes(b"half")
    write_whole(place, b"1")
    assert beside(place) == []


def test_what_is_another_name_stays(tmp_path: Path) -> None:
    place = tmp_path / "s20"
    names = [
        ".s20.tflite-1a2b3c4d", ".s20-20261128", ".s20-1a2b3c4", ".s20-1a2b3c4dd", "s20-1a2b3c4d",
        ".s200-1a2b3c4d", ".s20-1A2B3C4D", ".s20-1a2b3c4d.txt", ".xs20-1a2b3c4d.tileskip",
    ]  # fmt: skip
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / ".s20-1a2b3c4f").mkdir()  # earlier versions made no such folders
    write_whole(place, b"1")
    assert sorted(path.name for path in beside(place)) == sorted([*names, ".s20-1a2b3c4f"])


def test_what_is_a_link_or_a_pipe_stays(tmp_path: Path) -> None:
    place = tmp_path / "s20"
    (tmp_path / "target").write_bytes(b"kept")
    (tmp_path / ".s20-1a2b3c4d").symlink_to("target")
    os.mkfifo(tmp_path / ".s20-1a2b3c4e")
    write_whole(place, b"1")
    assert len(beside(place)) == 3
    assert (tmp_path / "target").read_bytes() == b"kept"


@pytest.mark.skipif(os.getuid() != 0, reason="only root makes files of others")
def test_what_is_of_another_user_stays(tmp_path: Path) -> None:
    other = tmp_path / ".s20-1a2b3c4d"
    other.touch()
    os.chown(other, 65534, 65534)
    write_whole(tmp_path / "s20", b"1")
    assert other.exists()


def test_two_at_a_time_in_one_process_keep_each_other(tmp_path: Path) -> None:
    place = tmp_path / "s20"
    with written_whole(place) as one, written_whole(place) as two:
        sweep(place)
        assert one.exists()
        assert two.exists()
        one.write_bytes(b"1")
        two.write_bytes(b"2")
    assert place.read_bytes() == b"1"
    assert beside(place) == []


_WRITES = """
import sys; from pathlib import Path; from toolchain.storage.files import write_whole
for number in range(400):
    write_whole(Path(sys.argv[1]), sys.argv[2].encode() * 1000)
"""


def test_many_writers_of_one_name_take_nothing_from_each_other(tmp_path: Path) -> None:
    place = tmp_path / "s20"
    writers = [
        subprocess.Popen([sys.executable, "-c", _WRITES, place, str(one)], cwd=REPOSITORY)
        for one in range(4)
    ]
    assert [each.wait() for each in writers] == [0, 0, 0, 0]
    assert set(place.read_bytes()) in ({ord("0")}, {ord("1")}, {ord("2")}, {ord("3")})
    assert beside(place) == []


def test_a_scratch_that_is_made_for_a_place_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written") as caught:
        write_whole(tmp_path / "no" / "s20", b"")
    assert caught.value.hint == f"make its folder: mkdir -p {tmp_path / 'no'}"
    for make in (scratch_file, scratch_folder):
        with pytest.raises(FileNotFoundError), make(tmp_path / "no" / "s20"):
            pass


def test_a_temporary_folder_of_a_killed_process_goes_with_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    code = (
        "import sys; from toolchain.storage.scratch import temporary_folder\n"
        "with temporary_folder() as folder: print(folder, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=REPOSITORY,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout
        left = Path(process.stdout.readline().rstrip("\n"))
        (left / "model").write_bytes(b"1")
        with temporary_folder() as own:
            assert {own, left} == set(tmp_path.iterdir()), "its owner is at work"
        process.kill()
    assert list(tmp_path.iterdir()) == [left]
    with temporary_folder() as own:
        assert list(tmp_path.iterdir()) == [own]
        assert own.stat().st_mode & 0o777 == 0o700
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_swept_before_it_is_opened_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, swept = os.open, list[object]()

    def sweep_first(path: str | Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_DIRECTORY and not swept:
            swept.append(path)
            Path(path).rmdir()
        return opened(path, flags, mode)

    monkeypatch.setattr(os, "open", sweep_first)
    with scratch_folder(tmp_path / "s20") as folder:
        assert folder.is_dir()
        assert swept


def test_no_command_keeps_its_temporary_folder_elsewhere() -> None:
    """One that is made otherwise is not swept; what is to stay has a name that is told."""
    made = re.compile(r"\btempfile\.(TemporaryDirectory|NamedTemporaryFile)\(")
    found = [
        path.name
        for path in sorted((REPOSITORY / "toolchain").rglob("*.py"))
        if made.search(path.read_text())
    ]
    assert found == ["image.py"]  # which makes it in a folder of the cache that is swept
