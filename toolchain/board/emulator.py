"""The emulated board: QEMU in the background, reachable over SSH on this machine's loopback.

One runs for each board name. What is known of it lies in ``<cache>/emulator/<board>/``: its state,
its ``known_hosts`` and what it wrote to its serial line.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import subprocess
import time
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ValidationError

from toolchain import progress
from toolchain.board import image
from toolchain.board.ssh import SshConnection
from toolchain.board.target import SshTarget
from toolchain.errors import BoardConfigError, ConnectionFailed, EmulatorError, MissingToolError
from toolchain.formats.validation import faults
from toolchain.hardware.board_file import Board, Emulator
from toolchain.hints import apt_line, command
from toolchain.storage import cache
from toolchain.storage.files import write_whole

BOOT_TIMEOUT_S = 180.0
_QEMU = "qemu-system-aarch64"
NEEDED_TOOLS = {_QEMU: "qemu-system-arm"}
"""The programs that it calls, each with the Debian package that has it."""
_LOOPBACK = "127.0.0.1"
_PORT_ATTEMPTS = 5
_POWEROFF_S = 15.0
_END_S = 5.0
_LOG = "serial.log"
_COMPLAINTS = "qemu.log"


Phase = Literal["runs", "boots", "is stopped", "does not answer"]


class State(BaseModel):
    """An emulated board that was started; kept as ``state.json``."""

    board: str
    settings: Emulator
    pid: int
    port: int
    user_key: Path
    known_hosts: Path
    log: Path
    """What the board wrote to its serial line."""
    ready: bool = False
    """Whether a login has succeeded."""

    @property
    def target(self) -> SshTarget:
        """How it is reached: its own key, its own record of host keys, nothing of the user's."""
        return SshTarget(
            hostname=_LOOPBACK,
            user="root",
            port=self.port,
            identities=(self.user_key,),
            known_hosts=(self.known_hosts,),
            only_identities=True,
        )

    @property
    def ssh_command(self) -> str:
        """The line that logs in by hand."""
        return shlex.join(
            ["ssh", "-i", str(self.user_key), "-p", str(self.port),
             "-o", f"UserKnownHostsFile={self.known_hosts}", "-o", "IdentitiesOnly=yes",
             f"root@{_LOOPBACK}"]
        )  # fmt: skip

    @property
    def alive(self) -> bool:
        """Whether its QEMU still runs."""
        return self.pid in _processes(self.log, self.pid)

    def phase(self) -> Phase:
        """What it does now; asks it, which takes a moment, or two seconds of a board in trouble."""
        if _is_stopped(self.pid):
            return "is stopped"
        if not self.ready:
            return "boots"
        return "runs" if _greets(self.port, 2) else "does not answer"


def status(board: Board) -> State | None:
    """The running emulated board; ``None`` if there is none, or it has died."""
    try:
        state = State.model_validate_json(_state_file(board).read_bytes())
    except (OSError, ValidationError):
        return None
    return state if state.alive else None


def start(
    board: Board,
    report: progress.Progress,
    *,
    cores: int | None = None,
    icount: bool = True,
    timeout: float = BOOT_TIMEOUT_S,
) -> State:
    """Boot the board unless it runs, and wait until it can be logged in to.

    If it does not come up, or this is interrupted, no QEMU is left behind.

    Args:
        board: a board with an ``[emulator]`` table.
        report: is told of the stages.
        cores: overrides the board file; more than one only without ``icount``.
        icount: whether to count instructions, if the board file says so.
        timeout: seconds in which it has to come up.

    Raises:
        MissingToolError: QEMU is not installed.
        BoardConfigError: the settings contradict each other.
        EmulatorError: it does not boot, or it already runs with other settings.
        SourceError: a Debian package of its image could not be fetched.
    """
    settings = _settings(board, cores, icount)
    qemu = shutil.which(_QEMU)
    if not qemu:
        raise MissingToolError(
            f"{_QEMU} is not installed, so there is no emulated board",
            hint=apt_line(*NEEDED_TOOLS.values()),
        )
    with _locked(board, report):
        running = status(board)
        if running:
            if running.settings != settings:
                raise EmulatorError(
                    f"the emulated board '{board.name}' already runs with other settings",
                    hint=command("emulator", "stop", "--board", board.given),
                )
            if running.ready:
                return running
        else:
            _kill(board)
        built = image.build(report)
        with report.stage(f"emulated board '{board.name}': boot", total=3) as stage:
            stage.advance(0, "QEMU")
            deadline = time.monotonic() + timeout
            try:
                state = running or _launch(board, settings, qemu, built, deadline)
                stage.advance(1, "kernel")
                _await_banner(state, deadline)
                stage.advance(1, "login")
                _await_login(state, deadline)
            except BaseException:
                _kill(board)
                raise
            stage.advance(1, "ready")
        state = state.model_copy(update={"ready": True})
        _save(board, state)
    return state


