"""``deploy cache`` shows and cleans as its user would."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from support.places import REPOSITORY
from toolchain.storage import cache

LONG = "a-source-with-a-rather-long-name_0.0~git20240101.0123456-1.orig.tar.xz"


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of two entries, an archive, and what a killed program left."""
    root = tmp_path / "cache"
    monkeypatch.setenv("TILESKIP_CACHE", str(root))

    def fill(folder: Path) -> None:
        (folder / "data").write_bytes(bytes(50_000))

    for kind, key, days in (("xnnpack", "a1" * 32, 40), ("trees", "ruy-arm64-0123", 1)):
        folder = cache.entry(kind, key, fill)
        cache.release(folder)
        then = time.time() - days * 86400
        os.utime(folder / cache.RECORD, (then, then))
    (root / "archives").mkdir()
    (root / "archives" / LONG).write_bytes(bytes(2_000_000))
    left = root / "xnnpack" / f".{'b2' * 32}-abcdefgh"
    left.mkdir()
    (left / "half").write_bytes(bytes(7_000))
    return root


def deploy(*words: object, columns: int | None = None, code: int = 0) -> tuple[str, str]:
    """What a command prints: standard output and standard error."""
    environment = {**os.environ, **({"COLUMNS": str(columns)} if columns else {})}
    done = subprocess.run(
        [sys.executable, REPOSITORY / "deploy.py", *map(str, words)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr


def entries(root: Path) -> set[str]:
    return {path.name for path in root.glob("*/*") if path.parent.name != cache.LOCKS}


def test_it_shows_each_entry_and_the_sum() -> None:
    shown, _ = deploy("cache", columns=160)
    lines = [line.split() for line in shown.splitlines()]
    assert ["xnnpack", "a1a1a1a1a1a1a1a1", "50", "kB", "40", "days", "ago"] in lines
    assert ["trees", "ruy-arm64-0123", "50", "kB", "24", "hours", "ago"] in lines
    assert ["archives", LONG, "2", "MB", "just", "now"] in lines
    assert "left by a killed program" in shown
    assert ["in", "all", "4", "entries", "2", "MB"] in lines


@pytest.mark.parametrize("columns", [70, 100, 160])
def test_it_fits_the_width_there_is(columns: int) -> None:
    shown, _ = deploy("cache", columns=columns)
    assert max(map(len, shown.splitlines()[1:])) <= columns
    for words in ("size", "2 MB", "4 entries", "killed" if columns > 70 else "xnnpack"):
        assert words in shown


def test_it_is_a_document_too(root: Path) -> None:
    found: dict[str, Any] = json.loads(deploy("cache", "--json")[0])
    assert found["cache"] == str(root)
    assert found["bytes"] == sum(item["bytes"] for item in found["entries"])
    by_kind = {item["kind"]: item for item in found["entries"] if not item["leftover"]}
    assert set(by_kind) == {"archives", "trees", "xnnpack"}
    assert by_kind["archives"]["entry"] == LONG
    assert by_kind["archives"]["used_by"] is None
    assert [item["bytes"] for item in found["entries"] if item["leftover"]] == [7_000]


def test_an_old_entry_goes_and_the_leftover_with_it(root: Path) -> None:
    shown, _ = deploy("cache", "clean", "--older-than", "30d", "--yes")
    assert shown.endswith("removed: 57 kB\n")
    assert entries(root) == {"ruy-arm64-0123", LONG}


def test_the_least_recently_used_go_until_the_rest_fits(root: Path) -> None:
    deploy("cache", "clean", "--max-size", "2.01MB", "--yes")
    assert entries(root) == {LONG}


def test_only_one_kind_goes(root: Path) -> None:
    deploy("cache", "clean", "--kind", "archives", "--yes")
    assert LONG not in entries(root)
    assert len(entries(root)) == 3


def test_all_goes(root: Path) -> None:
    deploy("cache", "clean", "--all", "--yes")
    assert entries(root) == set()
    assert "0 entries" in deploy("cache")[0]


def test_a_dry_run_removes_nothing(root: Path) -> None:
    before = entries(root)
    shown, _ = deploy("cache", "clean", "--all", "--dry-run")
    assert shown.endswith("would be removed: 2 MB\n")
    assert entries(root) == before
    found = json.loads(deploy("cache", "clean", "--all", "--dry-run", "--json")[0])
    assert found["dry_run"] is True
    assert len(found["removed"]) == 4
    assert entries(root) == before


def test_without_a_terminal_it_asks_for_yes(root: Path) -> None:
    before = entries(root)
    _, said = deploy("cache", "clean", "--all", code=2)
    assert "--yes" in said
    assert "--dry-run" in said
    assert entries(root) == before


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 1), ("", 1)])
def test_on_a_terminal_it_asks(root: Path, answer: str, code: int) -> None:
    before = entries(root)
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, REPOSITORY / "deploy.py", "cache", "clean", "--all"],
        stdin=theirs, stdout=subprocess.PIPE, stderr=theirs, text=True,
    ) as process:  # fmt: skip
        os.close(theirs)
        asked = b""
        while b"? [y/N]" not in asked:
            asked += os.read(ours, 1000)
        os.write(ours, answer.encode() + b"\n")
        process.communicate()
        assert process.returncode == code
    os.close(ours)
    assert entries(root) == (set() if answer == "y" else before)


def test_what_is_in_use_stays_and_that_is_told(root: Path) -> None:
    with (root / "archives" / LONG).open("rb"):
        _, said = deploy("cache", "clean", "--all", "--yes")
    assert f"archives/{LONG} stays: in use by" in said
    assert entries(root) == {LONG}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--older-than", "30"], "no time; write 10m"),
        (["--max-size", "huge"], "no size; write 5GB"),
        (["--kind", "archive"], "did you mean 'archives'?"),
        (["--all", "--max-size", "1GB"], "leaves nothing to limit"),
    ],
)
def test_a_wrong_limit_is_told(root: Path, words: list[str], said: str) -> None:
    before = entries(root)
    _, errors = deploy("cache", "clean", *words, "--yes", columns=160, code=2)
    assert said in errors
    assert entries(root) == before


def test_an_option_before_the_command_is_told() -> None:
    _, errors = deploy("cache", "--json", "clean", "--all", columns=160, code=2)
    assert "give it after 'clean'" in errors


def test_a_name_with_escapes_does_not_reach_the_terminal(root: Path) -> None:
    (root / "archives" / "a\x1b[31mred[bold]").write_bytes(b"")
    shown, _ = deploy("cache")
    assert "\x1b" not in shown
    assert "[bold]" in shown
