"""Whether a server's host key is the one on record, as OpenSSH decides it; strictly.

A key that is not on record is never accepted: the error shows its fingerprint and the line that
records it knowingly.
"""

from __future__ import annotations

import base64
import os
import shlex
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import paramiko
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import ssh

from toolchain.board import keys, known_hosts
from toolchain.board.known_hosts import Record
from toolchain.board.target import SshTarget
from toolchain.errors import HostKeyError, first_line
from toolchain.formats.input_file import read_limited
from toolchain.hints import command
from toolchain.storage.scratch import temporary_folder

_ASK_TIMEOUT_S = 30
_CERTIFICATE = "-cert-v01@openssh.com"
# What paramiko can negotiate, in its order of preference, by the kind of key.
_ALGORITHMS = {
    "ssh-ed25519": ("ssh-ed25519",),
    "ecdsa-sha2-nistp256": ("ecdsa-sha2-nistp256",),
    "ecdsa-sha2-nistp384": ("ecdsa-sha2-nistp384",),
    "ecdsa-sha2-nistp521": ("ecdsa-sha2-nistp521",),
    "ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256"),
}


@dataclass(frozen=True)
class ShownKey:
    """The host key that a server proved to have."""

    kind: str
    """``ssh-ed25519`` and so on, also of a certificate's key."""
    blob: bytes
    """The key in SSH's wire format."""
    certificate: bytes | None = None
    """The certificate in SSH's wire format, if the server showed one."""

    @classmethod
    def of(cls, key: paramiko.PKey) -> ShownKey:
        """What a key exchange ended with.

        Raises:
            paramiko.SSHException: it is a certificate, and a damaged one.
        """
        public = key.public_blob
        if public is None:
            return cls(key.get_name(), key.asbytes())
        # paramiko keeps the certificate; the key in it is what it has checked the exchange with.
        try:
            inner = ssh.load_ssh_public_identity(_line(public.key_type, public.key_blob))
        except Exception as error:  # the server may show anything
            raise paramiko.SSHException(
                f"the host's certificate is damaged ({first_line(error)})"
            ) from error
        if not isinstance(inner, ssh.SSHCertificate):
            raise paramiko.SSHException("the host's certificate is none")
        blob = _wire(inner.public_key())
        return cls(public.key_type.removesuffix(_CERTIFICATE), blob, public.key_blob)

    def __str__(self) -> str:
        return f"{self.kind} {keys.fingerprint(self.blob)}"

    @property
    def short(self) -> str:
        """Its kind in the names of files: ``ed25519``."""
        return self.kind.removeprefix("ssh-").split("-")[0]

    @property
    def comparison(self) -> str:
        """The line that shows its fingerprint on the board itself."""
        return f"ssh-keygen -lf /etc/ssh/ssh_host_{self.short}_key.pub"


class UnknownKeyError(HostKeyError):
    """Nothing is on record of this host."""


class ChangedKeyError(HostKeyError):
    """Other keys are on record of this host.

    Args:
        what: see :class:`DeployError`.
        hint: likewise.
        on_record: what is; of several boards' errors in one it is left out.
    """

    def __init__(
        self, what: str, *, hint: str | None = None, on_record: tuple[Record, ...] = ()
    ) -> None:
        super().__init__(what, hint=hint)
        self.on_record = on_record


class _CertificateError(HostKeyError):
    """A certificate of an authority on record that does not hold."""


