"""``deploy boards`` on the emulated board: over SSH as any other, and as what it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from support.emulated_home import home_of_a_user_with_a_board, users_ssh
from support.leases import Told
from support.patience import PATIENCE
from support.places import REPOSITORY
from toolchain.board import emulator
from toolchain.board.connection import Connection
from toolchain.board.lease import Lease
from toolchain.board.lease_holders import read_lease
from toolchain.doctor.checkup import Checkup
from toolchain.hardware.board_file import Board
from toolchain.storage.cache import cache_dir


class User:
    """One whose SSH configuration calls the board ``mypi``."""

    def __init__(self, folder: Path, board: Board) -> None:
        self.work, self.home = folder / "work", folder / "home"
        self.work.mkdir()
        self.home.mkdir()
        state = emulator.status(board)
        assert state
        home_of_a_user_with_a_board(self.home, state)
        self.inventory = folder / "boards.toml"
        self.environment = {
            **os.environ, "HOME": str(self.home), "TILESKIP_CACHE": str(cache_dir()),
            "TILESKIP_BOARDS": str(self.inventory), "COLUMNS": "100",
            "PATH": f"{users_ssh(self.home)}:{os.environ['PATH']}",
        }  # fmt: skip

    def deploy(self, *words: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, str(REPOSITORY / "deploy.py"), "boards", *words], cwd=self.work,
            env=self.environment, capture_output=True, text=True, check=False, timeout=PATIENCE,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert "Traceback" not in done.stderr, done.stderr
        return done


@pytest.fixture
def user(board: Board, tmp_path: Path) -> User:
    return User(tmp_path, board)


def test_a_board_of_busybox_is_added_looked_at_and_used(user: User) -> None:
    done = user.deploy("add", "mypi", "--name", "kitchen", "--tag", "lab")
    assert done.returncode == 0, done.stderr
    table = tomllib.loads(user.inventory.read_text())["kitchen"]
    assert (table["like"], table["connection"], table["threads"]) == ("qemu", "ssh", 1)
    assert "clock_mhz" not in table, "an emulated board has none"
    found = table["found"]
    assert (found["cores"], found["bits"], found["kernel_bits"]) == ("1 x Cortex-A72", 64, 64)
    assert found["glibc"].startswith("2.")
    assert 900 < found["memory_mib"] <= 1024
    (one,) = Checkup.model_validate_json(user.deploy("check", "lab", "--json").stdout).boards
    assert one.reached
    assert [found.check for found in one.findings if found.state == "fault"] in (
        [], ["bundle qemu"],
    )  # fmt: skip
    assert one.vital.free_bytes
    assert one.vital.holders == []
    done = user.deploy("shell", "kitchen", "--", "sh", "-c", "uname -m; exit 7")
    assert (done.stdout, done.returncode) == ("aarch64\n", 7)
    done = user.deploy("logs", "kitchen", "--lines", "5", "--json")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["lines"]) == 5


def test_what_it_wrote_as_it_booted_is_shown_and_its_own_key_logs_in(
    user: User, board: Board
) -> None:
    done = user.deploy("logs", board.given, "--json")
    assert done.returncode == 0, done.stderr
    log = json.loads(done.stdout)
    assert Path(log["source"]).name == "serial.log"
    done = user.deploy("shell", board.given, "--", "printf", "%s", "a b")
    assert (done.stdout, done.returncode) == ("a b", 0)
    (shown,) = json.loads(user.deploy("show", board.given, "--json").stdout)
    assert shown["way"]["connection"] == "emulator"
    assert len(shown["way"]["host_keys"]) == 1


def test_busybox_tells_who_has_the_board(user: User, connection: Connection) -> None:
    with Lease(connection, "profile a.tflite", note=Told()):
        (use,) = read_lease(connection).holders
        assert use.words.endswith(": profile a.tflite")
        assert (use.shared, use.own) == (False, True)
    assert read_lease(connection).holders == ()
    del user
