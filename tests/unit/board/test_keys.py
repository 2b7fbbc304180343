from __future__ import annotations

import base64
import io
import shutil
import struct
import subprocess
from pathlib import Path

import paramiko
import pytest

from toolchain.board import keys


def fields(data: bytes) -> list[bytes]:
    found = []
    while data:
        (size,) = struct.unpack(">I", data[:4])
        found.append(data[4 : 4 + size])
        data = data[4 + size :]
    return found


def test_the_private_key_is_one_that_ssh_reads() -> None:
    pair = keys.generate()
    loaded = paramiko.Ed25519Key.from_private_key(io.StringIO(pair.openssh_private.decode()))
    assert f"ssh-ed25519 {loaded.get_base64()}" == pair.public


def test_dropbears_form_holds_seed_and_public_point() -> None:
    pair = keys.generate()
    kind, both = fields(pair.dropbear_private)
    _, point = fields(base64.b64decode(pair.public.split()[1]))
    assert kind == b"ssh-ed25519"
    assert len(both) == 64
    assert both[32:] == point


def test_every_key_is_another() -> None:
    assert keys.generate().public != keys.generate().public


@pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="ssh-keygen is not installed")
def test_fingerprints_are_those_of_ssh_keygen(tmp_path: Path) -> None:
    pair = keys.generate()
    file = tmp_path / "key.pub"
    file.write_text(pair.public + "\n")
    shown = subprocess.run(
        ["ssh-keygen", "-lf", str(file)],  # noqa: S607 - OpenSSH's that is there
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert keys.fingerprint(base64.b64decode(pair.public.split()[1])) in shown
