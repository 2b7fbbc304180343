"""Entries of the cache are whole, stay what they were, and leave nothing behind."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support.places import REPOSITORY
from toolchain.storage.cache import RECORD, digest, entry, locked, present

KEY = "0" * 64
FILES = {"lib/a.so": b"a", "b": b"", "deep/er/c": b"c"}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TILESKIP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Fill:
    """Fills entries, and counts how often."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, folder: Path) -> None:
        self.times += 1
        for name, content in FILES.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        (folder / "link").symlink_to("b")


def holds(folder: Path) -> bool:
    return all((folder / name).read_bytes() == content for name, content in FILES.items())


def test_parts_that_read_alike_in_a_row_have_digests_of_their_own() -> None:
    rows = [("ab", "c"), ("a", "bc"), ("abc",), ("abc", ""), ("", "abc"), ("c", "ab"), ()]
    assert len({digest(*row) for row in rows}) == len(rows)
    assert digest("ab", b"c") == digest(b"ab", "c")


def test_a_digest_stays_what_it_was() -> None:
    """Another one would leave what lies in caches and on boards unused."""
    known = "a5aceaae72938b67ddf03e38544ea0dc"
    assert digest("one", b"two")[:32] == known


def test_an_entry_is_made_once() -> None:
    fill = Fill()
    assert present("kind", KEY) is None
    folders = {entry("kind", KEY, fill) for _ in range(3)}
    assert folders == {present("kind", KEY)}
    assert fill.times == 1
    assert all(map(holds, folders))


def all_gone(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def folder_for_file(folder: Path) -> None:
    (folder / "b").unlink()
    (folder / "b").mkdir()


def link_for(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).symlink_to("lib/a.so")

    return change


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a file is not there": lambda folder: (folder / "b").unlink(),
    "a folder is not there": lambda folder: shutil.rmtree(folder / "lib"),
    "all files are not there": all_gone,
    "a file is empty": lambda folder: (folder / "lib/a.so").write_bytes(b""),
    "a byte is another": lambda folder: (folder / "deep/er/c").write_bytes(b"d"),
    "a file is a folder": folder_for_file,
    "a file is a link": link_for("b"),
    "a link leads elsewhere": link_for("link"),
    "the record is not there": lambda folder: (folder / RECORD).unlink(),
    "the record is cut": lambda folder: (folder / RECORD).write_text('{"files": {'),
    "the record is another's": lambda folder: (folder / RECORD).write_text("[1]"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_was_changed_since_is_made_anew(damage: str, cache: Path) -> None:
    fill = Fill()
    DAMAGE[damage](entry("kind", KEY, fill))
    assert present("kind", KEY) is None
    assert holds(entry("kind", KEY, fill))
    assert fill.times == 2
    assert [item.name for item in (cache / "kind").iterdir()] == [KEY]


def test_what_python_leaves_there_is_no_change() -> None:
    fill = Fill()
    folder = entry("kind", KEY, fill)
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__/a.pyc").write_bytes(b"1")
    assert present("kind", KEY) == folder


def test_an_entry_of_an_earlier_version_is_taken_where_it_has_what_is_needed() -> None:
    fill = Fill()
    for needs, times in ((["lib/a.so"], 1), (["lib/z.so"], 2), ([], 3)):
        (entry("kind", KEY, fill) / RECORD).unlink()
        folder = entry("kind", KEY, fill, needs=needs)
        assert (fill.times, present("kind", KEY)) == (times, folder)
    (folder / "b").write_bytes(b"changed")  # it was sealed, so that this is seen
    entry("kind", KEY, fill, needs=["lib/a.so"])
    assert fill.times == 4


def test_a_fault_leaves_no_entry_and_an_old_one_as_it_was(cache: Path) -> None:
    def fails(folder: Path) -> None:
        (folder / "half").write_bytes(b"1")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        entry("kind", KEY, fails)
    assert list((cache / "kind").iterdir()) == []
    folder = entry("kind", KEY, Fill())
    with pytest.raises(OSError, match="No space"):
        entry("kind", KEY, fails, again=True)
    assert holds(folder)
    assert present("kind", KEY) == folder


_KILLED = """
import os, signal, sys; from pathlib import Path; from toolchain.storage.cache import entry
def fill(folder):
    (folder / "half").write_bytes(b"1")
    os.kill(os.getpid(), signal.SIGKILL)
entry("kind", sys.argv[1], fill)
"""


def test_what_a_killed_process_left_goes_with_the_next_entry_of_its_kind(cache: Path) -> None:
    for key in ("1" * 64, "2" * 64, KEY):
        done = subprocess.run([sys.executable, "-c", _KILLED, key], cwd=REPOSITORY, check=False)
        assert done.returncode == -signal.SIGKILL
        assert len(list((cache / "kind").iterdir())) == 1
    (cache / "kind" / f".{KEY[:16]}-abcdefgh").mkdir()  # as an earlier version called them
    entry("kind", KEY, Fill())
    assert [item.name for item in (cache / "kind").iterdir()] == [KEY]


def test_what_another_process_is_making_stays(cache: Path) -> None:
    other = "1" * 64
    scratch = cache / "kind" / f".{other}-abcdefgh"
    scratch.mkdir(parents=True)
    with _held_by_another(f"kind-{other}"):
        entry("kind", KEY, Fill())
        assert scratch.exists()
    entry("kind", KEY, Fill(), again=True)
    assert not scratch.exists()


class _held_by_another:  # noqa: N801
    """A lock that another process holds."""

    def __init__(self, name: str) -> None:
        code = (
            "import sys; from toolchain.storage.cache import locked\n"
            "with locked(sys.argv[1]): print(flush=True); sys.stdin.read()"
        )
        self._process = subprocess.Popen(
            [sys.executable, "-c", code, name], cwd=REPOSITORY, env={**os.environ},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def __enter__(self) -> None:
        assert self._process.stdout
        self._process.stdout.readline()

    def __exit__(self, *_: object) -> None:
        self._process.communicate()


def _take(again: bool, wrong: multiprocessing.SimpleQueue[str]) -> None:
    for _ in range(20):
        with locked(f"kind-{KEY}"):
            folder = entry("kind", KEY, Fill(), again=again)
            try:
                if not holds(folder):
                    wrong.put("another content")
            except OSError as error:
                wrong.put(str(error))


def test_who_holds_the_lock_of_an_entry_reads_it_whole_while_others_make_it_anew() -> None:
    context = multiprocessing.get_context("fork")
    wrong = context.SimpleQueue()
    takers = [context.Process(target=_take, args=(again, wrong)) for again in (True, False, True)]
    for taker in takers:
        taker.start()
    for taker in takers:
        taker.join()
        assert taker.exitcode == 0
    assert wrong.empty()


def test_the_record_names_every_file() -> None:
    record = json.loads((entry("kind", KEY, Fill()) / RECORD).read_bytes())
    assert set(record["files"]) == {*FILES, "link"}
