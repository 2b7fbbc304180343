from __future__ import annotations

import dataclasses
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import paramiko
import pytest

from support.patience import PATIENCE, await_that, growing_limits
from support.places import REPOSITORY, BoardMaker
from support.processes import running
from toolchain.board import emulator, keys
from toolchain.board.connect import connect
from toolchain.board.connection import Connection
from toolchain.board.emulator_state import State
from toolchain.board.ssh import SshConnection
from toolchain.errors import BoardError, ConnectionFailed, EmulatorError, HostKeyError
from toolchain.hardware.board_file import Board, load_board
from toolchain.profile.facts import read_facts
from toolchain.progress import Silent
from toolchain.storage.cache import cache_dir


def state_of(board: Board) -> State:
    state = emulator.status(board)
    assert state is not None
    return state


def test_a_running_board_is_not_started_again(board: Board) -> None:
    assert emulator.start(board, Silent()) == state_of(board)


def test_the_board_is_a_64_bit_arm_machine(connection: Connection) -> None:
    assert connection.run(["uname", "-m"]).text == "aarch64\n"


@pytest.mark.skipif(not shutil.which("ssh"), reason="OpenSSH's client is not installed")
def test_the_line_for_logging_in_by_hand_works(board: Board) -> None:
    line = [*shlex.split(state_of(board).ssh_command), "-o", "BatchMode=yes", "echo in"]
    line[-1], line[-4:-1] = "echo in", ["-o", "BatchMode=yes", line[-4]]
    result = subprocess.run(line, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (result.returncode, result.stdout) == (0, "in\n"), result.stderr


def test_the_private_key_is_for_its_owner_only(board: Board) -> None:
    state = state_of(board)
    assert state.user_key.stat().st_mode & 0o077 == 0


def test_an_unknown_host_key_is_refused(board: Board, tmp_path: Path) -> None:
    target = dataclasses.replace(state_of(board).target, known_hosts=(tmp_path / "none",))
    with pytest.raises(HostKeyError, match="not on record"):
        SshConnection("qemu", target)


def test_a_host_key_that_does_not_match_is_refused(board: Board, tmp_path: Path) -> None:
    target = state_of(board).target
    record = tmp_path / "known_hosts"
    record.write_text(f"{target.known_name} {keys.generate().public}\n")
    with pytest.raises(HostKeyError, match="not the one on record"):
        SshConnection("qemu", dataclasses.replace(target, known_hosts=(record,)))


def test_another_users_key_is_refused(board: Board, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(keys.generate().openssh_private)
    target = dataclasses.replace(state_of(board).target, identities=(key,))
    with pytest.raises(ConnectionFailed, match="refuses user 'root'"):
        SshConnection("qemu", target)


def test_no_password_opens_it(board: Board) -> None:
    state = state_of(board)
    with paramiko.SSHClient() as client:
        client.load_host_keys(str(state.known_hosts))
        with pytest.raises(paramiko.AuthenticationException):
            client.connect(
                "127.0.0.1", state.port, "root", "", allow_agent=False, look_for_keys=False
            )


def test_its_network_reaches_neither_this_machine_nor_any_other(connection: Connection) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        # 10.0.2.2 is this machine, as seen from within QEMU's user network.
        result = connection.run(["nc", "-w", "2", "10.0.2.2", port], check=False, timeout=PATIENCE)
        assert result.exit_code not in (0, 127)
        listener.settimeout(0.1)
        with pytest.raises(TimeoutError):
            listener.accept()


def test_it_tells_its_facts_and_that_it_is_emulated(connection: Connection) -> None:
    facts = read_facts(connection)
    assert facts.emulated
    assert facts.model == "linux,dummy-virt"
    assert facts.cores == {"Cortex-A72": 1}
    assert facts.glibc == "2.36"
    assert "asimd" in facts.features
    assert facts.hwcap is not None
    assert {"governor", "temperature_c", "throttled"} <= set(facts.absent)


def test_there_is_room_for_large_models(connection: Connection) -> None:
    assert connection.free_bytes(".") > 400 << 20


def test_a_program_is_ended_with_its_connection(board: Board, connection: Connection) -> None:
    script = "touch begun; exec sleep 987"
    for limit in growing_limits(lambda: connection.exists("begun")):
        with connect(board) as other, pytest.raises(BoardError, match="did not end in"):
            other.run(["sh", "-c", script], timeout=limit)
    await_that("it ends", lambda: "sleep 987" not in connection.run(["ps"]).text)


def test_two_boards_run_beside_each_other(board: Board, make_board: BoardMaker) -> None:
    """The second one with two cores and without instruction counts."""
    second = make_board("second")
    state = emulator.start(second, Silent(), cores=2, icount=False)
    assert state.port != state_of(board).port
    with connect(board) as one, connect(second) as two:
        one.run(["touch", "only-here"])
        assert not two.exists("only-here")
        assert two.run(["nproc"]).text == "2\n"
        assert one.run(["nproc"]).text == "1\n"
    assert emulator.stop(second, Silent())
    assert emulator.status(second) is None
    assert state_of(board).alive


def test_stop_and_start_give_a_fresh_board(make_board: BoardMaker) -> None:
    board = make_board("again")
    first = emulator.start(board, Silent())
    with connect(board) as connection:
        connection.run(["touch", "mark"])
    assert emulator.stop(board, Silent())
    assert not emulator.stop(board, Silent())
    assert not first.alive
    with pytest.raises(EmulatorError, match="does not run"):
        connect(board)
    second = emulator.start(board, Silent())
    assert second.pid != first.pid
    with connect(board) as connection:
        assert not connection.exists("mark")
    emulator.stop(board, Silent())


def test_a_board_that_powers_itself_off_does_not_run(make_board: BoardMaker) -> None:
    board = make_board("poweroff")
    state = emulator.start(board, Silent())
    with connect(board) as connection:
        connection.run(["poweroff"], check=False)
    await_that("it is off", lambda: not state.alive)
    assert emulator.status(board) is None


def test_a_core_that_qemu_does_not_know_is_told(tmp_path: Path) -> None:
    path = tmp_path / f"pytest-{os.getpid()}-core.toml"
    source = load_board("qemu")
    path.write_text(
        f'title = "x"\ncpu = "x"\nisa = "{source.isa}"\nmarch = "x"\nconnection = "emulator"\n'
        '[emulator]\ncpu = "cortex-z9"\n'
    )
    with pytest.raises(EmulatorError, match="cortex-z9") as caught:
        emulator.start(load_board(str(path)), Silent())
    assert not running(path.stem)
    line = (caught.value.hint or "").partition("; ")[2].removesuffix(" lists the cores")
    listed = subprocess.run(line.split(), stdout=subprocess.PIPE, text=True, check=True).stdout
    assert "cortex-a72" in listed.split()


def test_a_board_that_does_not_come_up_in_time_is_ended(make_board: BoardMaker) -> None:
    board = make_board("slow")
    with pytest.raises(EmulatorError, match="does not answer over SSH") as caught:
        emulator.start(board, Silent(), timeout=0.4)
    assert "serial.log" in (caught.value.hint or "")
    assert not running(board.name)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_start_that_is_cut_off(make_board: BoardMaker, tmp_path: Path, number: int) -> None:
    """Ctrl-C leaves no QEMU; after a kill the next start finds the board and goes on."""
    board = make_board(f"cut-{number}")
    path = tmp_path / f"{board.name}.toml"
    path.write_text((REPOSITORY / "boards" / "qemu.toml").read_text())
    log = cache_dir() / "emulator" / board.name / "serial.log"
    with subprocess.Popen(
        [sys.executable, "deploy.py", "emulator", "start", "--board", str(path)],
        cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        while not running(f"file:{log}") and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(number)
        _, said = process.communicate(timeout=PATIENCE)
    if number == signal.SIGINT:
        assert process.returncode == 130, said
        assert not running(f"file:{log}")
    else:
        state = emulator.start(board, Silent())
        assert running(f"file:{log}") == [state.pid]