def stop(board: Board, report: progress.Progress) -> bool:
    """Shut the board down; whether there was one to shut down."""
    with _locked(board, report):
        state = status(board)
        if state is not None:
            with report.stage(f"emulated board '{board.name}': shut down"):
                _power_off(state)
        _kill(board)
        _state_file(board).unlink(missing_ok=True)
    return state is not None


def serial_log(board: Board) -> Path:
    """What an emulated board wrote to its serial line when it ran last, if it ever did."""
    return _state_file(board).with_name(_LOG)


def require_emulated(board: Board) -> Emulator:
    """The settings of an emulated board.

    Raises:
        BoardConfigError: it is not an emulated one.
    """
    if board.emulator is None:
        raise BoardConfigError(
            f"board '{board.name}' is not an emulated one: it has no [emulator] table",
            hint=command("emulator", "start", "--board", "qemu"),
        )
    return board.emulator


def _settings(board: Board, cores: int | None, icount: bool) -> Emulator:
    settings = require_emulated(board)
    chosen = settings.model_dump()
    if not icount:
        chosen["icount_shift"] = None
    if cores is not None:
        chosen["cores"] = cores
    try:
        return Emulator.model_validate(chosen)
    except ValidationError as error:
        counts = chosen["icount_shift"] is not None and (cores or 1) > 1
        raise BoardConfigError(
            f"board '{board.name}': " + "; ".join(found.said for found in faults(error, Emulator)),
            hint="add --no-icount: then there are no instruction counts" if counts else None,
        ) from error


def qemu_command(
    qemu: str, settings: Emulator, built: image.Image, port: int, log: Path
) -> list[str]:
    """The command line of QEMU; the board's network reaches nothing but this port."""
    accelerator, counting = "tcg,thread=multi", []
    if settings.icount_shift is not None:
        # Not sleep=off: an idle board's clock would then run hours ahead in seconds, and take a
        # whole core of the host to do so. Counts repeat exactly without it, too.
        accelerator, counting = "tcg,thread=single", ["-icount", f"shift={settings.icount_shift}"]
    return [
        qemu, "-nodefaults", "-no-reboot", "-display", "none", "-monitor", "none",
        "-serial", _serial(log),
        "-M", settings.machine, "-cpu", settings.cpu,
        "-smp", str(settings.cores), "-m", str(settings.memory_mib),
        "-accel", accelerator, *counting,
        "-kernel", str(built.kernel), "-initrd", str(built.initrd),
        "-append", "console=ttyAMA0 quiet panic=-1 rdinit=/sbin/init",
        "-netdev", f"user,id=n0,restrict=on,hostfwd=tcp:{_LOOPBACK}:{port}-:22",
        "-device", "virtio-net-device,netdev=n0",
    ]  # fmt: skip


def _serial(log: Path) -> str:
    return "file:" + str(log).replace(",", ",,")  # QEMU splits options at commas


def _launch(
    board: Board, settings: Emulator, qemu: str, built: image.Image, deadline: float
) -> State:
    folder = _state_file(board).parent
    folder.mkdir(parents=True, exist_ok=True)
    log, complaints, known = folder / _LOG, folder / _COMPLAINTS, folder / "known_hosts"
    for _ in range(_PORT_ATTEMPTS):
        port = free_port()
        log.unlink(missing_ok=True)
        known.write_text(f"[{_LOOPBACK}]:{port} {built.host_key}\n", encoding="ascii")
        with complaints.open("wb") as errors:
            process = subprocess.Popen(
                qemu_command(qemu, settings, built, port, log),
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                start_new_session=True,  # Ctrl-C is for us: we decide what becomes of the board
            )
        try:
            state = State(
                board=board.name, settings=settings, pid=process.pid,
                port=port, user_key=built.user_key, known_hosts=known, log=log,
            )  # fmt: skip
            _save(board, state)
            while time.monotonic() < deadline and process.poll() is None:
                if _accepts(port):
                    return state
                time.sleep(0.05)
        except BaseException:
            process.kill()
            process.wait()
            raise
        if process.poll() is None:
            return state  # still starting: what waits next says that time is up
        if "host forwarding rule" not in _last_line(complaints):
            raise _no_boot(state)
        # Another process took the port in between.
    raise EmulatorError(f"no free port was found on {_LOOPBACK} in {_PORT_ATTEMPTS} attempts")


