"""What a login asks its user for: the passphrase of a key, a password, a server's own questions.

Each is asked as often as ``NumberOfPasswordPrompts`` of the SSH configuration says, and not at all
with ``BatchMode``. Nothing of it is kept: a second login asks again.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence

import paramiko

from toolchain import questions
from toolchain.board.identities import Identity, WrongPassphrase, private_key
from toolchain.board.target import SshTarget
from toolchain.board.transport import Transport
from toolchain.foreign_text import harmless

_TYPING_S = 600.0
"""Seconds that somebody may take to answer a server; it ends the link sooner by itself."""
_INTERACTIVE, _PASSWORD = "keyboard-interactive", "password"
METHODS = (_INTERACTIVE, _PASSWORD)
"""What a user may be asked for, in OpenSSH's order, as the protocol names it."""


def passphrase(identity: Identity, tries: int) -> str | None:
    """The passphrase of a locked key; ``None`` if nobody tells it.

    Args:
        identity: the key.
        tries: how often somebody is asked.

    Raises:
        ValueError: it is unlocked, and of a kind that is not supported.
        OSError: it cannot be read.
    """
    said = ""
    for _ in range(tries):
        typed = questions.ask(f"{said}Passphrase of the key {harmless(str(identity.path))}: ")
        if not typed:
            return None
        try:
            private_key(identity.path, typed)
        except WrongPassphrase:
            said = "That does not unlock it. "
        else:
            return typed
    return None


class Answers:
    """Logs in with what the user types.

    Args:
        target: who logs in, and what may be asked for.
        transport: a link whose host key has been checked.
    """

    def __init__(self, target: SshTarget, transport: Transport) -> None:
        self._target, self._transport = target, transport
        self.given: list[str] = []
        """The methods for which somebody answered, and was refused."""

    def log_in(self, allowed: Sequence[str]) -> bool:
        """Try what the server takes; whether the user is in.

        Args:
            allowed: names of methods.

        Raises:
            paramiko.SSHException: the link failed, or an answer did not come in time.
            EOFError: the server ended it.
        """
        left = list(allowed)
        for _ in range(len(METHODS)):
            method = next((one for one in METHODS if one in left and self._may(one)), None)
            if method is None:
                return False
            more = self._try(method)
            if more == []:
                return True
            # One that was accepted leads to others; one that was refused leaves those.
            left = more or [one for one in left if one != method]
        return False

    def _may(self, method: str) -> bool:
        there = questions.can_ask() and self._transport.is_active()
        return there and method in self._target.answers

    def _try(self, method: str) -> list[str] | None:
        """What is wanted after it, which may be nothing; ``None`` if it was refused."""
        for _ in range(self._target.tries):
            try:
                more = self._ask_server() if method == _INTERACTIVE else self._ask_password()
            except paramiko.BadAuthenticationType:
                return None
            except paramiko.AuthenticationException:
                if not self._transport.is_active():
                    return None
                continue
            return more
        return None

    def _whose(self) -> str:
        return harmless(f"{self._target.user}@{self._target.alias or self._target.hostname}")

    def _ask_password(self) -> list[str] | None:
        said = "That is not it. " if _PASSWORD in self.given else ""
        typed = questions.ask(f"{said}Password of {self._whose()}: ")
        if typed is None:
            return None
        self._note(_PASSWORD)
        return self._transport.auth_password(self._target.user, typed, fallback=False)

    def _ask_server(self) -> list[str] | None:
        """Pass the server's questions on; ``None`` where nobody answers one.

        paramiko asks in the link's own thread, and a terminal is asked in the main one.
        """
        asked: queue.Queue[Sequence[tuple[str, bool]] | None] = queue.Queue()
        answered: queue.Queue[list[str]] = queue.Queue()
        found: list[list[str]] = []
        errors: list[Exception] = []

        def handler(title: str, text: str, fields: Sequence[tuple[str, bool]]) -> list[str]:
            lines = "".join(f"{line.strip()}\n" for line in (title, text) if line.strip())
            if fields:
                (first, echo), *others = fields
                asked.put([(lines + first, echo), *others])
                return answered.get()
            return []

        def work() -> None:
            try:
                found.append(self._transport.auth_interactive(self._target.user, handler))
            except Exception as error:  # raised where it is waited for
                errors.append(error)
            finally:
                asked.put(None)

        before, self._transport.auth_timeout = self._transport.auth_timeout, _TYPING_S
        threading.Thread(target=work, daemon=True).start()
        declined = False
        try:
            while (fields := asked.get()) is not None:
                typed = [] if declined else self._answers(fields)
                declined = typed is None
                answered.put(typed or [""] * len(fields))
        finally:
            self._transport.auth_timeout = before
            answered.put([])  # where this thread ends, the link's does not wait
        if declined:
            return None
        if errors:
            raise errors[0]
        return found[0]

    def _answers(self, fields: Sequence[tuple[str, bool]]) -> list[str] | None:
        typed: list[str] = []
        for text, echo in fields:
            one = questions.ask(f"({self._whose()}) {harmless(text)}", echo=echo)
            if one is None:
                return None
            typed.append(one)
        self._note(_INTERACTIVE)
        return typed

    def _note(self, method: str) -> None:
        if method not in self.given:
            self.given.append(method)
