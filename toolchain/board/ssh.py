"""A board over SSH, through paramiko, with strict host keys.

A host key that is not on record is never accepted: the error shows its fingerprint and the line
that records it knowingly.
"""

from __future__ import annotations

import logging
import shlex
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import paramiko
from paramiko.hostkeys import InvalidHostKey

from toolchain.board import keys
from toolchain.board.connection import CHUNK, Advance, Connection
from toolchain.board.target import SshTarget
from toolchain.errors import BoardError, ConnectionFailed, DeployError, HostKeyError

CONNECT_TIMEOUT_S = 15.0
_KEEPALIVE_S = 15

# Runs "$@" and stops it when standard input ends, which is when this side closes the channel: a
# server leaves a program running whose client is gone. The outer `exit` keeps a shell in between,
# so that death by a signal comes back as 128 + n.
_GUARD = """\
exec 3<&0
"$@" </dev/null 3<&- &
program=$!
(cat <&3 >/dev/null; kill "$program" 2>/dev/null) >/dev/null 2>&1 &
guard=$!
wait "$program"
code=$?
kill "$guard" 2>/dev/null
exit "$code"
"""

# paramiko logs a traceback for every refused connection; what matters of it is in our errors.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


class SshConnection(Connection):
    """One SSH connection, open from construction to :meth:`close`.

    Args:
        name: what messages call the board.
        target: where it is and who logs in.
        timeout: seconds to wait for the network, the server's greeting and the login, each.

    Raises:
        HostKeyError: the host key is unknown or not the one on record.
        ConnectionFailed: the board cannot be reached or refuses the user.
    """

    def __init__(self, name: str, target: SshTarget, *, timeout: float = CONNECT_TIMEOUT_S) -> None:
        self.name = f"{name} ({target})"
        self._jump: SshConnection | None = None
        self._client = paramiko.SSHClient()
        try:
            self._open(name, target, timeout)
        except BaseException:
            self.close()
            raise

    def execute(
        self,
        argv: Sequence[str],
        *,
        stdin: BinaryIO | None = None,
        stdout: BinaryIO | None = None,
        advance: Advance | None = None,
        timeout: float | None = None,
    ) -> tuple[int, str]:
        """See :meth:`Connection.execute`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        if stdin is None:
            command = shlex.join(["sh", "-c", _GUARD, "sh", *argv])
        else:
            command = shlex.join(["sh", "-c", '"$@"; exit $?', "sh", *argv])
        try:
            channel = self._transport().open_session(timeout=CONNECT_TIMEOUT_S)
            try:
                channel.exec_command(command)
                return self._exchange(channel, argv[0], stdin, stdout, advance, deadline)
            finally:
                channel.close()
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise self._lost() from error

    def close(self) -> None:
        """See :meth:`Connection.close`."""
        self._client.close()
        if self._jump:
            self._jump.close()

    def _exchange(
        self,
        channel: paramiko.Channel,
        program: str,
        stdin: BinaryIO | None,
        stdout: BinaryIO | None,
        advance: Advance | None,
        deadline: float | None,
    ) -> tuple[int, str]:
        errors = bytearray()
        failures: list[OSError] = []

        def read_output() -> None:
            while piece := channel.recv(CHUNK):
                if stdout is not None and not failures:
                    try:
                        stdout.write(piece)
                    except OSError as error:  # the disk here is full; read on to the end
                        failures.append(error)
                if advance and stdin is None:
                    advance(len(piece))

        def read_errors() -> None:
            while piece := channel.recv_stderr(CHUNK):
                errors.extend(piece)

        readers = [threading.Thread(target=f, daemon=True) for f in (read_output, read_errors)]
        for reader in readers:
            reader.start()
        if stdin is not None:
            # A program that ends early closes the channel: its exit code and error say why.
            with suppress(OSError):
                while piece := stdin.read(CHUNK):
                    channel.sendall(piece)
                    if advance:
                        advance(len(piece))
                channel.shutdown_write()
        while any(reader.is_alive() for reader in readers):
            if deadline is not None and time.monotonic() > deadline:
                raise BoardError(f"{self.name}: {program} did not end in time")
            readers[0].join(0.1)
            readers[1].join(0.1)
        while not channel.status_event.wait(0.1):
            if channel.closed or not self._transport().is_active():
                break
        code = channel.recv_exit_status() if channel.status_event.is_set() else -1
        if code < 0:
            raise self._lost()
        if failures:
            raise DeployError(f"what {program} wrote cannot be kept here: {failures[0].strerror}")
        return code, errors.decode("utf-8", errors="replace")

    def _transport(self) -> paramiko.Transport:
        transport = self._client.get_transport()
        if transport is None or not transport.is_active():
            raise self._lost()
        return transport

    def _lost(self) -> ConnectionFailed:
        return ConnectionFailed(
            f"{self.name}: the connection was lost",
            hint="check that the board still runs and its network holds, then try again",
        )

    # --- connecting --------------------------------------------------------------------------

    def _open(self, name: str, target: SshTarget, timeout: float) -> None:
        for path in target.known_hosts:
            if path.is_file():
                try:
                    self._client.load_system_host_keys(str(path))
                except (OSError, ValueError, InvalidHostKey) as error:
                    raise HostKeyError(
                        f"{path}: cannot be read: {error}",
                        hint="correct or remove that line of the file",
                    ) from error
        self._client.set_missing_host_key_policy(_Refuse(self.name, target))
        for identity in target.identities:
            if not identity.is_file():
                raise ConnectionFailed(
                    f"{self.name}: there is no key file {identity}",
                    hint="name an existing private key with --identity",
                )
        try:
            self._client.connect(
                target.hostname,
                port=target.port,
                username=target.user,
                key_filename=[str(path) for path in target.identities],  # type: ignore[arg-type]
                allow_agent=not target.only_identities,
                look_for_keys=not target.only_identities,
                timeout=timeout,
                banner_timeout=timeout,
                auth_timeout=timeout,
                channel_timeout=timeout,
                sock=self._proxy(name, target, timeout),
            )
        except paramiko.BadHostKeyException as error:
            self._changed(target, error)
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise self._unreachable(target, error) from error
        self._transport().set_keepalive(_KEEPALIVE_S)

    def _proxy(self, name: str, target: SshTarget, timeout: float) -> Any:
        if target.proxy_command:
            return paramiko.ProxyCommand(target.proxy_command)
        if target.jump is None:
            return None
        self._jump = SshConnection(name, target.jump, timeout=timeout)
        return self._jump._transport().open_channel(
            "direct-tcpip", (target.hostname, target.port), ("127.0.0.1", 0), timeout=timeout
        )

    def _changed(self, target: SshTarget, error: paramiko.BadHostKeyException) -> NoReturn:
        raise HostKeyError(
            f"{self.name}: the host key is not the one on record: it is now "
            f"{error.key.get_name()} {keys.fingerprint(error.key.asbytes())}, on record is "
            f"{error.expected_key.get_name()} {keys.fingerprint(error.expected_key.asbytes())}",
            hint="someone may be listening in; only if you know why it changed (a new system on "
            f"the board), run: ssh-keygen -R {shlex.quote(target.known_name)}",
        ) from error

    def _unreachable(self, target: SshTarget, error: Exception) -> ConnectionFailed:
        where = f"{target.hostname} port {target.port}"
        if isinstance(error, socket.gaierror):
            return ConnectionFailed(
                f"{self.name}: the name '{target.hostname}' is not known",
                hint="check its spelling, or give the board's address as numbers",
            )
        if isinstance(error, paramiko.PasswordRequiredException):
            return ConnectionFailed(
                f"{self.name}: the private key is protected by a passphrase",
                hint="load it into the agent first: ssh-add "
                + (str(target.identities[0]) if target.identities else ""),
            )
        if self._has_session() and "timeout" in str(error).lower():
            return ConnectionFailed(
                f"{self.name}: {where} does not answer the login in time",
                hint="the board may be busy, or out of memory: try again when it is idle",
            )
        if isinstance(error, paramiko.AuthenticationException) or self._has_session():
            tried = ", ".join(map(str, target.identities)) or "the agent's and those in ~/.ssh"
            return ConnectionFailed(
                f"{self.name}: the board refuses user '{target.user}' (keys tried: {tried}): "
                f"{error}",
                hint=f"record your key there once with: ssh-copy-id -p {target.port} "
                f"{shlex.quote(f'{target.user}@{target.hostname}')}; or name another with "
                "--identity",
            )
        if isinstance(error, paramiko.ssh_exception.NoValidConnectionsError):
            refused = any(isinstance(e, ConnectionRefusedError) for e in error.errors.values())
            reason = "refuses the connection" if refused else "cannot be reached"
        elif isinstance(error, TimeoutError):
            reason = "does not answer"
        elif isinstance(error, OSError):
            reason = f"cannot be reached ({error.strerror or error})"
        else:
            reason = f"accepts a connection, but does not answer as an SSH server ({error})"
        return ConnectionFailed(
            f"{self.name}: {where} {reason}",
            hint="check that the board is on, in this network and runs an SSH server "
            "(Raspberry Pi OS: sudo raspi-config, Interface Options, SSH)",
        )

    def _has_session(self) -> bool:
        """Whether keys were exchanged: then only the login can have failed."""
        transport = self._client.get_transport()
        if transport is None:
            return False
        try:
            transport.get_remote_server_key()
        except paramiko.SSHException:
            return False
        return True


class _Refuse(paramiko.MissingHostKeyPolicy):
    """Refuses every host key that is not on record, and says how to record it."""

    def __init__(self, name: str, target: SshTarget) -> None:
        self._name, self._target = name, target

    def missing_host_key(
        self,
        client: paramiko.SSHClient,  # noqa: ARG002
        hostname: str,  # noqa: ARG002
        key: paramiko.PKey,
    ) -> None:
        target, kind = self._target, key.get_name()
        short = kind.removeprefix("ssh-").split("-")[0]
        record = target.known_hosts[0] if target.known_hosts else Path("~/.ssh/known_hosts")
        raise HostKeyError(
            f"{self._name}: the host key is not on record: {kind} "
            f"{keys.fingerprint(key.asbytes())}",
            hint="compare this with what the board itself says "
            f"(ssh-keygen -lf /etc/ssh/ssh_host_{short}_key.pub there); if they are equal: "
            f"ssh-keyscan -t {short} -p {target.port} {shlex.quote(target.hostname)} >> {record}",
        )
