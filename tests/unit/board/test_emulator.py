"""What is known of an emulated board without booting one; tests/emulated boots it."""

from __future__ import annotations

import dataclasses
import os
import shlex
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.patience import PATIENCE, await_that
from support.played_qemus import played_qemu, record, sleeping
from toolchain.board import emulator, qemu_process
from toolchain.board.connect import connect
from toolchain.board.emulator_state import State, free_port, log_file
from toolchain.board.image import Image, module_order
from toolchain.board.qemu_process import qemu_command
from toolchain.board.session import this_program
from toolchain.errors import BoardConfigError, EmulatorError, MissingToolError
from toolchain.hardware.board_file import Board, Emulator, load_board
from toolchain.hints import apt_line
from toolchain.progress import Silent
from toolchain.storage.cache import locked


@pytest.fixture
def board() -> Board:
    return load_board("qemu")


def log_of(board: Board) -> Path:
    return log_file(board.name)


@pytest.fixture
def sleeper(board: Board, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that looks like the board's QEMU from outside."""
    with played_qemu(tmp_path, board.name) as process:
        yield process


def test_none_was_started(board: Board) -> None:
    assert emulator.status(board) is None
    assert emulator.stop(board, Silent()) is False


def test_a_running_process_is_found(board: Board, sleeper: subprocess.Popen[bytes]) -> None:
    record(board, sleeper.pid)
    state = emulator.status(board)
    assert state is not None
    assert state.pid == sleeper.pid


@pytest.mark.parametrize("words", [(), ("-serial",)], ids=["named", "as an option"])
def test_a_process_that_only_names_the_boards_log_is_left_alone(
    board: Board, words: tuple[str, ...]
) -> None:
    """As ``tail`` or an editor does."""
    with sleeping("/bin/sh", *words, log_of(board)) as process:
        record(board, process.pid)
        assert emulator.status(board) is None
        assert emulator.stop(board, Silent()) is False
        assert process.poll() is None


def test_what_a_board_does_is_told(board: Board, sleeper: subprocess.Popen[bytes]) -> None:
    def phase(**changes: object) -> str:
        record(board, sleeper.pid, **changes)
        state = emulator.status(board)
        assert state is not None
        return state.phase()

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def answer() -> None:
            link, _ = server.accept()
            link.sendall(b"SSH-2.0-x\r\n")
            link.close()

        greeter = threading.Thread(target=answer)
        greeter.start()
        assert phase(port=port) == "runs"
        greeter.join()
    assert phase(port=port) == "does not answer"
    assert phase(port=port, ready=False) == "boots"
    os.kill(sleeper.pid, signal.SIGSTOP)
    stat = Path(f"/proc/{sleeper.pid}/stat")
    await_that("it is stopped", lambda: "T" in stat.read_text().rpartition(")")[2][:3])
    assert phase(port=port) == "is stopped"


def test_a_board_that_is_stopped_is_ended(board: Board, sleeper: subprocess.Popen[bytes]) -> None:
    record(board, sleeper.pid)
    os.kill(sleeper.pid, signal.SIGSTOP)
    assert emulator.stop(board, Silent()) is True
    assert sleeper.wait() < 0


def test_a_wait_for_another_command_is_told(board: Board) -> None:
    told: list[str] = []

    class Notes(Silent):
        def note(self, message: str) -> None:
            told.append(message)
            release.set()

    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with locked(f"emulator-{board.name}"):
            held.set()
            release.wait(PATIENCE)

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(PATIENCE)
    assert emulator.stop(board, Notes()) is False
    holder.join()
    assert told == ["emulated board 'qemu': waiting for another command that starts or stops it"]


def test_a_pid_that_was_given_to_another_process_is_not_taken_for_the_board(board: Board) -> None:
    record(board, os.getpid())
    assert emulator.status(board) is None
    assert emulator.stop(board, Silent()) is False, "and that process is left alone"


def test_a_process_that_has_ended_is_not_running(
    board: Board, sleeper: subprocess.Popen[bytes]
) -> None:
    record(board, sleeper.pid)
    os.killpg(sleeper.pid, signal.SIGKILL)
    sleeper.wait()
    assert emulator.status(board) is None


def test_a_child_that_ended_and_was_not_waited_for_is_not_running(board: Board) -> None:
    child = subprocess.Popen(["true", f"file:{log_of(board)}"])  # noqa: S607 - what it runs is no matter
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    record(board, child.pid)
    assert emulator.status(board) is None
    child.wait()


def test_stop_ends_a_qemu_that_was_never_recorded(
    board: Board, sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its start was killed just after it was launched."""
    monkeypatch.setattr(qemu_process, "_END_S", PATIENCE)
    emulator.stop(board, Silent())
    assert sleeper.wait(PATIENCE) == -signal.SIGTERM


def test_a_board_is_ended_for_its_owner_and_for_no_other(
    board: Board, sleeper: subprocess.Popen[bytes]
) -> None:
    ours = this_program()
    assert ours is not None
    record(board, sleeper.pid, owner=dataclasses.replace(ours, started=ours.started - 1))
    assert emulator.end_with(board.name, ours) is False, "it is another's"
    record(board, sleeper.pid)
    assert emulator.end_with(board.name, ours) is False, "it was asked to stay"
    assert sleeper.poll() is None
    record(board, sleeper.pid, owner=ours)
    assert emulator.end_with(board.name, ours) is True
    assert sleeper.wait(PATIENCE) == -signal.SIGTERM
    assert emulator.end_with(board.name, ours) is False, "it has ended"


def test_a_board_that_is_asked_to_stay_stays_whoever_started_it(
    board: Board, sleeper: subprocess.Popen[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "qemu-system-aarch64").symlink_to("/bin/false")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    record(board, sleeper.pid, owner=this_program(), keeper=sleeper.pid)
    monkeypatch.setattr(State, "is_kept", True)
    assert emulator.start(board, Silent()).owner == this_program()
    assert emulator.start(board, Silent(), stay=True).owner is None
    state = emulator.status(board)
    assert state is not None
    assert state.owner is None


@pytest.mark.parametrize("content", ["", "{", '{"pid": 1}', "null"])
def test_a_damaged_state_is_no_running_board(board: Board, content: str) -> None:
    record(board, 1).write_text(content)
    assert emulator.status(board) is None


def test_a_board_that_boots_is_not_connected_to(
    board: Board, sleeper: subprocess.Popen[bytes]
) -> None:
    record(board, sleeper.pid, ready=False)
    with pytest.raises(EmulatorError, match="'qemu' does not run") as caught:
        connect(board)
    assert caught.value.hint == "deploy emulator start --board qemu"


def test_start_refuses_a_running_board_with_other_settings(
    board: Board, sleeper: subprocess.Popen[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "qemu-system-aarch64").symlink_to("/bin/false")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    record(board, sleeper.pid)
    with pytest.raises(EmulatorError, match="other settings"):
        emulator.start(board, Silent(), cores=2, icount=False)
    assert emulator.start(board, Silent()).pid == sleeper.pid, "the same settings are fine"


def test_without_qemu_the_line_that_installs_it_is_told(
    board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingToolError, match="qemu-system-aarch64 is not installed") as caught:
        emulator.start(board, Silent())
    assert caught.value.hint == apt_line("qemu-system-arm")


def test_a_real_board_is_not_booted() -> None:
    with pytest.raises(BoardConfigError, match=r"no \[emulator\] table") as caught:
        emulator.start(load_board("rpi4"), Silent())
    assert caught.value.hint == "deploy emulator start --like rpi4"


@pytest.fixture
def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes QEMU a script, which finds the path of the board's serial line in ``$log``."""
    image = tmp_path / "image"
    image.mkdir()
    (image / "host_key.pub").write_text("ssh-ed25519 AAAA\n")
    monkeypatch.setattr("toolchain.board.image.build", lambda *_: Image(image))
    program = tmp_path / "bin" / "qemu-system-aarch64"
    program.parent.mkdir()
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")

    def play(script: str) -> None:
        find = "for word; do case $word in file:*) log=${word#file:} ;; esac; done"
        program.write_text(f"#!/bin/sh\n{find}\n{script}\n")
        program.chmod(0o755)

    return play


def test_a_board_that_ends_while_it_boots_is_told_with_its_last_words(
    board: Board, played: Callable[[str], None]
) -> None:
    played('printf "first\\nKernel panic\\n" >"$log"')
    with pytest.raises(
        EmulatorError, match=r"ended while it booted; its last words: Kernel panic$"
    ) as caught:
        emulator.start(board, Silent())
    assert caught.value.hint == f"what it wrote while booting is in {log_of(board)}"


def test_a_qemu_that_does_not_start_is_told_in_its_own_words(
    board: Board, played: Callable[[str], None]
) -> None:
    played("echo 'qemu: no such core' >&2; exit 1")
    with pytest.raises(EmulatorError, match=r"'qemu' did not start: qemu: no such core$") as caught:
        emulator.start(board, Silent())
    assert caught.value.hint is not None
    assert "--cpu" in caught.value.hint


def test_a_port_that_was_taken_meanwhile_is_followed_by_others(
    board: Board, played: Callable[[str], None], tmp_path: Path
) -> None:
    complaint = "could not set up host forwarding rule 'tcp:127.0.0.1:22-:22'"
    played(f'echo "$@" >>{tmp_path}/tries; echo "{complaint}" >&2; exit 1')
    with pytest.raises(EmulatorError, match=r"no free port was found on 127\.0\.0\.1"):
        emulator.start(board, Silent())
    assert len((tmp_path / "tries").read_text().splitlines()) == 5


def test_several_cores_need_no_icount(board: Board) -> None:
    with pytest.raises(BoardConfigError, match="cores must be 1") as caught:
        emulator.start(board, Silent(), cores=2)
    assert "--no-icount" in (caught.value.hint or "")


def test_the_command_line_counts_instructions_and_reaches_only_loopback(tmp_path: Path) -> None:
    settings = Emulator(cpu="cortex-a72", memory_mib=1024, icount_shift=1)
    log = tmp_path / "a,b.log"
    command = qemu_command("qemu", settings, Image(tmp_path), 2222, log)
    assert command[command.index("-icount") + 1] == "shift=1"
    assert command[command.index("-accel") + 1] == "tcg,thread=single"
    assert command[command.index("-smp") + 1] == "1"
    network = command[command.index("-netdev") + 1].split(",")
    assert "restrict=on" in network
    assert "hostfwd=tcp:127.0.0.1:2222-:22" in network
    assert command[command.index("-serial") + 1].endswith("a,,b.log")


def test_without_icount_there_may_be_several_cores(tmp_path: Path) -> None:
    settings = Emulator(cpu="cortex-a72", cores=4)
    command = qemu_command("qemu", settings, Image(tmp_path), 2222, tmp_path / "log")
    assert "-icount" not in command
    assert command[command.index("-accel") + 1] == "tcg,thread=multi"
    assert command[command.index("-smp") + 1] == "4"


def test_the_machine_is_the_one_of_the_boards_file(tmp_path: Path) -> None:
    settings = Emulator(machine="virt", cpu="cortex-a53", memory_mib=768)
    command = qemu_command("qemu", settings, Image(tmp_path), 2222, tmp_path / "log")
    options = {"-M": "virt", "-cpu": "cortex-a53", "-m": "768"}
    options |= {"-kernel": str(tmp_path / "kernel"), "-initrd": str(tmp_path / "initrd")}
    assert {option: command[command.index(option) + 1] for option in options} == options


def test_the_ssh_line_names_key_port_and_pinned_host_key(board: Board) -> None:
    path = record(board, 1)
    line = State.model_validate_json(path.read_bytes()).ssh_command
    assert line.startswith("ssh -i ")
    assert "UserKnownHostsFile=" in line
    assert line.endswith("root@127.0.0.1")


@pytest.mark.parametrize("name", ["plain", "a  b", "100%", "%h", 'a "quoted" one', "it's", "a\\b"])
def test_the_paths_of_the_ssh_line_arrive_as_they_are(
    board: Board, tmp_path: Path, name: str
) -> None:
    """Whatever OpenSSH splits a value at, as into two files, or takes for a token."""
    place = tmp_path / name
    place.mkdir()
    (place / "key").touch()
    state = State.model_validate_json(record(board, 1).read_bytes())
    own = state.model_copy(update={"user_key": place / "key", "known_hosts": place / "known"})
    program, *words = shlex.split(own.ssh_command)
    done = subprocess.run(
        [program, "-F", "none", "-G", *words], check=True, capture_output=True, text=True
    )
    told = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert told["userknownhostsfile"] == str(place / "known")
    # This one is told before its tokens are replaced.
    assert told["identityfile"] == str(place / "key").replace("%", "%%")
    assert "not accessible" not in done.stderr


def test_ports_that_are_taken_are_not_chosen() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert free_port() != taken.getsockname()[1]


# --- kernel modules ----------------------------------------------------------------------------


def module(folder: Path, name: str, depends: str) -> None:
    info = f"license=GPL\0depends={depends}\0name={name}\0".encode()
    (folder / f"{name}.ko").write_bytes(b"\x7fELF\0" + info)


def test_modules_are_loaded_after_what_they_depend_on(tmp_path: Path) -> None:
    module(tmp_path, "virtio_net", "net_failover,virtio")
    module(tmp_path, "net-failover", "failover")
    module(tmp_path, "failover", "")
    module(tmp_path, "virtio", "")
    module(tmp_path, "unrelated", "")
    order = [path.stem for path in module_order(tmp_path, ["virtio_net", "virtio"])]
    assert order == ["failover", "net-failover", "virtio", "virtio_net"]


def test_a_module_that_is_missing_is_named(tmp_path: Path) -> None:
    module(tmp_path, "virtio_net", "failover")
    with pytest.raises(EmulatorError, match="no module 'failover'"):
        module_order(tmp_path, ["virtio_net"])
