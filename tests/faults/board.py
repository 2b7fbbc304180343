"""Boards, links and servers: kinds 4, 7, 9, 10 and 12 of the list."""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
import struct
import subprocess
import sys
import time
import zlib
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np

from faults.fault import Fault, Place, refused, told
from support.bundles import write_bundle, write_masked_model
from support.openssh import Sshd, make_key, public_text, serving
from support.places import REPOSITORY
from support.processes import running
from support.relay import Relay
from toolchain.agreement.inputs import Batch
from toolchain.board import emulator, push
from toolchain.board.invoke import BoardRunner, Settings
from toolchain.board.local import LocalConnection
from toolchain.board.ssh import SshConnection
from toolchain.board.target import SshTarget
from toolchain.build.bundle import Bundle
from toolchain.errors import BoardError, ConnectionFailed, DeployError
from toolchain.hardware.board_file import load_board
from toolchain.progress import Silent
from toolchain.storage.cache import cache_dir, sha256_file
from toolchain.tflite_file.graph import read_model

_SILENCE_S = 6.0
"""Of a link that is to die; a server that is well answers within it on a busy machine, too."""
_LINGER_S = 8


@dataclasses.dataclass
class Served:
    """OpenSSH's server, and how to log in."""

    server: Sshd
    key: Path
    home: Path
    folder: Path

    def target(self, port: int) -> SshTarget:
        """Through a relay's port."""
        known = self.folder / f"known-{port}"
        known.write_text(self.server.known_line.replace(f":{self.server.port}", f":{port}"))
        return SshTarget(
            "127.0.0.1", self.server.user, port, (self.key,), (known,), only_identities=True
        )


def _served(place: Place) -> Served:
    def make(folder: Path) -> Served:
        home = folder / "home"
        home.mkdir()
        key = make_key(folder / "user")
        login = f'cd {home} && exec sh -c "$SSH_ORIGINAL_COMMAND"'
        running = serving(folder / "sshd", authorized=public_text(key) + "\n", login=login)
        return Served(place.stack.enter_context(running), key, home, folder)

    return place.once("served", make)


class Cutting(Relay):
    """A relay that ends both of a connection's links with the one, as a router does."""

    def _carry(self, source: socket.socket, sink: socket.socket, is_client: bool) -> None:
        with ExitStack() as stack:
            for link in (source, sink):
                # Of its own, as the others are closed by then; another thread may wait for one.
                own = stack.enter_context(link.dup())
                stack.callback(_ended, own)
            super()._carry(source, sink, is_client)


def _ended(link: socket.socket) -> None:
    with suppress(OSError):
        link.shutdown(socket.SHUT_RDWR)


# --- 4: a link that dies ---------------------------------------------------------------------


def dead_link(place: Place, number: int) -> str:
    """While a program runs, a file is sent or fetched, or between two programs."""
    served, folder, found = _served(place), place.fresh(number), list[str]()
    phase = ("program", "put", "get", "between")[number % 4]
    big = folder / "big"
    big.write_bytes(os.urandom(3_000_000))
    with Relay(served.server.port) as relay, told(found, phase):
        fault = "stall" if number // 4 % 2 and phase != "get" else "swallow"
        with SshConnection("pi", served.target(relay.port), silence=_SILENCE_S) as link:
            link.run(["true"])
            try:
                if phase == "program":
                    relay.after = (relay.carried + 200, fault)  # type: ignore[assignment]
                    link.run(["sleep", "50"])
                elif phase == "put":
                    relay.after = (relay.carried + 1_000_000, fault)  # type: ignore[assignment]
                    link.put(big, f"big{number}")
                elif phase == "get":
                    relay.after = (relay.carried + 3000, "swallow")
                    link.get("/dev/zero", folder / "zeros", most=1 << 40)
                else:
                    relay.fault = "swallow"
                    link.run(["true"])
                found.append(f"{phase}: came back as if nothing had happened")
            except ConnectionFailed:
                pass
    return "; ".join(found)