class HostKeys:
    """What is on record of one host.

    Args:
        name: what messages call the board.
        target: the host.
    """

    def __init__(self, name: str, target: SshTarget) -> None:
        self._name, self._target = name, target
        self._known = known_hosts.read(target.known_hosts)
        self._own = self._usable(target.known_name)
        # A record without a port serves a host at another port, too, if the key is the same.
        bare = () if target.host_key_alias or target.port == 22 else (target.bare_name,)
        self._names = (target.known_name, *bare)
        self._bare = [record for name in bare for record in self._usable(name)]
        self._authorities = [
            record for name in self._names for record in self._known.of(name, "@cert-authority")
        ]

    def algorithms(self) -> tuple[str, ...]:
        """What to ask the server for: first that of which something is on record."""
        on_record = [record.kind for record in self._own or self._bare]
        kinds = dict.fromkeys([kind for kind in _ALGORITHMS if kind in on_record])
        plain = [name for kind in (*kinds, *_ALGORITHMS) for name in _ALGORITHMS[kind]]
        signed = [f"{name}{_CERTIFICATE}" for name in plain] if self._authorities else []
        return tuple(dict.fromkeys([*signed, *plain]))

    def check(self, shown: ShownKey) -> None:
        """Go on only if the key is on record for this host.

        Raises:
            HostKeyError: it is unknown, changed or revoked, or its certificate does not hold.
        """
        self._refuse_listed(shown)
        fault = None
        if shown.certificate is not None:
            try:
                if self._is_vouched_for(shown, shown.certificate):
                    return
            except _CertificateError as error:
                fault = error
        # A certificate that does not hold leaves its key, which may be on record itself.
        for name, records in zip(self._names, (self._own, self._bare), strict=False):
            self._refuse_revoked(shown, name)
            if any(record.blob == shown.blob for record in records):
                return
            if records:  # another key: what is on record without the port does not count
                break
        if fault:
            raise fault
        if self._own:
            self._changed(shown)
        self._unknown(shown)

    def _usable(self, name: str) -> list[Record]:
        return [record for record in self._known.of(name) if record.kind in _ALGORITHMS]

    # --- revoked keys --------------------------------------------------------------------------

    def _refuse_listed(self, shown: ShownKey) -> None:
        listed = self._target.revoked
        if listed is None:
            return
        for blob in self._parts(shown):
            if _is_listed(listed, blob):
                self._revoked(shown, blob, str(listed))

    def _refuse_revoked(self, shown: ShownKey, name: str) -> None:
        parts = self._parts(shown)
        for record in self._known.of(name, "@revoked"):
            if record.blob in parts:
                self._revoked(shown, record.blob, f"{record.path} line {record.line}")

    def _parts(self, shown: ShownKey) -> list[bytes]:
        """What may be revoked: the key, who signed its certificate, and the certificate."""
        if shown.certificate is None:
            return [shown.blob]
        return [shown.blob, _authority(shown.certificate), shown.certificate]

    def _revoked(self, shown: ShownKey, blob: bytes, where: str) -> NoReturn:
        if blob == shown.blob:
            raise HostKeyError(
                f"{self._name}: the host key {shown} is revoked: {where}",
                hint="the board needs new host keys, made on the board itself: "
                "sudo rm /etc/ssh/ssh_host_* && sudo ssh-keygen -A",
            )
        what = f"the certificate of its host key {shown}"
        if blob != shown.certificate:
            what = f"who signed {what} ({keys.fingerprint(blob)})"
        raise HostKeyError(f"{self._name}: {what} is revoked: {where}", hint=self._signing("anew"))

    def _signing(self, how: str) -> str:
        host = self._target.host_key_alias or self._target.hostname
        return (
            f"have the board's host key signed {how}: ssh-keygen -s CA -h -I board "
            f"-n {shlex.quote(host)} /etc/ssh/ssh_host_ed25519_key.pub"
        )

    # --- certificates --------------------------------------------------------------------------

    def _is_vouched_for(self, shown: ShownKey, certificate: bytes) -> bool:
        """Whether an authority on record signed it; false if none of them did."""
        authority = _authority(certificate)
        for name in self._names:
            self._refuse_revoked(shown, name)
            authorities = self._known.of(name, "@cert-authority")
            signers = [record for record in authorities if record.blob == authority]
            if signers:
                self._check_certificate(certificate, signers[0])
                return True
            if authorities:
                break
        return False

    def _check_certificate(self, certificate: bytes, signer: Record) -> None:
        host = self._target.host_key_alias or self._target.hostname
        fault = _certificate_fault(certificate, host.lower())
        if fault:
            raise _CertificateError(
                f"{self._name}: the certificate of its host key {fault}; {signer.path} line "
                f"{signer.line} trusts who signed it ({keys.fingerprint(signer.blob)})",
                hint=self._signing("anew for this name"),
            )

    # --- keys that are not on record -------------------------------------------------------------

    def _changed(self, shown: ShownKey) -> NoReturn:
        same = [record for record in self._own if record.kind == shown.kind] or self._own
        on_record = " and ".join(
            f"{record.kind} {keys.fingerprint(record.blob)}" for record in same[:2]
        )
        own = all(one.is_plain and one.path == self._target.record for one in self._own)
        line = (self._trusting(shown, "--replace") if own else None) or self._removal()
        raise ChangedKeyError(
            f"{self._name}: the host key is not the one on record: it is now {shown}, on record "
            f"is {on_record}",
            hint="someone may be listening in; only if you know why it changed (a new system on "
            f"the board), run: {line}",
            on_record=tuple(self._own),
        )

    def _trusting(self, shown: ShownKey, *more: str) -> str | None:
        """The command of ours that records a key; ``None`` where no word leads to this host."""
        named = self._target.named
        if named is None or named.startswith("-"):
            return None
        fingerprint = keys.fingerprint(shown.blob)
        return command("boards", "trust", named, *more, "--fingerprint", fingerprint)

    def _removal(self) -> str:
        """The command that removes every record of this host."""
        default = Path("~/.ssh/known_hosts").expanduser()
        faulty = {path for path, _, _ in self._known.unusable}
        commands = []
        for path in dict.fromkeys(record.path for record in self._own):
            records = [record for record in self._own if record.path == path]
            if path not in faulty and all(record.is_plain for record in records):
                line = f"ssh-keygen -R {shlex.quote(self._target.known_name)}"
                line += "" if path == default else f" -f {shlex.quote(str(path))}"
            else:  # ssh-keygen passes over patterns, and over files with a line that it cannot read
                lines = ";".join(f"{record.line}d" for record in records)
                line = f"sed -i '{lines}' {shlex.quote(str(path))}"
            commands.append(line if os.access(path, os.W_OK) else f"sudo {line}")
        return " && ".join(commands)

    def _unknown(self, shown: ShownKey) -> NoReturn:
        line = self._trusting(shown)
        line = f", run: {line}" if line else f": {self._recording(shown)}"
        raise UnknownKeyError(
            f"{self._name}: the host key is not on record: {shown}{self._remarks(shown)}",
            hint="compare this with what the board itself says "
            f"({shown.comparison} there); if they are equal{line}",
        )

    def _remarks(self, shown: ShownKey) -> str:
        remarks = [
            f"{path} line {line} is for this host, but is no usable record"
            for path, line, names in self._known.unusable
            if any(known_hosts.matches(names, name) for name in self._names)
        ]
        remarks += [f"{path} may not be read" for path in self._known.unreadable]
        if self._authorities and shown.certificate is None:
            remarks.append("an authority is on record for it, but the board shows no certificate")
        elif self._authorities:
            remarks.append("its certificate is of another authority than the one on record")
        return f" ({'; '.join(remarks)})" if remarks else ""

    def _recording(self, shown: ShownKey) -> str:
        """The command that records the key, in a file that is read."""
        target, record, short = self._target, self._target.record, shown.short
        folder = "" if record.parent.is_dir() else f"mkdir -p {shlex.quote(str(record.parent))} && "
        file = shlex.quote(str(record))
        usual = target.known_name in (target.bare_name, f"[{target.bare_name}]:{target.port}")
        if target.is_direct and usual and shutil.which("ssh-keyscan"):
            host = shlex.quote(target.hostname)
            return f"{folder}ssh-keyscan -t {short} -p {target.port} {host} >> {file}"
        # ssh-keyscan does not go through other hosts, and knows nothing of aliases.
        text = base64.b64encode(shown.blob).decode()
        line = shlex.quote(f"{target.known_name} {shown.kind} {text}")
        return f"{folder}echo {line} >> {file}"


