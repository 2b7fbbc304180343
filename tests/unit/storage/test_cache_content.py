"""What the cache holds is told, and cleaned to a limit; what is in use stays."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.places import REPOSITORY
from toolchain.storage import cache
from toolchain.storage.cache_content import Item, chosen, content, kinds, remove

DAY = 86400.0


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("TILESKIP_CACHE", str(tmp_path / "cache"))
    yield tmp_path / "cache"
    for path in list(cache._held):
        cache.release(path)


def make(kind: str, key: str, size: int = 1000, days: float = 0) -> Path:
    """An entry of a certain size that was last used some days ago, by nobody now."""

    def fill(folder: Path) -> None:
        (folder / "sub").mkdir()
        (folder / "sub" / "data").write_bytes(bytes(size))

    folder = cache.entry(kind, key, fill)
    cache.release(folder)
    then = time.time() - days * DAY
    os.utime(folder / cache.RECORD, (then, then))
    return folder


def names(items: list[Item]) -> list[str]:
    return [item.name for item in items]


@contextmanager
def another(code: str, *words: object) -> Iterator[int]:
    """A process that does something and then waits."""
    with subprocess.Popen(
        [sys.executable, "-c", f"import sys\n{code}\nprint(flush=True); sys.stdin.read()",
         *map(str, words)],
        cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout
        process.stdout.readline()
        try:
            yield process.pid
        finally:
            process.kill()


USES: dict[str, Callable[[Path], tuple[str, list[object]]]] = {
    "took it": lambda path: (
        "from toolchain.storage.cache import entry; entry('kind', sys.argv[1], print)",
        [path.name],
    ),
    "makes it anew": lambda path: (
        "from toolchain.storage.cache import lock; "
        "own = lock('kind-' + sys.argv[1]); own.acquire()",
        [path.name],
    ),
    "has a file of it open": lambda path: ("f = open(sys.argv[1])", [path / "sub/data"]),
    "has mapped a file of it": lambda path: (
        "import mmap, os; f = os.open(sys.argv[1], os.O_RDONLY); sys.argv[1:] = []\n"
        "m = mmap.mmap(f, 0, prot=mmap.PROT_READ); os.close(f)",
        [path / "sub/data"],
    ),
    "is in a folder of it": lambda path: ("import os; os.chdir(sys.argv[1])", [path / "sub"]),
    "was started on it": lambda path: ("", [f"file={path / 'sub/data'}"]),
}


@pytest.mark.parametrize("use", USES)
def test_what_another_program_uses_stays(use: str) -> None:
    folder = make("kind", "1" * 64)
    code, words = USES[use](folder)
    with another(code, *words):
        (item,) = content()
        assert item.used_by is not None
        done = remove([item])
        assert (done.removed, done.kept, done.freed) == ([], [item], 0)
        assert (folder / "sub/data").exists()
    (item,) = content()
    assert item.used_by is None
    assert names(remove([item]).removed) == ["1" * 64]
    assert not folder.exists()


def test_what_this_process_took_stays_too() -> None:
    folder = make("kind", "1" * 64)
    assert cache.present("kind", "1" * 64) == folder
    assert names(remove(content()).kept) == ["1" * 64]
    cache.release(folder)
    assert names(remove(content()).removed) == ["1" * 64]


def test_a_name_that_another_begins_with_is_another() -> None:
    short, long = make("trees", "ruy"), make("trees", "ruy-arm64")
    with another("f = open(sys.argv[1])", long / "sub/data"):
        assert {item.name: item.used_by is None for item in content()} == {
            short.name: True,
            long.name: False,
        }


def test_taking_an_entry_is_using_it() -> None:
    make("kind", "1" * 64, days=9)
    make("kind", "2" * 64, days=5)
    assert names(content()) == ["2" * 64, "1" * 64]
    cache.entry("kind", "1" * 64, print)
    assert names(content()) == ["1" * 64, "2" * 64]


def test_what_is_older_goes() -> None:
    for key, days in (("a", 1.0), ("b", 31.0), ("c", 29.0), ("d", 400.0)):
        make("kind", key, days=days)
    assert names(chosen(content(), older_than=30 * DAY)) == ["b", "d"]


def test_what_was_used_least_recently_goes_until_the_rest_fits() -> None:
    for key, days in (("a", 1.0), ("b", 3.0), ("c", 2.0)):
        make("kind", key, 10_000, days)
    size = content()[0].bytes
    assert size > 10_000
    assert names(chosen(content(), max_size=3 * size)) == []
    assert names(chosen(content(), max_size=3 * size - 1)) == ["b"]
    assert names(chosen(content(), max_size=size)) == ["c", "b"]
    assert names(chosen(content(), max_size=0)) == ["a", "c", "b"]


def test_what_is_in_use_counts_and_others_go_instead() -> None:
    for key, days in (("a", 1.0), ("b", 3.0)):
        make("kind", key, 10_000, days)
    with another("f = open(sys.argv[1])", cache.cache_dir() / "kind/b/sub/data"):
        items = content()
        assert names(chosen(items, max_size=items[0].bytes)) == ["a"]


def test_both_limits_count() -> None:
    for key, days in (("a", 1.0), ("b", 3.0), ("c", 50.0)):
        make("kind", key, 10_000, days)
    size = content()[0].bytes
    assert names(chosen(content(), older_than=30 * DAY, max_size=size)) == ["b", "c"]


_KILLED = """
import os, signal, sys; from pathlib import Path; from toolchain.storage.cache import entry
def fill(folder):
    (folder / "half").write_bytes(bytes(5000))
    os.kill(os.getpid(), signal.SIGKILL)