def half_open_transfer(place: Place, number: int) -> str:
    """What the board still runs for a client that is gone without a word, long after its limit."""
    served, folder = _served(place), place.fresh(number)
    big = folder / "big"
    big.write_bytes(os.urandom(3_000_000))
    with Relay(served.server.port) as relay:
        with (
            suppress(DeployError),
            SshConnection(
                "pi", served.target(relay.port), silence=_SILENCE_S, linger=_LINGER_S
            ) as link,
        ):
            relay.after = (relay.carried + 1_000_000, "stall")
            link.put(big, f"half{number}")
        for _ in range(110):
            if not _names(served.server, b".part"):
                return ""
            time.sleep(0.5)
        left = _names(served.server, b".part")
        served.server.drop()
    return f"the board still runs {left[:1]}" if left else ""


def _names(server: Sshd, part: bytes) -> list[bytes]:
    """The command lines on the board that hold a text."""
    found = []
    for pid in server.descendants():
        with suppress(OSError):
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
            found += [line] if part in line else []
    return found


# --- 7: what lies in a push's way ------------------------------------------------------------

_IN_THE_WAY = (
    "folder", "full folder", "link to a file", "link to a folder", "broken link", "fifo",
    "models is a link", "directory is a link", "directory is open", "models is open",
)  # fmt: skip


def obstructed_push(place: Place, number: int) -> str:
    """The file is there, whole and inside; or the push ends with an error."""
    folder, kind = place.fresh(number), _IN_THE_WAY[number % len(_IN_THE_WAY)]
    home, outside = folder / "home", folder / "outside"
    outside.mkdir()
    (outside / "victim").write_bytes(b"before")
    home.mkdir(mode=0o755)
    board, connection = load_board("host"), LocalConnection("board", home)
    model = write_masked_model(folder / "m.tflite", size=4, channels=2)
    upload = push.model_upload(board, model)
    final = home / upload.remote
    top, models = home / "tileskip", home / "tileskip/models"
    if "models is a link" in kind or "directory is a link" in kind:
        link = models if "models" in kind else top
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(outside)
    else:
        final.parent.mkdir(parents=True)
    if kind in ("folder", "full folder"):
        final.mkdir()
        (final / "x").write_bytes(b"x") if kind == "full folder" else None
    elif "link to" in kind or kind == "broken link":
        ends = {"file": outside / "victim", "folder": outside, "link": outside / "none"}
        final.symlink_to(ends[kind.split()[-1]])
    elif kind == "fifo":
        os.mkfifo(final)
    elif "open" in kind:
        (top if "directory" in kind else models).chmod(0o777)
    try:
        push.push(connection, board, [upload], Silent())
    except BoardError:
        pass
    else:
        inside = final.resolve().is_relative_to(home) and not final.is_symlink()
        if not (inside and final.is_file() and sha256_file(final) == upload.sha256):
            return f"{kind}: was told to be sent"
        if "open" in kind:
            return f"{kind}: was used"
    touched = (outside / "victim").read_bytes() != b"before"
    strange = [item.name for item in outside.rglob("*") if item.name != "victim"]
    return f"{kind}: {strange or 'the file'} outside was written" if strange or touched else ""


# --- 9: what is left -------------------------------------------------------------------------


def _leavings(home: Path) -> list[str]:
    return sorted(
        str(path.relative_to(home))
        for path in home.rglob("*")
        if path.name.endswith(".part") or path.name.startswith("run-")
    )


def _aged(home: Path) -> None:
    for path in home.rglob("*"):
        os.utime(path, (0, 0), follow_symlinks=False)


def cut_push(place: Place, number: int) -> str:
    """After so many bytes the link is gone; what that left goes with the next command."""
    served, folder = _served(place), place.fresh(number)
    board = load_board("host")
    model = folder / "m.tflite"
    model.write_bytes(os.urandom(1_500_000))
    uploads, found = [push.model_upload(board, model)], list[str]()
    with Cutting(served.server.port) as relay, told(found, "cut"):
        relay.after = (3000 + 50_000 * number, "cut")
        with SshConnection("pi", served.target(relay.port)) as link:
            push.push(link, board, uploads, Silent())
    final = served.home / uploads[0].remote
    if final.exists() and sha256_file(final) != uploads[0].sha256:
        found.append("half a file stands under its name")
    if number % 2:
        with told(found, "again"), SshConnection("pi", served.target(served.server.port)) as link:
            push.push(link, board, uploads, Silent())
        if not final.exists() or sha256_file(final) != uploads[0].sha256:
            found.append("the same push does not bring it there")
        if left := [name for name in _leavings(served.home) if uploads[0].sha256 in name]:
            found.append(f"left {left}")
    return "; ".join(found + _after_the_next(served))


