"""Ed25519 keys for the emulated board: OpenSSH's format for the user, dropbear's for the host."""

from __future__ import annotations

import base64
import hashlib
import struct
from dataclasses import dataclass

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_TYPE = b"ssh-ed25519"


@dataclass(frozen=True)
class KeyPair:
    """A new key in every form that the board needs."""

    openssh_private: bytes
    """What ``ssh -i`` reads."""
    dropbear_private: bytes
    """What ``dropbear -r`` reads: type, then seed and public point together."""
    public: str
    """``ssh-ed25519 AAAA...``, as in ``authorized_keys`` and ``known_hosts``."""


def generate() -> KeyPair:
    """Make a fresh Ed25519 key."""
    key = Ed25519PrivateKey.generate()
    seed = key.private_bytes_raw()
    point = key.public_key().public_bytes_raw()
    blob = _string(_TYPE) + _string(point)
    return KeyPair(
        openssh_private=key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.OpenSSH,
            serialization.NoEncryption(),
        ),
        dropbear_private=_string(_TYPE) + _string(seed + point),
        public=f"{_TYPE.decode()} {base64.b64encode(blob).decode()}",
    )


def fingerprint(blob: bytes) -> str:
    """A public key's SHA-256 fingerprint as ``ssh-keygen -l`` prints it.

    Args:
        blob: the key in SSH's wire format (``paramiko.PKey.asbytes()``).
    """
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data
