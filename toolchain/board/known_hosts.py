"""The files in which host keys are on record, read as OpenSSH reads them.

A line that cannot be used (an SSH-1 key, a damaged one, a marker of a later OpenSSH) says nothing
of any host; it never keeps others from being read.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from toolchain.formats.input_file import read_limited

Marker = Literal["", "@cert-authority", "@revoked"]
_MARKERS: tuple[Marker, ...] = ("@cert-authority", "@revoked")


@dataclass(frozen=True)
class Record:
    """One line of a file."""

    path: Path
    line: int
    """From 1."""
    marker: Marker
    names: str
    """A hash, or patterns with commas between them."""
    kind: str
    """``ssh-ed25519`` and so on."""
    blob: bytes
    """The key in SSH's wire format."""

    @property
    def is_plain(self) -> bool:
        """Whether ``ssh-keygen -R`` finds it by name."""
        return not self.marker and not re.search(r"[*?!]", self.names)


@dataclass(frozen=True)
class KnownHosts:
    """All lines of some files."""

    records: tuple[Record, ...]
    unusable: tuple[tuple[Path, int, str], ...]
    """File, line and the names of lines that say nothing."""
    unreadable: tuple[Path, ...]
    """Files that are there and may not be read."""

    def of(self, name: str, marker: Marker = "") -> list[Record]:
        """The records of a host, by the name under which its key is kept."""
        return [
            record
            for record in self.records
            if record.marker == marker and matches(record.names, name)
        ]


def read(paths: Iterable[Path]) -> KnownHosts:
    """Read files; one that does not exist holds nothing."""
    records: list[Record] = []
    unusable: list[tuple[Path, int, str]] = []
    unreadable: list[Path] = []
    for path in dict.fromkeys(paths):
        try:
            text = read_limited(path).decode("latin-1") if path.is_file() else ""
        except OSError:
            unreadable.append(path)
            continue
        for number, line in enumerate(text.split("\n"), start=1):
            fields = line.split()
            if not fields or fields[0].startswith("#"):
                continue
            record = _record(path, number, fields)
            if record:
                records.append(record)
            else:
                marked = fields[0].startswith("@") and len(fields) > 1
                unusable.append((path, number, fields[1 if marked else 0]))
    return KnownHosts(tuple(records), tuple(unusable), tuple(unreadable))


def matches(names: str, host: str) -> bool:
    """Whether the names of a record are those of a host.

    Args:
        names: ``|1|salt|hash``, or patterns with ``*`` and ``?``; one with ``!`` excludes a host.
        host: an alias, an address, or ``[address]:port``.
    """
    host = host.lower()
    if names.startswith("|"):
        return _hash_matches(names, host)
    found = False
    for pattern in names.lower().split(","):
        if fits(pattern.removeprefix("!"), host):
            if pattern.startswith("!"):
                return False
            found = True
    return found


def fits(pattern: str, text: str) -> bool:
    """Whether a pattern with ``*`` and ``?`` fits; brackets are no classes, unlike in a shell."""
    parts = (".*" if c == "*" else "." if c == "?" else re.escape(c) for c in pattern)
    return re.fullmatch("".join(parts), text, re.S) is not None


def _record(path: Path, number: int, fields: Sequence[str]) -> Record | None:
    marker: Marker = ""
    if fields[0].startswith("@"):
        known = [each for each in _MARKERS if each == fields[0]]
        if not known:
            return None
        marker, fields = known[0], fields[1:]
    if len(fields) < 3:
        return None
    names, kind, text = fields[:3]
    try:
        blob = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    length = int.from_bytes(blob[:4], "big")
    if not kind or blob[4 : 4 + length] != kind.encode("latin-1") or len(blob) <= 4 + length:
        return None
    return Record(path, number, marker, names, kind, blob)


def _hash_matches(names: str, host: str) -> bool:
    parts = names.split("|")
    if len(parts) != 4 or parts[1] != "1":
        return False
    try:
        salt, expected = (base64.b64decode(part, validate=True) for part in parts[2:])
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(hmac.new(salt, host.encode(), hashlib.sha1).digest(), expected)
