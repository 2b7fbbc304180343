"""Several boards over SSH at once: real servers, each with a home of its own."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.bundles import write_bundle, write_masked_model
from support.fleets import RIGHT, WAITING
from support.openssh import Sshd, make_key, public_text, serving
from support.patience import PATIENCE, await_that, written
from support.places import REPOSITORY

DEPLOY = [sys.executable, str(REPOSITORY / "deploy.py")]


@dataclass
class Boards:
    """Two boards, ``a`` and ``b``, and a folder to work in."""

    here: Path
    servers: dict[str, Sshd]

    def home(self, name: str) -> Path:
        """Where programs run on a board."""
        return self.here / "homes" / name

    def bundles(self, **runners: bytes) -> None:
        """Give each board its runner."""
        for name, runner in runners.items():
            write_bundle(self.here / "build" / name, runner)

    def deploy(self, *words: str) -> subprocess.Popen[str]:
        """A command on both, as it begins."""
        return subprocess.Popen(
            [*DEPLOY, *words, "--board", "a.toml,b.toml", "--json"],
            cwd=self.here, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=os.environ | {"HOME": str(self.here), "TILESKIP_CACHE": str(self.here / "cache")},
        )  # fmt: skip

    def told(self, process: subprocess.Popen[str], code: int) -> tuple[Any, Any]:
        """What a command tells of the two boards when it has ended."""
        with process:
            said, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == code, errors
        assert "Traceback" not in errors
        first, second = json.loads(said)["boards"]
        return first, second


@pytest.fixture
def boards(tmp_path: Path) -> Iterator[Boards]:
    key = make_key(tmp_path / "key")
    made = Boards(tmp_path, {})
    write_masked_model(tmp_path / "m.tflite", size=4, channels=2)
    (tmp_path / ".ssh").mkdir(mode=0o700)
    config, known = [], []
    with ExitStack() as stack:
        for name in ("a", "b"):
            home = made.home(name)
            home.mkdir(parents=True)
            login = f'cd {home} && exec sh -c "$SSH_ORIGINAL_COMMAND"'
            server = stack.enter_context(
                serving(tmp_path / f"sshd-{name}", authorized=f"{public_text(key)}\n", login=login)
            )
            made.servers[name] = server
            known.append(server.known_line)
            config.append(
                f"Host {name}\n  HostName 127.0.0.1\n  Port {server.port}\n  User {server.user}\n"
                f"  IdentityFile {key}\n  IdentitiesOnly yes\n"
            )
            text = (REPOSITORY / "boards/host.toml").read_text().replace('"local"', '"ssh"')
            (tmp_path / f"{name}.toml").write_text(f'{text}\n[ssh]\nhost = "{name}"\n')
        (tmp_path / ".ssh/config").write_text("".join(config))
        (tmp_path / ".ssh/known_hosts").write_text("".join(known))
        yield made


def test_each_board_is_pushed_to_and_verified_over_its_own_connection(boards: Boards) -> None:
    boards.bundles(a=RIGHT, b=RIGHT + b"# another\n")
    for one in boards.told(boards.deploy("push", "m.tflite"), 0):
        assert one["error"] is None
        assert list(boards.home(one["name"]).glob("tileskip/models/*/m.tflite"))
    for one in boards.told(boards.deploy("verify", "m.tflite"), 0):
        assert one["models"][0]["passed"]


def test_a_board_that_is_not_there_is_told_and_the_other_is_done(boards: Boards) -> None:
    boards.bundles(a=RIGHT, b=RIGHT)
    boards.servers["b"].process.terminate()
    boards.servers["b"].process.wait(PATIENCE)
    first, second = boards.told(boards.deploy("push", "m.tflite"), 6)
    assert len(first["files"]) == 3
    assert second["error"]["exit_code"] == 6
    assert "refuses the connection" in second["error"]["what"]


def test_a_board_that_is_lost_meanwhile_ends_alone(boards: Boards) -> None:
    boards.bundles(a=RIGHT, b=WAITING)
    process = boards.deploy("verify", "m.tflite")
    await_that("it runs on b", lambda: written(boards.home("b") / "begun"))
    boards.servers["b"].drop()
    first, second = boards.told(process, 6)
    assert first["models"][0]["passed"]
    assert second["error"]["exit_code"] == 6


def is_gone(path: Path) -> bool:
    return not path.exists()


def test_ctrl_c_ends_what_runs_on_every_board(boards: Boards) -> None:
    boards.bundles(a=WAITING, b=WAITING)
    process = boards.deploy("verify", "m.tflite")
    marks = [boards.home(name) / "begun" for name in ("a", "b")]
    await_that("it runs on both", lambda: all(map(written, marks)))
    process.send_signal(signal.SIGINT)
    for one in boards.told(process, 130):
        assert one["error"]["exit_code"] == 130
    for mark in marks:
        process_folder = Path("/proc") / mark.read_text().strip()
        await_that("its runner is gone", functools.partial(is_gone, process_folder))
        assert not list(mark.parent.glob("tileskip/run-*"))
