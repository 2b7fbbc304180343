"""``make test`` on a busy machine, and the page that keeps how it went."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from support.patience import await_that
from support.places import REPOSITORY
from toolchain.dev import loaded
from toolchain.dev.loaded import Result, Run, beside_loops, green_in_a_row, main, page
from toolchain.errors import BuildError


def run(exit_code: int, loops: int = 4) -> Run:
    return Run(
        began=datetime(2026, 1, 2, 3, 4, tzinfo=UTC), commit="0123456789ab", loops=loops, cores=2,
        seconds=3000, exit_code=exit_code,
    )  # fmt: skip


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of one file; the current folder."""
    folder = tmp_path / "tree"
    folder.mkdir()
    (folder / "file").write_text("one")
    for words in (["init"], ["add", "file"], ["commit", "--message", "x"]):
        identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True)  # noqa: S607 - the one that is there
    monkeypatch.chdir(folder)
    return folder


def test_what_is_green_in_a_row_ends_at_the_last_that_failed() -> None:
    runs = [run(0), run(2), run(0, loops=6), run(0, loops=2), run(0)]
    assert green_in_a_row(runs) == 3
    assert green_in_a_row(runs, loops=4) == 2
    assert green_in_a_row([run(1)]) == 0
    assert green_in_a_row([]) == 0


def test_the_page_has_a_line_for_each_run() -> None:
    text = page(Result(runs=[run(2), run(0), run(0)]))
    assert "| 2026-01-02 03:04 | `0123456789ab` | 4 | 2 | 50 | failed |" in text
    assert "Beside 4 or more of them the last 2 runs were green." in text


@pytest.mark.usefixtures("tree")
def test_loops_run_as_long_as_the_command_and_its_exit_code_is_kept() -> None:
    count = (
        "import glob, sys\n"
        "mine = open('/proc/self/stat').read().rpartition(')')[2].split()[1]\n"
        "found = 0\n"
        "for path in glob.glob('/proc/[0-9]*/cmdline'):\n"
        "    try: found += open(path, 'rb').read().rstrip(b'\\0').endswith(mine.encode())\n"
        "    except OSError: pass\n"
        "sys.exit(20 + found)\n"
    )
    found = beside_loops([sys.executable, "-c", count], loops=3)
    assert found.exit_code == 23
    assert found.loops == 3
    assert len(found.commit) == 12


def test_nothing_runs_on_when_it_is_ended(tree: Path) -> None:
    pids = tree.parent / "pids"
    line = shlex.join(
        ["sh", "-c", f"ps -o pid= --ppid $PPID > {pids}.part; mv {pids}.part {pids}; sleep 600"]
    )
    words = [sys.executable, "-m", "toolchain.dev.loaded", "--loops", "2", "--command", line]
    with subprocess.Popen(words, env=os.environ | {"PYTHONPATH": str(REPOSITORY)}) as process:
        try:
            await_that("the command runs", pids.exists)
        finally:
            process.terminate()
    assert process.returncode == 143
    begun = [int(pid) for pid in pids.read_text().split()]
    assert len(begun) >= 3
    await_that("all have ended", lambda: not any(Path(f"/proc/{pid}").exists() for pid in begun))


def test_runs_are_added_to_those_before(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tree.parent / "out"
    for command, code in (("true", 0), ("false", 1), ("true", 0)):
        assert main(["--loops", "1", "--command", command, "--out", str(out)]) == code
    kept = Result.model_validate_json((out / "loaded-runs.json").read_bytes())
    assert [one.exit_code for one in kept.runs] == [0, 1, 0]
    assert (out / "loaded-runs.md").read_text() == page(kept)
    assert capsys.readouterr().out.splitlines()[-1] == "green after 0 min, 1 in a row"


def test_a_tree_that_differs_from_its_commit_is_not_tested(tree: Path) -> None:
    (tree / "file").write_text("another")
    with pytest.raises(BuildError, match="differs from its commit"):
        loaded.beside_loops(["true"], loops=0)


def test_the_page_itself_may_differ(tree: Path) -> None:
    for name in ("loaded-runs.json", "loaded-runs.md"):
        (tree / name).write_text("of the runs before")
    words = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    for rest in (["add", "."], ["commit", "--message", "page"]):
        subprocess.run(["git", *words, *rest], check=True, capture_output=True)  # noqa: S607 - the one that is there
    (tree / "loaded-runs.json").write_text("of one run more")
    assert loaded.beside_loops(["true"], loops=0).exit_code == 0
