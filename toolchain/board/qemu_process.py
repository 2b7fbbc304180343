"""The QEMU of an emulated board: its command line, its launch and its end."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

from toolchain.board import image, keeper
from toolchain.board.emulator_state import (
    State,
    accepts,
    folder,
    free_port,
    keepers,
    log_file,
    qemus,
    save,
    send,
    serial,
)
from toolchain.board.link_proxy import LOOPBACK
from toolchain.board.session import Owner
from toolchain.errors import EmulatorError
from toolchain.hardware.board_file import Board, Emulator

PROGRAM = "qemu-system-aarch64"
_PORT_ATTEMPTS = 5
_END_S = 5.0
_COMPLAINTS = "qemu.log"


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
        "-serial", serial(log),
        "-M", settings.machine, "-cpu", settings.cpu,
        "-smp", str(settings.cores), "-m", str(settings.memory_mib),
        "-accel", accelerator, *counting,
        "-kernel", str(built.kernel), "-initrd", str(built.initrd),
        "-append", "console=ttyAMA0 quiet panic=-1 rdinit=/sbin/init",
        "-netdev", f"user,id=n0,restrict=on,hostfwd=tcp:{LOOPBACK}:{port}-:22",
        "-device", "virtio-net-device,netdev=n0",
    ]  # fmt: skip


def launch(
    board: Board,
    settings: Emulator,
    qemu: str,
    built: image.Image,
    *,
    owner: Owner | None,
    deadline: float,
) -> State:
    """Start a board's QEMU on a free port, and its keeper; the board boots then.

    Args:
        board: which one.
        settings: how it is booted.
        qemu: the program's path.
        built: what it boots.
        owner: with whom it ends.
        deadline: of the monotonic clock.

    Raises:
        EmulatorError: QEMU does not start, or there is no port for it.
    """
    folder(board.name).mkdir(parents=True, exist_ok=True)
    log = log_file(board.name)
    complaints, known = log.with_name(_COMPLAINTS), log.with_name("known_hosts")
    for _ in range(_PORT_ATTEMPTS):
        port = free_port()
        log.unlink(missing_ok=True)
        known.write_text(f"[{LOOPBACK}]:{port} {built.host_key}\n", encoding="ascii")
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
                board=board.name, settings=settings, pid=process.pid, port=port, owner=owner,
                since=datetime.now(UTC), user_key=built.user_key, known_hosts=known, log=log,
            )  # fmt: skip
            save(state)
            while time.monotonic() < deadline and process.poll() is None and not accepts(port):
                time.sleep(0.05)
            if process.poll() is None:  # it may still start: what waits next says that time is up
                return kept(state)
        except BaseException:
            process.kill()
            process.wait()
            raise
        if "host forwarding rule" not in _last_line(complaints):
            raise no_boot(state)
        # Another process took the port in between.
    raise EmulatorError(f"no free port was found on {LOOPBACK} in {_PORT_ATTEMPTS} attempts")


def kept(state: State) -> State:
    """A board with a keeper that runs, if it needs one: its state, which is recorded.

    Raises:
        EmulatorError: the keeper does not start.
    """
    if state.is_kept:
        return state
    port = state.qemu_port or state.port
    try:
        process, linked = keeper.start(
            state.board, state.log, state.pid, port, state.owner, state.settings.link
        )
    except OSError as error:
        raise EmulatorError(
            f"the emulated board '{state.board}': what ends it with its session, and is its link, "
            f"does not start: {error.strerror or error}",
            hint=f"{state.log.with_name(keeper.LOG)} may say why",
        ) from error
    changes = {"keeper": process}
    if linked is not None:
        changes |= {"port": linked, "qemu_port": port}
        key = state.known_hosts.read_text(encoding="ascii").splitlines()[0].partition(" ")[2]
        known = "".join(f"[{LOOPBACK}]:{each} {key}\n" for each in (port, linked))
        state.known_hosts.write_text(known, encoding="ascii")
    state = state.model_copy(update=changes)
    save(state)
    return state


def kill(name: str) -> None:
    """End every process of a board, also a QEMU whose start was killed before it was recorded.

    A keeper that does so is not ended by that.
    """
    log = log_file(name)

    def left() -> list[int]:
        return [pid for pid in (*qemus(log), *keepers(log)) if pid != os.getpid()]

    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in left():
            send(pid, log, number)
        deadline = time.monotonic() + _END_S
        while time.monotonic() < deadline:
            if not left():
                return
            time.sleep(0.05)


def no_boot(state: State) -> EmulatorError:
    """The error for a board that does not come up, in its own last words."""
    name = f"the emulated board '{state.board}'"
    complaint = _last_line(state.log.with_name(_COMPLAINTS))
    if not state.alive and complaint:
        return EmulatorError(
            f"{name} did not start: {complaint}",
            hint="check what was asked for (--cpu, --memory), or [emulator] in the board's file; "
            f"{PROGRAM} -cpu help lists the cores",
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
