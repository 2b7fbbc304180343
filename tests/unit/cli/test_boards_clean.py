"""``deploy boards clean`` lists and removes what lies on boards, as its user would see it."""

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

from support.own_hash import own_hash
from support.places import REPOSITORY

OLD, NEW = own_hash("a"), own_hash("b")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What lies on this machine as a board: two models, of 40 days ago and of today."""
    monkeypatch.setenv("TILESKIP_CACHE", str(tmp_path / "cache"))
    place = tmp_path / "cache" / "local-board" / "tileskip"
    for name, days in ((OLD, 40), (NEW, 0)):
        folder = place / "models" / name
        folder.mkdir(parents=True)
        (folder / "m\x1b[2J.tflite").write_bytes(bytes(50_000))
        then = time.time() - days * 86400
        os.utime(folder, (then, then))
    return place


# Leases of others on this machine take no part.
DEPLOY = """
import os, sys
from pathlib import Path
from toolchain.board import lease
place = Path(os.environ["TILESKIP_CACHE"]).parent / "locks"
place.mkdir(exist_ok=True)
place.chmod(0o1777)
lease.PLACES = (str(place), str(place))
import deploy
sys.exit(deploy.main())
"""


def command(*words: object) -> list[str]:
    return [sys.executable, "-c", DEPLOY, "boards", "clean", *map(str, words)]


def clean(*words: object, code: int = 0) -> tuple[str, str]:
    """What the command prints: standard output and standard error."""
    done = subprocess.run(
        command(*words),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout, done.stderr


def left(place: Path) -> set[str]:
    return {path.name for path in (place / "models").iterdir()}


def test_what_is_old_goes_and_is_shown(place: Path) -> None:
    shown, _ = clean("host", "--older-than", "30d", "--yes")
    assert OLD in shown
    assert NEW not in shown
    assert "40 days ago" in shown
    assert shown.endswith("host: removed: 50 kB\n")
    assert left(place) == {NEW}


def test_names_that_a_board_tells_reach_no_terminal_raw() -> None:
    shown, said = clean("host", "--all", "--dry-run")
    assert "\x1b[2J" not in shown + said
    assert r"m\x1b[2J.tflite" in shown


def test_a_dry_run_removes_nothing(place: Path) -> None:
    shown, _ = clean("host", "--all", "--dry-run")
    assert shown.endswith("host: would be removed: 100 kB\n")
    assert left(place) == {OLD, NEW}


def test_it_is_a_document_too(place: Path) -> None:
    found: dict[str, Any] = json.loads(clean("host", "--max-size", "60kB", "--yes", "--json")[0])
    (board,) = found["boards"]
    assert (found["dry_run"], found["failed"]) == (False, [])
    assert (board["board"], board["bytes"], board["freed"]) == ("host", 100_000, 50_000)
    assert [item["hash"] for item in board["removed"]] == [OLD]
    assert left(place) == {NEW}


def test_nobody_can_be_asked(place: Path) -> None:
    _, said = clean("host", "--all", code=2)
    assert "--yes" in said
    assert left(place) == {OLD, NEW}


@pytest.mark.parametrize(("answer", "stays"), [("y", set()), ("n", {OLD, NEW})])
def test_it_asks_first(place: Path, answer: str, stays: set[str]) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command("host", "--all"),
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
        cwd=REPOSITORY,
    ) as process:
        os.close(theirs)
        os.write(ours, f"{answer}\n".encode())
        said = b""
        try:
            while piece := os.read(ours, 1000):
                said += piece
        except OSError:  # its end was closed
            pass
        process.communicate()
    os.close(ours)
    assert b"Remove this from host, 100 kB?" in said
    assert left(place) == stays


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--older-than", "soon"], "'soon' is no time"),
        (["--max-size", "much"], "'much' is no size"),
        (["--all", "--older-than", "1d"], "leaves nothing to limit"),
        (["qemu", "--host", "pi@raspberrypi"], "is one board, and 2 are named"),
    ],
)
def test_wrong_use_is_told(words: list[str], said: str) -> None:
    assert said in " ".join(clean("host", *words, code=2)[1].replace("│", "").split())


def test_one_board_that_fails_is_told_and_the_others_go_on(place: Path, tmp_path: Path) -> None:
    text = (REPOSITORY / "boards/rpi4.toml").read_text()
    (tmp_path / "gone.toml").write_text(f'{text}\n[ssh]\nhost = "127.0.0.1:9"\n')
    shown, said = clean(tmp_path / "gone.toml", "host", "--all", "--yes", code=6)
    assert "gone" in said
    assert shown.endswith("host: removed: 100 kB\n")
    assert left(place) == set()


def test_several_that_fail_are_told_each_with_its_hint(place: Path, tmp_path: Path) -> None:
    text = (REPOSITORY / "boards/rpi4.toml").read_text()
    (tmp_path / "gone.toml").write_text(f'{text}\n[ssh]\nhost = "127.0.0.1:9"\n')
    _, said = clean(tmp_path / "gone.toml", "qemu", "host", "--all", "--yes", code=20)
    assert "2 of 3 boards failed:" in said
    assert "hint: qemu: deploy emulator start --board qemu" in said
    assert f"hint: {tmp_path / 'gone.toml'}: " in said
    assert left(place) == set()


def test_no_such_board_is_told() -> None:
    _, said = clean("hots", "--all", code=5)
    assert "did you mean 'host'" in said
