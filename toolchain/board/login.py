"""Logging in with the keys that OpenSSH would try, in its order: agent first, then files."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import paramiko

from toolchain.board.agent import Agent, HeldKey
from toolchain.board.identities import Identity, private_key, read_identity
from toolchain.board.passwords import METHODS, Answers, passphrase
from toolchain.board.target import SshTarget
from toolchain.board.transport import Transport
from toolchain.errors import ConnectionFailed
from toolchain.foreign_text import last_line


def log_in(name: str, target: SshTarget, transport: Transport, timeout: float) -> None:
    """Log in, with a key or with nothing at all if the server asks for nothing.

    Args:
        name: what messages call the board.
        target: who logs in there, and with what.
        transport: a link whose host key has been checked.
        timeout: seconds to wait for the agent's answers.

    Raises:
        ConnectionFailed: the one key to try has a fault, or the server accepts no key.
    """
    identities, faults = _read_identities(name, target)
    allowed = _methods(transport, target.user)
    if transport.is_authenticated():
        return
    greeting = transport.get_banner()
    agent = Agent(target.agent, timeout)
    try:
        _Login(name, target, transport, agent, identities, faults, allowed, greeting).run()
    finally:
        agent.close()


def _read_identities(name: str, target: SshTarget) -> tuple[list[Identity], list[str]]:
    """The keys that can be read, and what is wrong with others, which keep none from being tried.

    Raises:
        ConnectionFailed: no key may be tried but one that has a fault.
    """
    identities: list[Identity] = []
    errors: list[ConnectionFailed] = []
    for path in target.identities:
        try:
            identities.append(read_identity(name, path, target.certificates))
        except ConnectionFailed as error:
            errors.append(error)
    if errors and not identities and target.only_identities:
        raise errors[0]
    return identities, [error.what.removeprefix(f"{name}: ") for error in errors]


@dataclass(frozen=True)
class _Candidate:
    """One key to offer."""

    label: str
    """What messages call it."""
    key: paramiko.PKey


@dataclass
class _Login:
    name: str
    target: SshTarget
    transport: Transport
    agent: Agent
    identities: list[Identity]
    faults: list[str]
    """What is wrong with keys that cannot be offered."""
    allowed: list[str]
    greeting: bytes | None
    """What the server shows before a login."""

    tried: list[str] = field(default_factory=list)
    """What messages call that which the server has refused."""
    locked: list[Identity] = field(default_factory=list)
    """Keys that nobody has unlocked."""
    more: list[str] = field(default_factory=list)
    """What the server wants besides that which it has accepted."""

    def run(self) -> None:
        with_keys = "publickey" in self.allowed and self.target.offers_keys
        if with_keys and self._has_a_key():
            return
        answers = Answers(self.target, self.transport)
        if answers.log_in(self.more or self.allowed):
            return
        raise self._refused(answers.given)

    def _has_a_key(self) -> bool:
        """Offer the keys; whether one was all that the server wants."""
        held: list[HeldKey] = []
        try:
            for candidate in chain(self._candidates(), self._unlocked()):
                self.tried.append(candidate.label)
                if isinstance(candidate.key, HeldKey):
                    held.append(candidate.key)
                try:
                    self.more = self.transport.auth_publickey(self.target.user, candidate.key)
                except paramiko.BadAuthenticationType as error:
                    self.allowed = list(error.allowed_types)
                    return False
                except paramiko.AuthenticationException:
                    if not self.transport.is_active() or self.transport.words:
                        return False
                    if not _was_answered(self.transport):
                        raise
                    continue
                return not self.more
        finally:
            self.faults += [
                f"the agent did not sign with {key.comment or key.get_name()}: {fault}"
                for key in held
                for fault in key.faults
            ]
        return False

    def _candidates(self) -> Iterator[_Candidate]:
        """Keys of the agent that a file names, then its others, then those of files alone."""
        held = self.agent.keys()
        files = {
            blob: identity
            for identity in self.identities
            for blob in (identity.public, *(signed.key_blob for signed in identity.certificates))
            if blob
        }
        named = sorted(
            (key for key in held if key.blob in files),
            key=lambda key: self.identities.index(files[key.blob]),
        )
        for key in named:
            identity = files[key.blob]
            for signed in identity.certificates if key.blob == identity.public else ():
                yield _Candidate(str(identity.path), HeldKey(self.agent, key, signed))
            yield _Candidate(str(identity.path), key)
        if not self.target.only_identities:
            for key in held:
                if key not in named:
                    yield _Candidate(f"{key.comment or key.get_name()} of the agent", key)
        signing = {files[key.blob].path for key in named}
        for identity in self.identities:
            if identity.path in signing:
                continue
            if identity.locked:
                self.locked.append(identity)
            elif identity.path.is_file():
                yield from self._from_file(identity)
            else:
                self.faults.append(
                    f"{identity.path} does not exist, and the agent does not hold it"
                )

    def _unlocked(self) -> Iterator[_Candidate]:
        """Those that are locked, after all others: nobody types what is not needed."""
        for identity in list(self.locked):
            yield from self._from_file(identity, ask=True)

    def _from_file(self, identity: Identity, *, ask: bool = False) -> Iterator[_Candidate]:
        try:
            typed = passphrase(identity, self.target.tries) if ask else None
            if ask and typed is None:
                return
            if ask:
                self.locked.remove(identity)
            for signed in identity.certificates:
                certified = private_key(identity.path, typed)
                certified.public_blob = signed
                yield _Candidate(str(identity.path), certified)
            yield _Candidate(str(identity.path), private_key(identity.path, typed))
        except (ValueError, OSError, paramiko.SSHException) as error:
            self.faults.append(f"{identity.path} cannot be read as a key: {error}")

    def _keys_are_not_taken(self) -> ConnectionFailed:
        return ConnectionFailed(
            f"{self.name}: the board takes no keys from user '{self.target.user}', only: "
            f"{', '.join(self.allowed) or 'nothing'}",
            hint="put PubkeyAuthentication yes into /etc/ssh/sshd_config on the board (Dropbear: "
            "start it without -t or -T), then restart its SSH server",
        )

    def _refused(self, typed: list[str]) -> ConnectionFailed:
        target, words, more = self.target, self.transport.words, self.more
        tried = list(dict.fromkeys(self.tried))
        faults = self.faults + [f"IdentityFile {path} does not exist" for path in target.absent]
        if self.locked and not (words or more or typed) and target.offers_keys:
            path = self.locked[0].path
            also = f" (it refuses {', '.join(tried)})" if tried else ""
            return ConnectionFailed(
                f"{self.name}: the private key {path} is protected by a passphrase, and "
                f"{self._agent_lacks()}{also}",
                hint=self._unlocking(path) + self._naming(path),
            )
        if "publickey" not in self.allowed and not typed:
            return self._keys_are_not_taken()
        listed = ", ".join(tried) or "none, for there is none"
        listed += f"; typed: {', '.join(typed)}" if typed else ""
        what = (
            f"{self.name}: the board refuses user '{target.user}' (keys tried: {listed})"
            f"{self._said(words)}" + "".join(f"; {fault}" for fault in faults)
        )
        if more and not typed:
            return ConnectionFailed(
                f"{self.name}: the board wants more than a key from user '{target.user}': "
                f"{', '.join(more)}",
                hint="let it accept a key alone (AuthenticationMethods in its sshd_config)",
            )
        if any("too many" in word.lower() for word in words):
            return ConnectionFailed(
                what,
                hint="name the one key that the board knows with --identity, or as IdentityFile "
                "with IdentitiesOnly yes in your SSH configuration",
            )
        return ConnectionFailed(what, hint=self._recording())

    def _said(self, words: list[str]) -> str:
        if words:
            return f": {'; '.join(dict.fromkeys(words))}"
        text = (self.transport.get_banner() or self.greeting or b"").decode(
            "utf-8", errors="replace"
        )
        last = last_line(text)
        return f"; it says: {last}" if last else ""

    def _agent_lacks(self) -> str:
        if self.agent.off:
            return "IdentityAgent none turns the agent off"
        if self.agent.answers:
            return "the agent does not hold it"
        return "no agent runs" if not self.agent.path else f"no agent answers at {self.agent.path}"

    def _unlocking(self, path: Path) -> str:
        add = f"ssh-add {shlex.quote(str(path))}"
        if self.agent.off:
            return (
                "remove IdentityAgent none from your SSH configuration and load the key into an "
                f"agent: {add}"
            )
        if self.agent.answers:
            where = "" if self.agent.is_usual else f"SSH_AUTH_SOCK={shlex.quote(self.agent.path)} "
            return f"load it into the agent first: {where}{add}"
        if self.agent.is_usual:
            return f'start an agent and load it: eval "$(ssh-agent)" && {add}'
        where = shlex.quote(self.agent.path or "SOCKET")
        return f"start the agent that IdentityAgent names, then: SSH_AUTH_SOCK={where} {add}"

    def _naming(self, path: Path) -> str:
        """What tells the agent's keys which of them a file is; older formats lock that up, too."""
        known = any(identity.public for identity in self.identities if identity.path == path)
        if known or not self.target.only_identities:
            return ""
        private, public = shlex.quote(str(path)), shlex.quote(f"{path}.pub")
        return f" && ssh-keygen -y -f {private} > {public}"

    def _recording(self) -> str:
        target = self.target
        own = f"-i {shlex.quote(str(self.identities[0].path))} " if target.only_identities and (
            self.identities
        ) else ""  # fmt: skip
        login = shlex.quote(f"{target.user}@{target.alias or target.hostname}")
        hint = (
            f"record your key there once with: ssh-copy-id {own}-p {target.port} {login}; or name "
            "another with --identity"
        )
        if not set(METHODS) & set(self.allowed):
            hint += " (the board takes no password: add it from where you can log in)"
        return hint


def _methods(transport: Transport, user: str) -> list[str]:
    """What the server takes from a user, which it tells when it is asked for nothing."""
    try:
        transport.auth_none(user)
    except paramiko.BadAuthenticationType as error:
        return list(error.allowed_types)
    return []


def _was_answered(transport: Transport) -> bool:
    """Whether the last key was refused, rather than not answered in time."""
    handler = transport.auth_handler
    return handler is not None and handler.auth_event is not None and handler.auth_event.is_set()