def _is_listed(path: Path, blob: bytes) -> bool:
    """Whether ``RevokedHostKeys`` names a key or a certificate.

    It is a list of keys, or a KRL, which ssh-keygen reads: that revokes certificates by their
    numbers and names, too.
    """
    try:
        data = read_limited(path)
    except OSError as error:
        # Like OpenSSH: without its list of revoked keys no key is accepted.
        raise HostKeyError(f"RevokedHostKeys {path}: cannot be read: {error.strerror}") from error
    if not data.startswith(b"SSHKRL\n"):
        return any(blob in _named(word) for word in data.split())
    program = shutil.which("ssh-keygen")
    if program is None:
        raise HostKeyError(f"RevokedHostKeys {path}: is a KRL, which needs OpenSSH's ssh-keygen")
    with temporary_folder() as folder:
        public = folder / "key.pub"
        public.write_bytes(_line(_first_string(blob), blob) + b"\n")
        asked = [program, "-Q", "-f", str(path), str(public)]
        try:
            done = subprocess.run(asked, capture_output=True, check=False, timeout=_ASK_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return True  # like a list that cannot be read: no key is accepted
        return done.returncode != 0


def _named(word: bytes) -> list[bytes]:
    """What a word of a list of keys names; a certificate names its key, too, as in OpenSSH."""
    try:
        blob = base64.b64decode(word, validate=True)
        kind = _first_string(blob)
        if not kind.endswith(_CERTIFICATE):
            return [blob]
        inner = ssh.load_ssh_public_identity(_line(kind, blob))
        return [blob, _wire(inner.public_key())] if isinstance(inner, ssh.SSHCertificate) else []
    except Exception:  # other words, and keys that are not known here
        return []


def _certificate_fault(certificate: bytes, host: str) -> str | None:
    """Why a host certificate does not hold for a host; ``None`` if it does."""
    kind = _first_string(certificate)
    try:
        found = ssh.load_ssh_public_identity(_line(kind, certificate))
        if not isinstance(found, ssh.SSHCertificate):
            return "is none"
        found.verify_cert_signature()
    except (ValueError, InvalidSignature, UnsupportedAlgorithm) as error:
        return f"cannot be verified ({error or 'its signature is wrong'})"
    names = [name.decode("utf-8", errors="replace").lower() for name in found.valid_principals]
    if found.type is not ssh.SSHCertificateType.HOST:
        return "is one of a user"
    if _signature_algorithm(certificate) == "ssh-rsa":
        return "is signed with SHA-1"
    if not found.valid_after <= time.time() < found.valid_before:
        return "is not valid now"
    if names and not any(known_hosts.fits(name, host) for name in names):  # none: for every host
        return f"is for {', '.join(names)}, not for {host}"
    if found.critical_options:
        return f"has options that are not known: {sorted(found.critical_options)}"
    return None


def _authority(certificate: bytes) -> bytes:
    """The public key of who signed a certificate, in SSH's wire format."""
    return _tail(certificate)[0]


def _signature_algorithm(certificate: bytes) -> str:
    return _first_string(_tail(certificate)[1])


def _tail(certificate: bytes) -> tuple[bytes, bytes]:
    """The last two fields of a certificate: the authority's key and its signature."""
    message = paramiko.Message(certificate)
    kind = message.get_text()
    numbers = 1 if "ed25519" in kind else 2  # a point; a curve and a point; or e and n
    for _ in range(1 + numbers):  # after the nonce
        message.get_string()
    message.get_int64()  # serial number
    message.get_int()  # type
    for _ in range(2):  # key id, principals
        message.get_string()
    message.get_int64()  # valid after, valid before
    message.get_int64()
    for _ in range(3):  # critical options, extensions, reserved
        message.get_string()
    return message.get_string(), message.get_string()


def _first_string(blob: bytes) -> str:
    return paramiko.Message(blob).get_text()


def _wire(key: ssh.SSHCertPublicKeyTypes) -> bytes:
    text = key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return base64.b64decode(text.split()[1])


def _line(kind: str, blob: bytes) -> bytes:
    return kind.encode() + b" " + base64.b64encode(blob)
