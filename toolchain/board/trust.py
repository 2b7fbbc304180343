"""Recording a server's host key, as OpenSSH does, once somebody has compared its fingerprint."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
import stat
from collections.abc import Sequence
from pathlib import Path

from toolchain.board import keys, known_hosts
from toolchain.board.host_keys import ChangedKeyError, HostKeys, ShownKey, UnknownKeyError
from toolchain.board.known_hosts import Record
from toolchain.board.ssh import SshConnection
from toolchain.board.target import SshTarget
from toolchain.errors import HostKeyError, OutputError
from toolchain.formats.input_file import read_limited
from toolchain.storage.files import written_whole

_SALT_BYTES = 20
"""As OpenSSH has it: the length of a SHA-1."""


class _Shown(Exception):  # noqa: N818 - it tells what has happened
    """Ends a connection as soon as the server has proved to have a key."""

    def __init__(self, key: ShownKey) -> None:
        super().__init__()
        self.key = key


def fetch_key(name: str, target: SshTarget) -> ShownKey:
    """The host key that a server proves to have; nobody logs in to it.

    Hosts and programs on the way to it are gone through as always: the keys of the former have to
    be on record.

    Args:
        name: what messages call the board.
        target: where it is.

    Raises:
        HostKeyError: the key of a host on the way is not on record.
        ConnectionFailed: no SSH server answers.
    """

    def keep(_record: HostKeys, shown: ShownKey) -> None:
        raise _Shown(shown)

    try:
        connection = SshConnection(name, target, judge=keep)
    except _Shown as seen:
        return seen.key
    connection.close()
    raise AssertionError("a connection whose host key was not judged")


def check_key(name: str, target: SshTarget, shown: ShownKey) -> HostKeyError | None:
    """What keeps a key from being taken as it is; ``None`` if it is on record.

    Args:
        name: what messages call the board.
        target: the host.
        shown: its key.

    Returns:
        :class:`UnknownKeyError` or :class:`ChangedKeyError`.

    Raises:
        HostKeyError: it is revoked, or certified by nobody: no record of it would be of use.
    """
    try:
        HostKeys(f"{name} ({target})", target).check(shown)
    except (UnknownKeyError, ChangedKeyError) as error:
        return error
    return None


def check_fingerprint(name: str, shown: ShownKey, expected: str) -> None:
    """Compare a key with the fingerprint that somebody was given.

    Args:
        name: what messages call the board.
        shown: the key.
        expected: ``SHA256:...``, as ``ssh-keygen -l`` prints it.

    Raises:
        HostKeyError: it is another one.
    """
    if not hmac.compare_digest(expected.encode(), keys.fingerprint(shown.blob).encode()):
        raise HostKeyError(
            f"{name}: the host key is {shown}, and not {expected}",
            hint=f"see on the board itself what it has: {shown.comparison}; if that is what you "
            "gave, another machine answers in its place",
        )


def record_key(target: SshTarget, shown: ShownKey, replaced: Sequence[Record] = ()) -> Path:
    """Record a key of a host, in the file that OpenSSH would take.

    Args:
        target: the host.
        shown: its key.
        replaced: records of the host that go. The file as it was is kept beside it, as ``.old``.

    Returns:
        The file.

    Raises:
        HostKeyError: a record that is to go is of other hosts, too, or in another file.
        OutputError: the file cannot be written.
    """
    path = target.record
    for record in replaced:
        if not record.is_plain or record.path != path:
            raise HostKeyError(
                f"{record.path} line {record.line} is on record for {target.known_name}, "
                + ("and for others" if record.path == path else "and is not yours alone"),
                hint="take it out by hand, and run the command again",
            )
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        before = read_limited(path) if path.exists() else b""
        if replaced:
            _replace(path, before, target, shown, [record.line for record in replaced])
        else:
            _append(path, before, _line(target, shown))
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written: {error.strerror or error}",
            hint="UserKnownHostsFile in your SSH configuration may name another file",
        ) from error
    return path


def _append(path: Path, before: bytes, line: bytes) -> None:
    """One write at the end of the file: another program may do the same now."""
    begin = b"" if not before or before.endswith(b"\n") else b"\n"
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        data = begin + line
        while data:
            data = data[os.write(number, data) :]
        os.fsync(number)
    finally:
        os.close(number)


def _replace(
    path: Path, before: bytes, target: SshTarget, shown: ShownKey, numbers: Sequence[int]
) -> None:
    # As they were counted when they were read: other bytes than these end no line.
    lines = before.decode("latin-1").split("\n")
    kept = [text for number, text in enumerate(lines, 1) if number not in numbers]
    text = "\n".join(kept).encode("latin-1")
    mode = stat.S_IMODE(path.stat().st_mode)
    old = path.with_name(f"{path.name}.old")
    for place, content in (
        (old, before),
        (path, text + (b"" if not text or text.endswith(b"\n") else b"\n") + _line(target, shown)),
    ):
        with written_whole(place) as scratch:
            scratch.write_bytes(content)
            scratch.chmod(mode)


def _line(target: SshTarget, shown: ShownKey) -> bytes:
    name = hashed(target.known_name) if target.hashes_names else target.known_name
    return f"{name} {shown.kind} {base64.b64encode(shown.blob).decode()}\n".encode()


def hashed(name: str) -> str:
    """A name as OpenSSH hashes it: ``|1|salt|hash``, HMAC-SHA1 (``hostfile.c``)."""
    salt = secrets.token_bytes(_SALT_BYTES)
    digest = hmac.new(salt, name.encode(), hashlib.sha1).digest()
    return "|".join(["", "1", *(base64.b64encode(part).decode() for part in (salt, digest))])


def on_record(target: SshTarget) -> list[Record]:
    """What is on record of a host, without a look at it; patterns and hashes, too.

    A record without a port counts for a host at another port where it has none of its own.
    """
    known = known_hosts.read(target.known_hosts)
    bare = [] if target.host_key_alias or target.port == 22 else [target.bare_name]
    for name in (target.known_name, *bare):
        if found := known.of(name) + known.of(name, "@cert-authority"):
            return found
    return []
