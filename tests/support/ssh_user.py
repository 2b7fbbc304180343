"""A user with a home, in whose SSH configuration a real OpenSSH server is called ``pi``."""

from __future__ import annotations

import os
import select
import shlex
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from support.emulated_home import users_ssh
from support.openssh import Sshd, make_key, public_text, serving
from support.patience import PATIENCE
from support.places import REPOSITORY
from toolchain.board import connect, lease, ssh
from toolchain.board.ssh import SshConnection
from toolchain.board.target import SshTarget
from toolchain.cli.app import main

RUN = 'exec sh -c "$SSH_ORIGINAL_COMMAND"'
_PROGRAM = """\
import sys
from toolchain.board import lease, ssh
lease.PLACES = (sys.argv[1], sys.argv[1])
ssh.CONNECT_TIMEOUT_S = 600.0
sys.argv = ["deploy", *sys.argv[2:]]
import deploy
deploy.main()
"""


@dataclass
class Begun:
    """One of our commands that runs in a process of its own."""

    line: list[str]
    pid: int
    handle: int
    """Of the process, which no other gets after it."""
    out: Path
    err: Path

    def kill(self) -> None:
        """End it without a word."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.handle, signal.SIGKILL)

    def end(self, limit: float = PATIENCE) -> subprocess.CompletedProcess[str]:
        """Wait for its end.

        Args:
            limit: seconds after which it is ended.

        Raises:
            TimeoutError: it had to be.
        """
        ended = select.poll()
        ended.register(self.handle, select.POLLIN)
        in_time = bool(ended.poll(limit * 1000))
        if not in_time:
            self.kill()
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.handle)
        if not in_time:
            raise TimeoutError(f"{shlex.join(self.line)}: did not end in {limit:g} s")
        said = (path.read_text(errors="replace") for path in (self.out, self.err))
        return subprocess.CompletedProcess(self.line, code, *said)


class SshUser:
    """One who may log in to a server, and what his commands print.

    Args:
        folder: for his files.
        server: that lets him in.
        key: with which.
    """

    def __init__(self, folder: Path, server: Sshd, key: Path) -> None:
        self.folder, self.server, self.key = folder, server, key
        self.port = server.port
        """Where the server is reached."""
        self.patience = PATIENCE
        """Seconds to wait for each answer of a login."""
        self.silence: float | None = None
        """Seconds without an answer after which a board is given up, and so many in which a board
        ends what it hears nothing of; those of the program if ``None``."""
        self.home, self.work = folder / "user", folder / "work"
        self.board = folder / "board"
        """Where programs run on the server."""
        self.inventory = folder / "boards.toml"
        ssh = self.home / ".ssh"
        ssh.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.work.mkdir(exist_ok=True)
        self.known = ssh / "known_hosts"
        self.config = ssh / "config"
        self.configure()
        self.bin = users_ssh(self.home)
        self.locks = folder / "locks"
        self.locks.mkdir()
        self.locks.chmod(0o1777)
        self.places = (str(self.locks), str(self.locks))
        """Where the board keeps the locks of leases."""

    @property
    def program(self) -> list[str]:
        """Our program; the board, which is this machine, keeps its locks in a folder of its own."""
        return [sys.executable, "-c", _PROGRAM, str(self.locks)]

    @property
    def name(self) -> str:
        """Under which the server's key is on record."""
        return f"[127.0.0.1]:{self.server.port}"

    def trust(self) -> None:
        """Have the server's key on record."""
        self.known.write_text(self.server.known_line)

    def configure(self, *lines: str) -> None:
        """Write the configuration, with further lines for the server; the first of a kind counts.

        The system's own may hash names: Debian's does.
        """
        own = [
            "HostName 127.0.0.1", f"Port {self.port}", f"User {self.server.user}",
            f"IdentityFile {self.key}", "IdentitiesOnly yes", *lines, "HashKnownHosts no",
        ]  # fmt: skip
        self.config.write_text("\n  ".join(["Host pi", *own]) + "\n")

    @property
    def environment(self) -> dict[str, str]:
        """In which his commands run."""
        found = {
            **os.environ, "HOME": str(self.home), "COLUMNS": "100",
            "TILESKIP_CACHE": str(self.folder / "cache"), "TILESKIP_BOARDS": str(self.inventory),
            "PATH": f"{self.bin}:{os.environ['PATH']}", "PYTHONPATH": str(REPOSITORY),
        }  # fmt: skip
        found.pop("SSH_AUTH_SOCK", None)
        return found

    def deploy(self, *words: object, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run one of our commands in a process of its own, with nobody at a terminal."""
        done = self.begin(*words, **environment).end()
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def begin(self, *words: object, into: str = "", **environment: str) -> Begun:
        """Begin one; what it prints goes to files, whose names ``into`` tells from others'."""
        line = list(map(str, words))
        out, err = self.folder / f"out{into}", self.folder / f"err{into}"
        child = os.fork()
        if not child:
            self._become(line, out, err, environment)
        return Begun(line, child, os.pidfd_open(child), out, err)

    def _become(self, line: list[str], out: Path, err: Path, environment: dict[str, str]) -> None:
        """What a child is: all that is slow to import is there already."""
        code = 99
        try:
            variables = {**self.environment, **environment}
            os.environ.clear()
            os.environ.update(variables)
            os.chdir(self.work)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            for number, path in ((1, out), (2, err)):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
            sys.stdin = open(0, closefd=False)  # noqa: SIM115
            sys.stdout = sys.__stdout__ = open(1, "w", closefd=False)  # type: ignore[misc]  # noqa: SIM115
            sys.stderr = sys.__stderr__ = open(2, "w", closefd=False)  # type: ignore[misc]  # noqa: SIM115
            lease.PLACES = self.places
            ssh.CONNECT_TIMEOUT_S = self.patience
            if self.silence is not None:
                vars(connect)["SshConnection"] = _impatient(self.silence)
            sys.argv = ["deploy", *line]
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)


def _impatient(silence: float) -> type[SshConnection]:
    """Connections that are given up after so many seconds of silence, on both sides."""

    class Impatient(SshConnection):
        def __init__(self, name: str, target: SshTarget) -> None:
            super().__init__(name, target, silence=silence, linger=max(1, int(silence)))

    return Impatient


@contextmanager
def user_of_a_server(folder: Path, login: str = RUN) -> Iterator[SshUser]:
    """Run a server, and make a user who may log in to it.

    Args:
        folder: for the files of both.
        login: what the server runs.
    """
    key = make_key(folder / "key")
    (folder / "board").mkdir(exist_ok=True)
    text = f"cd {shlex.quote(str(folder / 'board'))} && {login}"
    with serving(folder / "sshd", authorized=public_text(key) + "\n", login=text) as server:
        yield SshUser(folder, server, key)
