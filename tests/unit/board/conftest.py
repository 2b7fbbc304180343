from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import paramiko
import pytest

from support.leases import Waiting
from support.openssh import serving
from support.patience import PATIENCE
from support.ssh_server import SshServer
from toolchain.board import keys, lease, ssh
from toolchain.board.connection import Connection
from toolchain.board.target import SshTarget


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILESKIP_CACHE", str(tmp_path / "cache"))
    # Neither the user's keys nor their agent take part.
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    # On a busy machine a server that is here, too, may take long to greet.
    monkeypatch.setattr(ssh, "CONNECT_TIMEOUT_S", PATIENCE)


@pytest.fixture
def locks(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the test's own for leases: those of others on this machine take no part."""
    folder = tmp_path_factory.mktemp("the locks")
    folder.chmod(0o1777)
    monkeypatch.setattr(lease, "PLACES", (str(folder), str(folder)))
    return folder


@pytest.fixture
def someone(board: Connection) -> Iterator[Callable[..., Waiting]]:
    """Makes somebody who wants a lease of the test's board; all have ended with the test."""
    with ExitStack() as stack:

        def start(purpose: str, *, shared: bool = False) -> Waiting:
            waiting = Waiting(board, purpose, shared=shared)
            stack.callback(waiting.finish)
            return waiting

        yield start


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """A file system of memory, mounted with these options; skips where none may be mounted."""
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a file system")
    yield folder
    unmount = ["umount", str(folder)]
    subprocess.run(unmount, check=True)


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


@dataclass
class Cuttable(Reachable):
    """One that may be cut."""

    drop: Callable[[], None]
    """Cuts every connection, as a board does that loses its power."""


@pytest.fixture(scope="module", params=["paramiko", "openssh"])
def reachable(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Reachable]:
    with reached(request.param, tmp_path_factory.mktemp("ssh")) as found:
        yield found


@pytest.fixture(params=["paramiko", "openssh"])
def cuttable(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cuttable]:
    """Nobody else's: a test that cuts it leaves the others' connections whole."""
    with reached(request.param, tmp_path) as found:
        yield found


@contextmanager
def reached(kind: str, folder: Path) -> Iterator[Cuttable]:
    """A server of a kind, ``paramiko`` or ``openssh``, whose files lie in a folder."""
    home = folder / "board home"
    home.mkdir()
    host_key, user_key = write_key(folder / "host"), write_key(folder / "user")
    serve = _paramiko if kind == "paramiko" else _openssh
    with serve(folder, home, host_key, user_key) as (user, port, drop):
        known = folder / "known_hosts"
        known.write_text(f"[127.0.0.1]:{port} ssh-ed25519 {host_key.get_base64()}\n")
        target = SshTarget(
            "127.0.0.1", user, port, (folder / "user",), (known,), only_identities=True
        )
        yield Cuttable(target, host_key, home, drop)


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
    login = f'cd {shlex.quote(str(home))} && exec sh -c "$SSH_ORIGINAL_COMMAND"'
    with serving(
        folder / "sshd",
        authorized=f"ssh-ed25519 {user_key.get_base64()}\n",
        login=login,
        host_key=folder / "host",
    ) as server:
        yield server.user, server.port, server.drop
