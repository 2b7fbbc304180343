from __future__ import annotations

import getpass
import os
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import paramiko
import pytest

from support.ssh_server import SshServer
from toolchain.board import keys
from toolchain.board.emulator import free_port
from toolchain.board.target import SshTarget


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILESKIP_CACHE", str(tmp_path / "cache"))
    # Neither the user's keys nor their agent take part.
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)


def write_key(path: Path) -> paramiko.Ed25519Key:
    path.write_bytes(keys.generate().openssh_private)
    path.chmod(0o600)
    return paramiko.Ed25519Key.from_private_key_file(str(path))


@dataclass
class Reachable:
    """An SSH server and how to log in to it."""

    target: SshTarget
    host_key: paramiko.Ed25519Key
    home: Path
    """Where commands run."""
    drop: Callable[[], None]
    """Cuts every connection, as a board does that loses its power."""


@pytest.fixture(scope="module", params=["paramiko", "openssh"])
def reachable(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Reachable]:
    folder = tmp_path_factory.mktemp("ssh")
    home = folder / "board home"
    home.mkdir()
    host_key, user_key = write_key(folder / "host"), write_key(folder / "user")
    serve = _paramiko if request.param == "paramiko" else _openssh
    with serve(folder, home, host_key, user_key) as (user, port, drop):
        known = folder / "known_hosts"
        known.write_text(f"[127.0.0.1]:{port} ssh-ed25519 {host_key.get_base64()}\n")
        target = SshTarget(
            "127.0.0.1", user, port, (folder / "user",), (known,), only_identities=True
        )
        yield Reachable(target, host_key, home, drop)


Served = tuple[str, int, Callable[[], None]]


@contextmanager
def _paramiko(
    folder: Path,  # noqa: ARG001
    home: Path,
    host_key: paramiko.Ed25519Key,
    user_key: paramiko.Ed25519Key,
) -> Iterator[Served]:
    with SshServer(host_key, "pi", user_key, home) as server:
        yield "pi", server.port, server.drop


@contextmanager
def _openssh(
    folder: Path,
    home: Path,
    host_key: paramiko.Ed25519Key,  # noqa: ARG001
    user_key: paramiko.Ed25519Key,
) -> Iterator[Served]:
    """Debian's sshd, on a free port, with the rights of whoever runs the tests."""
    program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    if not program:
        pytest.skip("OpenSSH's server is not installed")
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # it asks for this folder when root starts it
    (folder / "authorized").write_text(f"ssh-ed25519 {user_key.get_base64()}\n")
    port = free_port()
    options = {
        "ListenAddress": f"127.0.0.1:{port}",
        "HostKey": folder / "host",
        "AuthorizedKeysFile": folder / "authorized",
        "StrictModes": "no",
        "UsePAM": "no",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "PermitRootLogin": "yes",
        "PidFile": "none",
        "ForceCommand": f'cd {shlex.quote(str(home))} && exec sh -c "$SSH_ORIGINAL_COMMAND"',
    }
    (folder / "config").write_text("".join(f"{key} {value}\n" for key, value in options.items()))
    command = [program, "-D", "-e", "-f", str(folder / "config")]
    with (
        (folder / "sshd.log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True) as process,
    ):

        def children() -> list[int]:
            names = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            return [int(name) for name in names]

        def drop() -> None:
            for pid in children():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

        try:
            _await_banner(port, process, folder / "sshd.log")
            yield getpass.getuser(), port, drop
        finally:
            drop()
            process.terminate()


def _await_banner(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(200):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as link:
            if link.recv(4) == b"SSH-":
                return
        if process.poll() is not None:
            break
        time.sleep(0.05)
    pytest.fail(f"sshd does not answer: {log.read_text()}")
