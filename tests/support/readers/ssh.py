"""What OpenSSH's files hold, and what a server says first."""

from __future__ import annotations

import base64
import functools
import socket
import struct
import threading
from contextlib import suppress
from pathlib import Path

import paramiko
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from paramiko.pkey import PublicBlob

from support.malformed import Bytes, damaged
from support.readers.format import (
    Format,
    on_path,
    write_program,
)
from toolchain.board import host_keys, identities, keys, known_hosts, ssh_config
from toolchain.board.ssh import SshConnection
from toolchain.board.target import SshTarget


@functools.cache
def _key() -> tuple[bytes, bytes]:
    made = keys.generate()
    return made.openssh_private, made.public.encode()


def _known_hosts() -> Bytes:
    _, public = _key()
    kind, text = public.split()[:2]
    lines = [
        b"board %s %s\n" % (kind, text),
        b"@cert-authority *.lan,!a %s %s\n@revoked * %s %s\n" % (kind, text, kind, text),
        b"|1|JfKTdBh7rNbXkVAQCRp4OQoPfmI=|USECr3SWf1JUPsms5AqfD5QfxkM= %s %s\n" % (kind, text),
        b"a*b*c*d*e?f %s %s # comment\n" % (kind, text),
    ]
    return damaged([*lines, b"".join(lines)])


def _known(path: Path) -> None:
    found = known_hosts.read([path])
    for name in ("board", "a" * 100, "[10.0.0.1]:22"):
        for marker in ("", "@cert-authority", "@revoked"):
            found.of(name, marker)
        for _, _, names in found.unusable:
            known_hosts.matches(names, name)


_CONFIG = b"""Host board *.lan !x
  HostName 10.0.0.1
  User pi
  Port 2222
  IdentityFile "~/my keys/id"
  ProxyJump a@b:22
  UserKnownHostsFile ~/.ssh/known_hosts %d/k ${HOME}/x
Include other
Match host board
  ProxyCommand nc %h %p
Host *
  Port=22
"""


def _configs() -> Bytes:
    return damaged([_CONFIG])


def _config(path: Path) -> None:
    """Read by ourselves, as where OpenSSH is not installed."""
    with on_path(path.parent / "nothing", alone=True):
        _settings(path)


def _answers() -> Bytes:
    lines = [
        b"host board", b"user pi", b"hostname 10.0.0.1", b"port 22", b"identityfile ~/.ssh/id",
        b"userknownhostsfile ~/.ssh/known_hosts ~/.ssh/k2", b"proxyjump none", b"hashknownhosts no",
    ]  # fmt: skip
    return damaged([b"\n".join(lines) + b"\n"])


def _answer(path: Path) -> None:
    """What ``ssh -G`` prints, by a program of that name."""
    write_program(path.parent / "bin/ssh", path)
    with on_path(path.parent / "bin"):
        _settings(None)


def _settings(config: Path | None) -> None:
    found = ssh_config.lookup("board", None, None, config)
    for keyword in ("userknownhostsfile", "globalknownhostsfile", "identityfile"):
        found.paths(keyword)
    for keyword in ("proxycommand", "proxyjump", "hostkeyalias"):
        found.expanded(found.one(keyword) or "")


def _private_keys() -> Bytes:
    private, public = _key()
    return damaged([private, public])


def _identity(path: Path) -> None:
    identities.read_identity("board", path, (path,))
    with suppress(ValueError):  # its contract
        identities.private_key(path)


@functools.cache
def _certificate() -> tuple[bytes, bytes]:
    """A host's certificate, and the authority's key; both in SSH's wire format."""
    authority, host = (ed25519.Ed25519PrivateKey.generate() for _ in range(2))
    builder = (
        serialization.SSHCertificateBuilder()
        .public_key(host.public_key())
        .serial(1)
        .type(serialization.SSHCertificateType.HOST)
        .key_id(b"board's key")
        .valid_principals([b"board"])
        .valid_after(0)
        .valid_before(2**64 - 1)
    )
    public = authority.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    both = builder.sign(authority).public_bytes(), public
    signed, own = (base64.b64decode(line.split()[1]) for line in both)
    return signed, own


def _certified(path: Path) -> None:
    """What a server shows, where its authority is on record."""
    _, authority = _certificate()
    known = path.with_name("known_hosts")
    text = base64.b64encode(authority).decode()
    known.write_text(f"@cert-authority board ssh-ed25519 {text}\n")
    key = paramiko.PKey()
    key.public_blob = PublicBlob("ssh-ed25519-cert-v01@openssh.com", path.read_bytes())
    target = SshTarget("board", "pi", known_hosts=(known,))
    with suppress(paramiko.SSHException):  # its contract
        host_keys.HostKeys("board", target).check(host_keys.ShownKey.of(key))


def _revoked(path: Path) -> None:
    _, authority = _certificate()
    target = SshTarget("board", "pi", revoked=path)
    host_keys.HostKeys("board", target).check(host_keys.ShownKey("ssh-ed25519", authority))


def _greetings() -> Bytes:
    lists = [b"curve25519-sha256,kex-strict-s-v00@openssh.com", b"ssh-ed25519"]
    lists += [b"aes128-ctr"] * 2 + [b"hmac-sha2-256"] * 2 + [b"none"] * 2 + [b""] * 2
    packet = b"\x14" + bytes(16) + b"".join(struct.pack(">I", len(one)) + one for one in lists)
    packet += bytes(5)
    padding = 8 - (len(packet) + 5) % 8 + 8
    framed = struct.pack(">IB", len(packet) + padding + 1, padding) + packet + bytes(padding)
    return damaged([b"SSH-2.0-OpenSSH_9.2\r\n" + framed, b"hello\nSSH-2.0-x\r\n" + framed])


def _greeting(path: Path) -> None:
    """What a server says first; then it hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                link, _ = server.accept()
                with link:
                    link.sendall(path.read_bytes())
                    link.shutdown(socket.SHUT_WR)
                    while link.recv(4096):
                        pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        target = SshTarget("127.0.0.1", "pi", server.getsockname()[1], only_identities=True)
        try:
            SshConnection("board", target, timeout=1.0).close()
        finally:
            server.close()
            thread.join(10)


SSH = (
    Format("known_hosts", "known_hosts", _known_hosts, _known),
    Format("SSH configuration", "config", _configs, _config),
    Format("ssh -G", "answer", _answers, _answer, 0.5),
    Format("key", "id", _private_keys, _identity),
    Format("host certificate", "cert", lambda: damaged([_certificate()[0]]), _certified),
    Format("revoked keys", "revoked", _known_hosts, _revoked),
    Format("SSH greeting", "greeting", _greetings, _greeting, 0.5),
)  # fmt: skip