def _after_the_next(served: Served) -> list[str]:
    """What is still left when the next command has swept."""
    for _ in range(300):  # what was cut off ends by itself, and writes until then
        ours = [Path(name).name for name in _leavings(served.home)]
        # A connection may be about to begin what was asked of it before.
        if not served.server.descendants() and not any(running(name) for name in ours):
            break
        time.sleep(0.1)
    _aged(served.home)
    target = served.target(served.server.port)
    with SshConnection("pi", target) as link:
        push.sweep(link, load_board("host"))
    left = _leavings(served.home)
    return [f"left {name}, named by {running(Path(name).name)}" for name in left]


def cut_run(place: Place, number: int) -> str:
    """A run with inputs, whose link is gone at some point."""
    served, folder = _served(place), place.fresh(number)
    found: list[str] = []

    def bundle(folder: Path) -> Path:
        write_bundle(folder / "b", b"#!/bin/sh\nsleep 1\n")
        return folder / "b"

    made = Bundle.load(place.once("bundle", bundle))
    model = read_model(write_masked_model(folder / "m.tflite", size=32, channels=2))
    inputs = np.zeros((20, *model.graph.tensors[model.graph.inputs[0]].shape), np.float32)
    with (
        Cutting(served.server.port) as relay,
        told(found, "cut"),
        SshConnection("pi", served.target(relay.port)) as link,
    ):
        runner = BoardRunner(link, load_board("host"), made, Silent(), timeout=30)
        runner.push_models([Path(model.path)])
        relay.after = (relay.carried + 1000 + 15_000 * number, "cut")
        runner.run(model, Settings(), Batch((inputs,), joined=False))
    return "; ".join(found + _after_the_next(served))


_FILL = """
import sys, time
from pathlib import Path
from toolchain.storage.cache import entry
def fill(folder):
    for number in range(1000):
        (folder / str(number)).write_bytes(bytes(10000))
        print("filling", flush=True)
        time.sleep(float(sys.argv[2]))
entry("killed", sys.argv[1] * 20, fill)
"""


def killed_entry(place: Place, number: int) -> str:
    """``kill -9`` while an entry of the cache is made; the next of its kind sweeps."""
    cache = place.fresh(number)
    environment = {**os.environ, "TILESKIP_CACHE": str(cache), "PYTHONPATH": str(REPOSITORY)}
    words = [sys.executable, "-c", _FILL, f"{number % 10}", "0.01"]
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for _ in range(1 + number):
            process.stdout.readline()
        process.kill()
    if not list((cache / "killed").glob(".*-*")):
        return "nothing was there to be swept"
    other = (
        "from toolchain.storage.cache import entry; entry('killed', 'other' * 9, lambda _: None)"
    )
    subprocess.run([sys.executable, "-c", other], env=environment, check=True)
    left = [path.name for path in (cache / "killed").iterdir() if path.name.startswith(".")]
    return f"left {left}" if left else ""


# --- 10: without end -------------------------------------------------------------------------