entry("kind", sys.argv[1], fill)
"""


def test_what_a_killed_program_left_goes_in_any_case(root: Path) -> None:
    make("kind", "2" * 64)
    subprocess.run([sys.executable, "-c", _KILLED, "1" * 64], cwd=REPOSITORY, check=False)
    (left,) = (item for item in content() if item.leftover)
    assert left.bytes == 5000
    assert chosen(content()) == [left]
    assert remove([left]).removed == [left]
    assert [path.name for path in (root / "kind").iterdir()] == ["2" * 64]


def test_what_is_being_made_is_no_leftover(root: Path) -> None:
    code = (
        "import threading; from toolchain.storage.cache import entry\n"
        "begun = threading.Event()\n"
        "def fill(folder):\n"
        "    (folder / 'half').write_bytes(b'1'); begun.set(); threading.Event().wait()\n"
        "threading.Thread(target=entry, args=('kind', '1' * 64, fill), daemon=True).start()\n"
        "begun.wait()"
    )
    with another(code):
        (item,) = content()
        assert not item.leftover
        assert item.used_by is not None
        assert chosen([item]) == []
        assert remove([item]).kept == [item]
        assert len(list((root / "kind").iterdir())) == 1


def test_a_file_and_a_link_are_entries_too(root: Path, tmp_path: Path) -> None:
    (root / "archives").mkdir(parents=True)
    (root / "archives" / "a.tar.gz").write_bytes(bytes(10))
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    (root / "archives" / "link").symlink_to(outside)
    assert sorted(names(remove(content()).removed)) == ["a.tar.gz", "link"]
    assert list((root / "archives").iterdir()) == []
    assert (outside / "kept").read_text() == "kept"


def test_an_archive_that_another_program_took_stays(root: Path) -> None:
    archive = root / "archives" / "a.tar.gz"
    archive.parent.mkdir(parents=True)
    archive.write_bytes(b"")
    code = (
        "from toolchain.fetch.archive import take_cached\n"
        "import hashlib; assert take_cached('a.tar.gz', hashlib.sha256().hexdigest())"
    )
    with another(code):
        assert names(remove(content()).kept) == ["a.tar.gz"]
    assert names(remove(content()).removed) == ["a.tar.gz"]


def test_what_cannot_be_removed_is_told_and_the_rest_goes(root: Path) -> None:
    if os.getuid() == 0:
        pytest.skip("root may remove everything")
    stuck, other = make("stuck", "1" * 64), make("kind", "1" * 64)
    stuck.parent.chmod(0o500)
    try:
        done = remove(content())
        assert len(done.faults) == 1
        assert "Permission denied" in done.faults[0]
        assert not other.exists()
    finally:
        stuck.parent.chmod(0o700)
    assert root.exists()


def test_locks_are_no_entries() -> None:
    make("kind", "1" * 64)
    assert kinds() == ["kind"]
    assert [item.kind for item in content()] == ["kind"]


def test_only_the_kinds_that_were_asked_for() -> None:
    make("kind", "1" * 64)
    make("other", "1" * 64)
    assert [item.kind for item in content(["other"])] == ["other"]


_TAKE = """
import select, sys; from toolchain.storage.cache import entry, release
while not select.select([sys.stdin], [], [], 0)[0]:
    for key in "1234":
        folder = entry("kind", key * 64, lambda it: (it / "data").write_bytes(b"whole"))
        assert (folder / "data").read_bytes() == b"whole"
        release(folder)
"""


def test_cleaning_takes_nothing_from_under_who_takes_it() -> None:
    """A program that takes entries again and again finds them whole while another cleans.

    They are several, so that most of the time some are free.
    """
    with subprocess.Popen(
        [sys.executable, "-c", _TAKE],
        cwd=REPOSITORY, stdin=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        removed = 0
        while removed < 100 and process.poll() is None:
            removed += len(remove(content()).removed)
        _, faults = process.communicate()
    assert (process.returncode, faults.decode()) == (0, "")
