"""Emulated boards that are killed, frozen or rebooted, or whose clock jumps: kind 13."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from faults.bench import COMMANDS, Bench, warm_up
from faults.fault import Fault, Place
from faults.transport import met
from support.openssh import Sshd
from support.patience import await_that
from support.places import REPOSITORY
from support.ssh_user import Begun, SshUser
from toolchain.board import emulator
from toolchain.board.emulator_state import State
from toolchain.board.lease import PLACES, Lease
from toolchain.board.ssh import SshConnection
from toolchain.build.bundle import build
from toolchain.errors import ConnectionFailed, LeaseError
from toolchain.hardware.board_file import load_board
from toolchain.progress import Silent

_SILENCE_S = 15.0
"""Of a frozen board; one that is emulated answers within it on a busy machine, too."""
_YEAR_S = 365 * 24 * 3600
_BOARD_ERROR, _LINK_ERROR = 8, 6
_HASHES = """
cd tileskip 2>/dev/null || exit 0
for file in bundles/*/* models/*/*; do if [ -f "$file" ]; then sha256sum "$file"; fi; done
"""
_RUNNING = (
    "grep -ls '[t]ileskip' /proc/[0-9]*/cmdline | while read -r file; do cat $file; echo; done"
)


class EmulatedBench(Bench):
    """An emulated board of its own, reached as a real one is.

    Args:
        folder: for the user's files.
        path: the board's file.
    """

    def __init__(self, folder: Path, path: Path) -> None:
        self.board = load_board(str(path))
        self.state = self._booted()
        # No process of ours: nothing but its port and its key is asked for.
        server = Sshd(self.state.port, "root", self.state.user_key, cast("Any", None))
        bundle = build(load_board("qemu"), out=folder / "b")
        user = SshUser(folder, server, self.state.user_key)
        user.places = PLACES  # the board is no part of this machine
        super().__init__(user, bundle, self._host_key())
        text = path.read_text().partition("[emulator]")[0].replace('"emulator"', '"ssh"')
        (self.user.work / "pi.toml").write_text(f'{text}\n[ssh]\nhost = "pi"\n')

    def start(self) -> None:
        """Boot it, unless it runs."""
        self.state = self._booted()
        self.user.server.port = self.state.port
        self.reach(self.state.port)

    def _booted(self) -> State:
        return emulator.start(self.board, Silent(), icount=False)

    def _host_key(self) -> str:
        """Its image's: the same after each boot."""
        return " ".join(self.state.known_hosts.read_text().split()[1:3])

    def connect(self) -> SshConnection:
        """A connection of the test's own."""
        return SshConnection("pi", self.state.target)

    def said(self, script: str) -> str:
        """What a script prints there."""
        with self.connect() as link:
            return link.run(["sh", "-c", script]).text

    def prepare(self, name: str) -> None:
        """See :meth:`Bench.prepare`."""
        self.reach(self.user.server.port)
        if name == "push":
            self.said("rm -rf tileskip")
        else:
            self.require("push")

    def stored(self) -> dict[str, str]:
        """See :meth:`Bench.stored`."""
        lines = [line.split(maxsplit=1) for line in self.said(_HASHES).splitlines()]
        return {name: known for known, name in lines}

    def held(self) -> list[str]:
        """See :meth:`Bench.held`."""
        try:
            with self.connect() as link, Lease(link, "test", wait=0, note=lambda _: None):
                return []
        except LeaseError as error:
            return [str(error)]

    def connections(self) -> list[int]:
        """See :meth:`Bench.connections`; its programs are looked at over one."""
        return []

    def running(self) -> list[str]:
        """See :meth:`Bench.running`."""
        said = self.said(_RUNNING).replace("\0", " ").strip()
        return [said] if said else []


def _bench(place: Place) -> EmulatedBench:
    def make(folder: Path) -> EmulatedBench:
        warm_up()
        path = folder / f"faults-{os.getpid()}.toml"
        path.write_bytes((REPOSITORY / "boards/qemu.toml").read_bytes())
        board = load_board(str(path))
        place.stack.callback(emulator.stop, board, Silent())
        return EmulatedBench(folder, path)

    made: EmulatedBench = place.once("emulated", make)
    made.start()
    return made


def _struck(
    place: Place, number: int, act: Callable[[EmulatedBench], object], silence: float | None = None
) -> str:
    """A command whose board is struck, boots again, and does what it is to do."""
    made, name = _bench(place), COMMANDS[number % len(COMMANDS)]
    struck = met(made, name, "none", act.__name__, number, act=lambda _: act(made), silence=silence)
    with struck as (done, point):
        found = list[str]()
        if done.returncode:
            found += made.refusal(name, done, (_LINK_ERROR, _BOARD_ERROR))
    _kill(made)
    made.start()
    return "; ".join(f"at {point}: {it}" for it in found + made.after(name))


def _kill(made: EmulatedBench) -> None:
    with suppress(ProcessLookupError):
        os.kill(made.state.pid, signal.SIGKILL)
    await_that("QEMU has ended", lambda: not made.state.alive)


def _freeze(made: EmulatedBench) -> None:
    os.kill(made.state.pid, signal.SIGSTOP)


def _reboot(made: EmulatedBench) -> None:
    with suppress(ConnectionFailed), made.connect() as link:
        link.run(["reboot", "-f"], check=False)
    await_that("QEMU has ended", lambda: not made.state.alive)


def killed_board(place: Place, number: int) -> str:
    """Its power is gone, or it hangs and is then switched off."""
    if number // len(COMMANDS) % 2:
        return _struck(place, number, _freeze, _SILENCE_S)
    return _struck(place, number, _kill)


def rebooted_board(place: Place, number: int) -> str:
    """Someone else reboots it."""
    return _struck(place, number, _reboot)


def jumping_clock(place: Place, number: int) -> str:
    """Its clock is set back or forward by a year while a command is at work, and back after it."""
    made, name = _bench(place), COMMANDS[number % len(COMMANDS)]
    shift = (_YEAR_S, -_YEAR_S)[number % 2]

    def jump(by: int) -> None:
        made.said(f"date -s @$(($(date +%s) + {by}))")

    def act(_: Begun) -> None:
        jump(shift)

    with met(made, name, "none", "clock", number, act=act) as (done, point):
        found = made.success(name, done)
    found += made.after(name)
    jump(-shift)
    return "; ".join(f"{shift} s at {point}: {it}" for it in found + made.after(name))


def _row(name: str, tries: int, inject: Callable[[Place, int], str]) -> Fault:
    return Fault(name, 13, tries, "emulated/test_reboots.py", inject, 600.0, cheap=False)


FAULTS = (
    _row("an emulated board that is killed or frozen", 10, killed_board),
    _row("an emulated board that is rebooted", 5, rebooted_board),
    _row("an emulated board whose clock jumps by a year", 5, jumping_clock),
)
