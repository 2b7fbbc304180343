"""OpenSSH itself, for tests: a server on a free port, an agent, keys, and its own client.

Everything runs with the rights of whoever runs the tests, and in folders of their own.
"""

from __future__ import annotations

import getpass
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.patience import PATIENCE, await_that
from toolchain.board.emulator_state import free_port, greets

_ENDS_WITH_US = ("setpriv", "--pdeathsig", "TERM")
"""Also where pytest is killed, and no ``finally`` runs."""


@dataclass
class Sshd:
    """Debian's sshd, running."""

    port: int
    user: str
    host_key: Path
    """Its private host key; the public one is beside it, as ``.pub``."""
    process: subprocess.Popen[bytes]

    @property
    def known_line(self) -> str:
        """The line of ``known_hosts`` that trusts it."""
        return f"[127.0.0.1]:{self.port} {public_text(self.host_key)}\n"

    def descendants(self) -> list[int]:
        """What it runs now: a process for each connection, their children, and so on."""
        found: list[int] = []
        left = [self.process.pid]
        while left:
            pid = left.pop()
            with suppress(OSError):
                names = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
                left += map(int, names)
                found += map(int, names)
        return found

    def signal(self, number: signal.Signals) -> None:
        """Signal every connection, and what runs in it."""
        for pid in self.descendants():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def drop(self) -> None:
        """Cut every connection, as a board does that loses its power."""
        self.signal(signal.SIGKILL)


@contextmanager
def serving(
    folder: Path,
    *,
    authorized: str,
    login: str = 'exec sh -c "$SSH_ORIGINAL_COMMAND"',
    host_key: Path | None = None,
    options: Mapping[str, object] | None = None,
    within: Sequence[str] = (),
    also: Sequence[str] = (),
) -> Iterator[Sshd]:
    """Run a server; the test is skipped if there is none.

    Args:
        folder: where its files go.
        authorized: the lines of ``authorized_keys``.
        login: shell text that is run instead of a login shell; it finds the client's command in
            ``SSH_ORIGINAL_COMMAND``.
        host_key: a private host key; a new one unless given.
        options: further ones of ``sshd_config``.
        within: a program and arguments that run the server.
        also: further addresses to listen at.
    """
    program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    if not program:
        pytest.skip("OpenSSH's server is not installed")
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # it asks for this folder when root starts it
    folder.mkdir(parents=True, exist_ok=True)
    host_key = host_key or make_key(folder / "host_key")
    (folder / "authorized").write_text(authorized)
    port = free_port()
    settings = {
        "ListenAddress": "\nListenAddress ".join(
            f"{address}:{port}" for address in ("127.0.0.1", *also)
        ),
        "HostKey": host_key,
        "AuthorizedKeysFile": folder / "authorized",
        "StrictModes": "no",
        "UsePAM": "no",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "PermitRootLogin": "yes",
        "PidFile": "none",
        "ForceCommand": login,
        # The start-up files of whoever runs the tests take no part.
        "SetEnv": f"HOME={folder}",
    }
    settings.update(options or {})
    (folder / "sshd_config").write_text(
        "".join(f"{key} {value}\n" for key, value in settings.items())
    )
    command = [*_ENDS_WITH_US, *within, program, "-D", "-e", "-f", str(folder / "sshd_config")]
    with (
        (folder / "sshd.log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True) as process,
    ):
        server = Sshd(port, getpass.getuser(), host_key, process)
        try:
            _await_banner(port, process, folder / "sshd.log")
            yield server
        finally:
            server.signal(signal.SIGCONT)
            server.drop()
            process.terminate()


def make_key(path: Path, *, kind: str = "ed25519", passphrase: str = "") -> Path:
    """A new key pair; the public key is beside the private one, as ``.pub``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _run("ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", path.name, "-f", str(path))
    return path


def public_text(private: Path) -> str:
    """``ssh-ed25519 AAAA...`` of a key pair."""
    return " ".join(Path(f"{private}.pub").read_text().split()[:2])


def certify(authority: Path, key: Path, *arguments: str) -> Path:
    """Sign a public key with an authority's; the certificate is beside it, as ``-cert.pub``."""
    _run("ssh-keygen", "-q", "-s", str(authority), "-I", "test", *arguments, f"{key}.pub")
    return key.with_name(f"{key.name}-cert.pub")


@contextmanager
def agent(socket_path: Path) -> Iterator[None]:
    """An agent that listens there, and holds no key yet."""
    command = [*_ENDS_WITH_US, "ssh-agent", "-D", "-a", str(socket_path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            await_that("the agent listens", socket_path.exists)
            yield
        finally:
            process.send_signal(signal.SIGCONT)
            process.terminate()


def add_to_agent(socket_path: Path, key: Path, passphrase: str = "") -> None:
    """Load a key into an agent."""
    shell(f"ssh-add -q {shlex.quote(str(key))}", passphrase, SSH_AUTH_SOCK=str(socket_path))


def shell(command: str, passphrase: str = "", **environment: str) -> str:
    """Run a command as a user would, who types a passphrase where one is asked for.

    Returns:
        What it printed.
    """
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        env={
            **os.environ,
            "SSH_ASKPASS": "/bin/echo" if not passphrase else _askpass(passphrase),
            "SSH_ASKPASS_REQUIRE": "force",
            **environment,
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stderr}{done.stdout}"
    return done.stdout


def client_logs_in(config: Path, host: str, *arguments: str) -> bool:
    """Whether OpenSSH's own client logs in to a host of a configuration, asking nothing."""
    command = ["ssh", "-F", str(config), "-o", "BatchMode=yes", *arguments, host, "true"]
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    return done.returncode == 0


def _askpass(passphrase: str) -> str:
    path = Path(os.environ["HOME"]) / "askpass"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho {shlex.quote(passphrase)}\n")
    path.chmod(0o700)
    return str(path)


def _run(*command: str) -> None:
    subprocess.run(
        command, check=True, capture_output=True, timeout=PATIENCE, stdin=subprocess.DEVNULL
    )


def _await_banner(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    def answers() -> bool:
        if process.poll() is not None:
            pytest.fail(f"sshd has ended: {log.read_text()}")
        return greets(port, 5)

    await_that("sshd answers", answers)