def _await_banner(state: State, deadline: float) -> None:
    # QEMU itself accepts connections from the start; only sshd's greeting says that it is up.
    while time.monotonic() < deadline and state.alive:
        if _greets(state.port, 5):
            return
        time.sleep(0.1)
    raise _no_boot(state)


def _await_login(state: State, deadline: float) -> None:
    last: ConnectionFailed | None = None
    while time.monotonic() < deadline and state.alive:
        try:
            with SshConnection(state.board, state.target) as connection:
                connection.run(["true"], timeout=30)
                return
        except ConnectionFailed as error:
            last = error
            time.sleep(0.2)
    raise _no_boot(state) from last


def _no_boot(state: State) -> EmulatorError:
    name = f"the emulated board '{state.board}'"
    complaint = _last_line(state.log.with_name(_COMPLAINTS))
    if not state.alive and complaint:
        return EmulatorError(
            f"{name} did not start: {complaint}",
            hint=f"check [emulator] in the file of board '{state.board}'",
        )
    last = _last_line(state.log)
    return EmulatorError(
        f"{name} {'does not answer over SSH' if state.alive else 'ended while it booted'}"
        + (f"; its last words: {last}" if last else ""),
        hint=f"what it wrote while booting is in {state.log}",
    )


def _last_line(path: Path) -> str:
    if not path.is_file():
        return ""
    lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else ""


def _power_off(state: State) -> None:
    try:
        with SshConnection(state.board, state.target, timeout=5) as connection:
            connection.run(["poweroff"], check=False, timeout=5)
    except Exception:  # noqa: S110 - a board that does not answer is ended from outside
        pass
    else:
        _await_end(state, _POWEROFF_S)


def _kill(board: Board) -> None:
    """End every QEMU of this board, also one whose start was killed before it was recorded."""
    log = _state_file(board).with_name(_LOG)
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in _processes(log):
            _send(pid, log, number)
        deadline = time.monotonic() + _END_S
        while time.monotonic() < deadline:
            if not _processes(log):
                return
            time.sleep(0.05)


def _send(pid: int, log: Path, number: signal.Signals) -> None:
    """Send a signal to a board's QEMU, and to no process that has got its number since."""
    with suppress(ProcessLookupError, PermissionError):
        handle = os.pidfd_open(pid)
        try:
            if pid in _processes(log, pid):  # looked at while the handle holds on to it
                signal.pidfd_send_signal(handle, number)
                if number == signal.SIGTERM:  # what is stopped does not take it
                    signal.pidfd_send_signal(handle, signal.SIGCONT)
        finally:
            os.close(handle)


def _is_stopped(pid: int) -> bool:
    with suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "tT"
    return False


def _locked(board: Board, report: progress.Progress) -> AbstractContextManager[None]:
    def waiting() -> None:
        report.note(
            f"emulated board '{board.name}': waiting for another command that starts or stops it"
        )

    return cache.locked(f"emulator-{board.name}", waiting)


def _await_end(state: State, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while state.alive and time.monotonic() < deadline:
        time.sleep(0.05)


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def _greets(port: int, seconds: float) -> bool:
    """Whether an SSH server says so."""
    try:
        with socket.create_connection((_LOOPBACK, port), timeout=seconds) as link:
            return link.recv(4) == b"SSH-"
    except OSError:
        return False


def _accepts(port: int) -> bool:
    try:
        with socket.create_connection((_LOOPBACK, port), timeout=1):
            return True
    except OSError:
        return False


def _processes(log: Path, pid: int | None = None) -> list[int]:
    """The QEMUs that write to ``log``: one pid if it is given and is one, else all of them."""
    mark = _serial(log).encode()
    found: list[int] = []
    for folder in [Path(f"/proc/{pid}")] if pid else Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended just now, or is another user's
            # A process that ended and was not waited for has an empty command line.
            words = (folder / "cmdline").read_bytes().split(b"\0")
            is_option = mark in words and words[words.index(mark) - 1] == b"-serial"
            if is_option and "qemu-system" in (folder / "exe").readlink().name:
                found.append(int(folder.name))
    return found


def _state_file(board: Board) -> Path:
    return cache.cache_place() / "emulator" / board.name / "state.json"


def _save(board: Board, state: State) -> None:
    write_whole(_state_file(board), state.model_dump_json(indent=1).encode())
