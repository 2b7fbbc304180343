from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import paramiko
import pytest

from support.ssh_server import SshServer
from toolchain.board import keys
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

    server: SshServer
    target: SshTarget
    host_key: paramiko.Ed25519Key
    home: Path


@pytest.fixture(scope="module")
def reachable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reachable]:
    folder = tmp_path_factory.mktemp("ssh")
    home = folder / "board home"
    home.mkdir()
    host_key, user_key = write_key(folder / "host"), write_key(folder / "user")
    with SshServer(host_key, "pi", user_key, home) as server:
        known = folder / "known_hosts"
        known.write_text(f"[127.0.0.1]:{server.port} ssh-ed25519 {host_key.get_base64()}\n")
        target = SshTarget(
            "127.0.0.1", "pi", server.port, (folder / "user",), (known,), only_identities=True
        )
        yield Reachable(server, target, host_key, home)
