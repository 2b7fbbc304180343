"""The user's key files, read as OpenSSH reads them: private, public or certified."""

from __future__ import annotations

import base64
import binascii
import io
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.utils import CryptographyDeprecationWarning
from paramiko.pkey import PublicBlob

from toolchain.errors import ConnectionFailed
from toolchain.formats.input_file import read_limited

_OPENSSH_KEY = b"openssh-key-v1\0"
_OPENSSH = b"-----BEGIN OPENSSH PRIVATE KEY-----"
_PEM = re.compile(
    rb"-----BEGIN (?P<kind>[A-Z ]*)PRIVATE KEY-----\s(?P<body>.*)-----END [A-Z ]*PRIVATE KEY-----",
    re.S,
)


@dataclass(frozen=True)
class Identity:
    """One ``IdentityFile``."""

    path: Path
    """The private key; it may not exist, then only the agent can sign."""
    public: bytes | None
    """The public key in SSH's wire format, if it can be read without a passphrase."""
    locked: bool
    """Whether the private key is protected by a passphrase."""
    certificates: tuple[PublicBlob, ...]


def read_identity(name: str, path: Path, certificates: tuple[Path, ...]) -> Identity:
    """Read a key file, and what lies beside it.

    Args:
        name: what messages call the board.
        path: a private key, or a public one: then the agent has the private part, or it is beside.
        certificates: files that may certify this key.

    Raises:
        ConnectionFailed: it cannot be read, or is no key.
    """
    if path.name.endswith("-cert.pub"):
        certificates = (path, *certificates)
        path = path.with_name(path.name.removesuffix("-cert.pub"))
    try:
        data = read_limited(path if path.is_file() else path.with_name(f"{path.name}.pub"))
    except OSError as error:
        raise ConnectionFailed(
            f"{name}: the key file {path} cannot be read: {error.strerror}",
            hint="name a private key that you may read with --identity",
        ) from error
    public = _public_line(data)
    if public is not None:
        # The public part names the key; the private one is beside it, or in the agent alone.
        path = path.with_suffix("") if path.suffix == ".pub" else path
        data = read_limited(path) if public and path.is_file() else b""
        data = b"" if _public_line(data) is not None else data
    found = _PEM.search(data)
    if data and not found:
        raise ConnectionFailed(
            f"{name}: {path} is no SSH key",
            hint="name a private key, as ssh-keygen makes it, with --identity",
        )
    locked = False
    if found:
        inside, locked = _openssh_public(found)
        public = public or inside
    beside = path.with_name(f"{path.name}.pub")
    if public is None and beside.is_file():
        public = _public_line(read_limited(beside))
    files = [path.with_name(f"{path.name}-cert.pub"), *certificates]
    signed = [blob for file in dict.fromkeys(files) if (blob := _certificate(file, public))]
    return Identity(path, public, locked, tuple(signed))


def _public_line(data: bytes) -> bytes | None:
    """The key of a line like ``ssh-ed25519 AAAA... comment``."""
    fields = data.split(None, 2)
    if len(fields) < 2 or len(fields[0]) > 64:
        return None
    try:
        blob = base64.b64decode(fields[1], validate=True)
    except (binascii.Error, ValueError):
        return None
    return blob if blob[4 : 4 + int.from_bytes(blob[:4], "big")] == fields[0] else None


def _openssh_public(found: re.Match[bytes]) -> tuple[bytes | None, bool]:
    """The public key of a private one, and whether that is locked."""
    if found["kind"] != b"OPENSSH ":
        return None, b"ENCRYPTED" in found[0]
    try:
        data = base64.b64decode(found["body"])
    except (binascii.Error, ValueError):
        return None, False
    if not data.startswith(_OPENSSH_KEY):
        return None, False
    message = paramiko.Message(data[len(_OPENSSH_KEY) :])
    cipher = message.get_string()
    message.get_string()  # the passphrase's derivation, and its options
    message.get_string()
    message.get_int()
    return message.get_string() or None, cipher != b"none"


def _certificate(path: Path, public: bytes | None) -> PublicBlob | None:
    """A user's certificate, if it is of this key."""
    if public is None or not path.is_file():
        return None
    try:
        blob = PublicBlob.from_string(read_limited(path).decode())
        found = serialization.load_ssh_public_identity(
            f"{blob.key_type} {base64.b64encode(blob.key_blob).decode()}".encode()
        )
    except (OSError, ValueError, UnsupportedAlgorithm, binascii.Error):
        return None
    if not isinstance(found, serialization.SSHCertificate):
        return None
    text = found.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return blob if base64.b64decode(text.split()[1]) == public else None


class WrongPassphrase(ValueError):  # noqa: N818 - it tells what somebody typed
    """A passphrase that does not unlock a key."""


def private_key(path: Path, passphrase: str | None = None) -> paramiko.PKey:
    """A private key, of any format that OpenSSH reads.

    Args:
        path: its file.
        passphrase: what it is locked with; ``None`` if it is not.

    Raises:
        WrongPassphrase: the passphrase does not unlock it.
        ValueError: it cannot be read.
    """
    try:
        key = _read_key(read_limited(path), None if passphrase is None else passphrase.encode())
    except (UnsupportedAlgorithm, TypeError) as error:
        raise ValueError(str(error)) from error
    except ValueError as error:
        if passphrase is None:
            raise
        raise WrongPassphrase(str(error)) from error
    readers: dict[type, Any] = {
        rsa.RSAPrivateKey: paramiko.RSAKey,
        ed25519.Ed25519PrivateKey: paramiko.Ed25519Key,
        ec.EllipticCurvePrivateKey: paramiko.ECDSAKey,
    }
    for kind in readers:
        if issubclass(type(key), kind):
            text: bytes = key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.OpenSSH,
                serialization.NoEncryption(),
            )
            made: paramiko.PKey = readers[kind].from_private_key(io.StringIO(text.decode()))
            return made
    raise ValueError("keys of this type are not supported")


def _read_key(data: bytes, passphrase: bytes | None) -> Any:
    with warnings.catch_warnings():  # that a kind of key is old is for its server to say
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        if _OPENSSH in data:
            return serialization.load_ssh_private_key(data, passphrase)
        return serialization.load_pem_private_key(data, passphrase)
