"""OpenSSH's own server on loopback, for measurements: its usual settings, and keys of its own."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from toolchain.board import keys
from toolchain.board.emulator_state import free_port, greets
from toolchain.board.target import SshTarget, identity_words, option_words
from toolchain.errors import MissingToolError
from toolchain.hints import apt_line

_HOST = "127.0.0.1"
_START_S = 30.0


@dataclass(frozen=True)
class Server:
    """A server that runs, and how to log in to it."""

    port: int
    user: str
    key: Path
    """Private key of the user."""
    host_key: str
    """``ssh-ed25519 AAAA...``."""
    folder: Path

    def target(self, port: int | None = None) -> SshTarget:
        """The way there, for a connection of ours.

        Args:
            port: of something that stands before the server.
        """
        known = self.known_hosts(port)
        return SshTarget(
            _HOST, self.user, port or self.port, (self.key,), (known,), only_identities=True
        )

    def options(self, port: int | None = None) -> list[str]:
        """The same for ``ssh`` and ``scp``, but for the port."""
        settings = {
            "StrictHostKeyChecking": "yes",
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "BatchMode": "yes",
        }
        words = ["-F", "none", *identity_words(self.key)]
        words += option_words("UserKnownHostsFile", self.known_hosts(port))
        return words + [
            word for name, value in settings.items() for word in ("-o", f"{name}={value}")
        ]

    def address(self, path: Path) -> str:
        """A file there, as ``scp`` names it."""
        return f"{self.user}@{_HOST}:{path}"

    def known_hosts(self, port: int | None) -> Path:
        """A file that trusts the server's key on a port."""
        path = self.folder / f"known-{port or self.port}"
        path.write_text(f"[{_HOST}]:{port or self.port} {self.host_key}\n", encoding="utf-8")
        return path


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """Run a server.

    Args:
        folder: where its files go; it has to be this user's alone.

    Raises:
        MissingToolError: OpenSSH's server or client is not installed.
    """
    program = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None or shutil.which("scp") is None:
        raise MissingToolError(
            "OpenSSH's server and client are needed",
            hint=f"run: {apt_line('openssh-server', 'openssh-client')}",
        )
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # it asks for this folder when root starts it
    host, user = keys.generate(), keys.generate()
    for name, pair in (("host", host), ("user", user)):
        (folder / name).write_bytes(pair.openssh_private)
        (folder / name).chmod(0o600)
    (folder / "authorized").write_text(f"{user.public}\n", encoding="utf-8")
    port, literal = free_port(), str(folder).replace("%", "%%")
    (folder / "sshd_config").write_text(
        f'ListenAddress {_HOST}:{port}\nHostKey "{folder}/host"\n'
        f'AuthorizedKeysFile "{literal}/authorized"\nStrictModes no\nUsePAM no\n'
        "PermitRootLogin yes\nPidFile none\nSubsystem sftp internal-sftp\n"
        # The start-up files of whoever measures take no part.
        f'SetEnv "HOME={folder}"\n',
        encoding="utf-8",
    )
    command = [program, "-D", "-e", "-f", str(folder / "sshd_config")]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stderr=log) as process:
        try:
            _await(port, process)
            yield Server(port, getpass.getuser(), folder / "user", host.public, folder)
        finally:
            process.terminate()


def _await(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_S
    while process.poll() is None and time.monotonic() < deadline:
        if greets(port, 5):
            return
        time.sleep(0.05)
    raise MissingToolError(f"OpenSSH's server does not answer on port {port} of this machine")
