"""What ``deploy emulator`` prints of boards whose QEMU is played."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from support.patience import PATIENCE
from support.places import REPOSITORY
from support.played_qemus import played_qemu, record
from toolchain.board.session import owner, this_program
from toolchain.cli.app import app
from toolchain.errors import OutputError
from toolchain.hardware import emulated
from toolchain.hardware.board_file import load_board


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILESKIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def greeter() -> Iterator[int]:
    """A port where an SSH server greets."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            with suppress(OSError):
                while True:
                    link, _ = server.accept()
                    with link:
                        link.sendall(b"SSH-2.0-x\r\n")

        threading.Thread(target=greet, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def two(tmp_path: Path, greeter: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """``lab-1``, which runs, and ``lab-2``, which boots and belongs to a program."""
    with played_qemu(tmp_path, "lab-1") as one, played_qemu(tmp_path, "lab-2") as other:
        board = load_board("qemu")
        since = datetime.now(UTC)
        whose = owner(os.getpid(), "session")
        record(board.named("lab-1"), one.pid, port=greeter, since=since, owner=whose)
        record(board.named("lab-2"), other.pid, ready=False, owner=this_program())
        for name in ("lab-1", "lab-2"):
            keys = board.model_dump(mode="json", exclude={"name"}, exclude_none=True)
            emulated.record(name, keys | {"tags": [emulated.TAG]}, "qemu")
        yield [one, other]


def deploy(*words: str) -> Result:
    return CliRunner().invoke(app, ["emulator", *words])


@pytest.mark.usefixtures("two")
def test_all_boards_are_told_in_a_table() -> None:
    done = deploy("status")
    assert done.exit_code == 12, "one of them boots"
    one, other = (line for line in done.output.splitlines() if "lab-" in line)
    for word in ("lab-1", "runs", "Cortex-A72", "of 1,024", f"session {os.getpid()} ("):
        assert word in one
    for word in ("lab-2", "boots", f"program {os.getpid()} ("):
        assert word in other


@pytest.mark.usefixtures("two")
def test_all_boards_are_one_document_for_programs() -> None:
    one, other = json.loads(deploy("status", "--json").stdout)
    assert (one["board"], one["phase"], one["running"]) == ("lab-1", "runs", True)
    assert one["owner"]["pid"] == os.getpid()
    assert one["ssh"].startswith("ssh -i ")
    assert (other["board"], other["phase"], other["running"]) == ("lab-2", "boots", False)


@pytest.mark.usefixtures("two")
def test_one_board_is_told_with_the_line_that_logs_in() -> None:
    done = deploy("status", "--board", "lab-1")
    assert done.exit_code == 0
    lines = done.output.splitlines()
    assert lines[0].startswith("emulated board 'lab-1' runs (process ")
    assert lines[1].startswith(f"it ends with session {os.getpid()}")
    assert lines[2].startswith("log in: ssh -i ")
    assert json.loads(deploy("status", "--board", "lab-1", "--json").stdout)["running"] is True


def test_a_board_that_has_died_is_told(two: list[subprocess.Popen[bytes]]) -> None:
    os.killpg(two[0].pid, signal.SIGKILL)
    two[0].wait()
    done = deploy("status")
    assert done.exit_code == 12
    (line,) = (line for line in done.output.splitlines() if "lab-1" in line)
    assert "has ended" in line
    document = json.loads(deploy("status", "--board", "lab-1", "--json").stdout)
    assert document == {"board": "lab-1", "running": False, "phase": None}


def test_what_a_program_has_is_left_to_it(two: list[subprocess.Popen[bytes]]) -> None:
    done = deploy("stop")
    assert done.exit_code == 0
    assert "emulated board 'lab-1' is shut down" in done.output
    assert f"'lab-2' is left to program {os.getpid()} (" in done.output
    assert two[0].wait(PATIENCE) == -signal.SIGTERM
    assert two[1].poll() is None
    assert json.loads(deploy("stop", "--all", "--json").stdout) == [
        {"board": "lab-2", "stopped": True}
    ]
    assert two[1].wait(PATIENCE) == -signal.SIGTERM


def test_boards_are_stopped_by_their_names(two: list[subprocess.Popen[bytes]]) -> None:
    done = deploy("stop", "--board", "lab-2,lab-1", "--json")
    assert json.loads(done.stdout) == [
        {"board": "lab-2", "stopped": True},
        {"board": "lab-1", "stopped": True},
    ]
    assert [process.wait(PATIENCE) for process in two] == [-signal.SIGTERM] * 2


def test_boards_are_stopped_by_the_word_for_all_of_them(
    two: list[subprocess.Popen[bytes]],
) -> None:
    assert deploy("stop", "--board", "emulated").exit_code == 0
    assert [process.wait(PATIENCE) for process in two] == [-signal.SIGTERM] * 2


def test_one_board_that_does_not_run_is_no_fault() -> None:
    done = deploy("stop", "--board", "qemu", "--json")
    assert json.loads(done.stdout) == {"board": "qemu", "stopped": False}
    assert deploy("stop").stdout == "no emulated board was running\n"


def test_what_is_left_is_told_and_ended(two: list[subprocess.Popen[bytes]]) -> None:
    done = deploy("prune")
    assert "a board whose start was killed" in done.output
    assert "lab-1" not in done.output
    assert two[1].wait(PATIENCE) == -signal.SIGTERM
    assert deploy("prune").stdout == "nothing is left of emulated boards\n"
    assert json.loads(deploy("prune", "--json").stdout) == []


@pytest.mark.usefixtures("two")
def test_boards_that_were_started_are_listed_with_the_others() -> None:
    listed = json.loads(CliRunner().invoke(app, ["boards", "--json"]).stdout)
    names = [board["name"] for board in listed]
    assert names[-2:] == ["lab-1", "lab-2"]
    assert "qemu" in names


def test_a_link_leads_to_a_server_until_it_is_interrupted(greeter: int) -> None:
    line = [sys.executable, str(REPOSITORY / "deploy.py"), "emulator", "link"]
    line += [f"127.0.0.1:{greeter}", "1ms,1%", "--json"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = ""
        while "}" not in said:
            said += process.stdout.readline()
        document = json.loads(said)
        assert document["link"] == "1ms,1%"
        address = ("127.0.0.1", document["port"])
        with socket.create_connection(address, timeout=PATIENCE) as client:
            assert client.makefile("rb").readline() == b"SSH-2.0-x\r\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130


def test_a_port_that_is_taken_is_told(greeter: int) -> None:
    done = deploy("link", "127.0.0.1:22", "1ms", "--port", str(greeter))
    assert isinstance(done.exception, OutputError)
    assert f"port {greeter} of this machine cannot be taken" in done.exception.what