def endless(place: Place, number: int) -> str:
    """Output, error, a file, an archive, a header, a device, a runner that was stopped."""
    folder, kind = place.fresh(number), number % 7
    if kind < 3:
        served = _served(place)
        script = ("cat /dev/zero", "cat /dev/zero >&2", "")[kind]
        try:
            with SshConnection("pi", served.target(served.server.port)) as link:
                if script:
                    link.run(["sh", "-c", script], timeout=50)
                    return f"{script}: ended"
                link.get("/dev/zero", folder / "zeros", most=1 << 20)
        except BoardError:
            return ""
        return "a file without end was taken"
    if kind == 3:
        bomb = folder / "a.npz"
        _bomb(bomb)
        words = ["convert", "--model", "fashion_resnet_s20", "--quantize", "int8",
                 "--calibration", str(bomb), "--output", str(folder / "o.tflite")]  # fmt: skip
        return "" if refused(*words) is not None else "a bomb was unpacked"
    if kind == 4:
        header = folder / "m.h"
        header.write_text(
            "".join(f"const uint8_t A{n}[1][1] = {{{{1}}}};\n" for n in range(60_000))
        )
        begun = time.process_time()
        refused("convert", "--model", "fashion_resnet_s20", "--masks", header,
                "--output", folder / "o.tflite")  # fmt: skip
        took = time.process_time() - begun
        return f"60,000 arrays took {took:.0f} s" if took > 40 else ""
    if kind == 5:
        words = [["inspect", "/dev/zero"], ["compare", "/dev/zero", "/dev/zero"],
                 ["inspect", "/dev/full"]][number // 7 % 3]  # fmt: skip
        return "" if refused(*words) is not None else f"{' '.join(words)}: came back"
    bundle = write_bundle(folder / "b", b"#!/bin/sh\nkill -STOP $$; sleep 60\n")
    model = read_model(write_masked_model(folder / "m.tflite", size=4, channels=2))
    connection = LocalConnection("board", folder / "home")
    runner = BoardRunner(connection, load_board("host"), bundle, Silent(), timeout=1)
    try:
        runner.run(model, Settings())
    except BoardError:
        return ""
    return "a stopped runner was waited for"


def _bomb(path: Path) -> None:
    """An archive that unpacks to a terabyte, by what it says of itself."""
    header = b"\x93NUMPY\x01\x00\x76\x00" + b"{'descr':'<f4','fortran_order':False,'shape':(4,),}"
    data = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = data.compress(header.ljust(128, b" ")) + data.flush()
    size = 1 << 31
    parts = b""
    central = b""
    for name in (b"%03d.npy" % number for number in range(600)):
        local = struct.pack("<IHHHHHIIIHH", 0x04034B50, 20, 0, 8, 0, 33, 0, len(body), size,
                            len(name), 0)  # fmt: skip
        central += struct.pack("<IHHHHHHIIIHHHHHII", 0x02014B50, 20, 20, 0, 8, 0, 33, 0, len(body),
                               size, len(name), 0, 0, 0, 0, 0, len(parts)) + name  # fmt: skip
        parts += local + name + body
    end = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 600, 600, len(central), len(parts), 0)
    path.write_bytes(parts + central + end)


# --- 12: the emulated board ------------------------------------------------------------------


def emulated_board(place: Place, number: int) -> str:  # noqa: ARG001
    """One of its own: what only names its log lives, a frozen one is told and ended."""
    path = place.once("board", lambda folder: folder / f"faults-{os.getpid()}.toml")
    path.write_bytes((REPOSITORY / "boards/qemu.toml").read_bytes())
    board = load_board(str(path))
    found: list[str] = []
    log = cache_dir() / "emulator" / board.name / "serial.log"
    words = ["-c", "sleep 300 & wait", "tail", f"file:{log}"]
    with subprocess.Popen(["/bin/sh", *words], start_new_session=True) as decoy:
        try:
            state = emulator.start(board, Silent())
            if state.phase() != "runs":
                found.append(f"one that runs '{state.phase()}'")
            os.kill(state.pid, signal.SIGSTOP)
            while "T" not in Path(f"/proc/{state.pid}/stat").read_text().rpartition(")")[2][:3]:
                time.sleep(0.01)
            if (phase := state.phase()) != "is stopped":
                found.append(f"one that is frozen '{phase}'")
        finally:
            if not emulator.stop(board, Silent()):
                found.append("one that runs was not stopped")
        if emulator.status(board) is not None:
            found.append("it still runs")
        if decoy.poll() is not None:
            found.append("another process was ended")
        os.killpg(decoy.pid, signal.SIGKILL)
    return "; ".join(found)


FAULTS = (
    Fault("a link that dies after login", 4, 16, "unit/board/test_silence.py", dead_link,
          cheap=False),
    Fault("a transfer that is half open on the board", 4, 3, "unit/board/test_silence.py",
          half_open_transfer, 120, cheap=False),
    Fault("something in the way of a push", 7, 30, "unit/board/test_private_folder.py",
          obstructed_push),
    Fault("a push that is cut", 9, 30, "unit/board/test_push.py", cut_push, cheap=False),
    Fault("a run that is cut", 9, 18, "unit/board/test_push.py", cut_run, cheap=False),
    Fault("kill -9 while the cache is written", 9, 19, "unit/storage/test_cache.py", killed_entry),
    Fault("something without end", 10, 21, "unit/board/test_ssh.py", endless, 120, cheap=False),
    Fault("an emulated board that is frozen, with a namesake", 12, 2, "unit/board/test_emulator.py",
          emulated_board, 300, cheap=False),
)  # fmt: skip
