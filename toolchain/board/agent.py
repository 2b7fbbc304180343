"""The user's SSH agent: the one that OpenSSH would ask."""

from __future__ import annotations

import os
import socket
from typing import Any

import paramiko
from paramiko.agent import AgentKey, AgentSSH
from paramiko.pkey import PublicBlob


class HeldKey(AgentKey):
    """A key whose private part the agent has; what it cannot sign, the server refuses."""

    def __init__(self, agent: Agent, held: AgentKey, certificate: PublicBlob | None = None) -> None:
        super().__init__(agent, held.blob, held.comment)
        self.faults: list[str] = []
        self.public_blob: Any = certificate

    def asbytes(self) -> bytes:
        """The public key, or the certificate, as the agent knows it."""
        return self.blob

    def sign_ssh_data(self, data: Any, algorithm: Any = None) -> Any:
        """See ``AgentKey``; an error would end the whole link, and no other key be tried."""
        try:
            return super().sign_ssh_data(data, algorithm)
        except (paramiko.SSHException, OSError, ValueError) as error:
            self.faults.append(str(error) or type(error).__name__)
            return b""


class Agent(AgentSSH):
    """The user's agent, if there is one.

    Args:
        named: as ``IdentityAgent``.
        timeout: seconds to wait for each of its answers.
    """

    def __init__(self, named: str, timeout: float) -> None:
        super().__init__()
        self.off = named.lower() == "none"
        variable = "SSH_AUTH_SOCK" if named == "SSH_AUTH_SOCK" else named.removeprefix("$")
        is_variable = named == "SSH_AUTH_SOCK" or named.startswith("$")
        self.path = "" if self.off else os.environ.get(variable, "") if is_variable else named
        self.is_usual = named == "SSH_AUTH_SOCK" or variable == "SSH_AUTH_SOCK"
        self.answers = False
        """Whether there is one."""
        if not self.path:
            return
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        link.settimeout(timeout)
        try:
            link.connect(self.path)
            self._connect(link)  # type: ignore[attr-defined]
            self.answers = True
        except (OSError, paramiko.SSHException, ValueError):
            link.close()
            self._conn = None

    def keys(self) -> list[HeldKey]:
        """Its keys, in its order."""
        return [HeldKey(self, key) for key in self.get_keys()]

    def close(self) -> None:
        """End the connection to it."""
        self._close()  # type: ignore[attr-defined]
