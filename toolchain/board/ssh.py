"""A board over SSH, through paramiko, with strict host keys."""

from __future__ import annotations

import logging
import shlex
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, BinaryIO

import paramiko

from toolchain.board import login, remote_shell
from toolchain.board.connection import (
    Advance,
    Connection,
    Sink,
)
from toolchain.board.exchange import Exchange, Limits
from toolchain.board.host_keys import HostKeys, ShownKey
from toolchain.board.proxy import ProxyProcess
from toolchain.board.remote_shell import LINGER_S
from toolchain.board.target import SshTarget, is_there
from toolchain.board.transport import SILENCE_S, Keepalive, Transport
from toolchain.errors import BoardError, ConnectionFailed, ConnectionStep, DeployError

CONNECT_TIMEOUT_S = 15.0
_FAMILIES = {"inet": socket.AF_INET, "inet6": socket.AF_INET6}
_ADMINISTRATIVELY_PROHIBITED = 1
_TICK_S = 1.0
"""Seconds after which whoever waits for a channel looks at the limits again."""
_STARTS = 4
"""So often a program is started whose channel the server closes at once."""

# paramiko logs a traceback for every refused connection; what matters of it is in our errors.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


class SshConnection(Connection):
    """One SSH connection, open from construction to :meth:`close`.

    Args:
        name: what messages call the board.
        target: where it is and who logs in.
        timeout: seconds to wait for the network, the server's greeting, the exchange of keys and
            each answer of the login; if not given, what the configuration says, or
            :data:`CONNECT_TIMEOUT_S`.
        silence: seconds without an answer to keepalives after which the board is given up; if not
            given, what the configuration says, and :data:`SILENCE_S` at most. A program that runs
            for long and says nothing is left alone: its server answers.
        linger: seconds after which the board ends a program if it hears nothing from here.
        judge: decides of the host key before anything else is said to the server; unless given,
            it has to be on record.

    Raises:
        HostKeyError: the host key is unknown or not the one on record.
        ConnectionFailed: the board cannot be reached or refuses the user.
    """

    def __init__(
        self,
        name: str,
        target: SshTarget,
        *,
        timeout: float | None = None,
        silence: float | None = None,
        linger: int = LINGER_S,
        judge: Callable[[HostKeys, ShownKey], None] = HostKeys.check,
    ) -> None:
        self.name = f"{name} ({target})"
        self._judge = judge
        self._target = target
        self._given = timeout, silence
        self._timeout = timeout or target.timeout or CONNECT_TIMEOUT_S
        self._silence = silence or min(target.silence or SILENCE_S, SILENCE_S)
        self.linger = linger
        self._jump: SshConnection | None = None
        self._proxy: ProxyProcess | None = None
        self._transport: Transport | None = None
        self._keepalive: Keepalive | None = None
        self._step: ConnectionStep = "key file"
        try:
            self._open(name)
        except BaseException as error:
            if isinstance(error, ConnectionFailed) and error.step is None:
                error.step = self._step
            self.close()
            raise

    def execute(
        self,
        argv: Sequence[str],
        *,
        stdin: BinaryIO | None = None,
        stdout: Sink | None = None,
        advance: Advance | None = None,
        timeout: float | None = None,
        stall: float | None = None,
    ) -> tuple[int, str]:
        """See :meth:`Connection.execute`."""
        mark = remote_shell.new_mark()
        command = remote_shell.command_line(argv, mark, fed=stdin is not None, linger=self.linger)
        limits = Limits(self, argv[0], timeout, stall)
        exchange = Exchange(self, argv[0], mark.encode(), stdin, stdout, advance, limits)
        try:
            channel = self._started(command)
            try:
                return exchange.run(channel)
            finally:
                channel.close()
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise self._broken(error) from error

    def _started(self, command: str) -> paramiko.Channel:
        """A channel in which a program begins.

        Dropbear closes a channel that has no program yet when one of another channel ends. Nothing
        was started then, so it is tried again.
        """
        tries = 0
        while True:
            channel, tries = None, tries + 1
            try:
                # Longer than what ends a link that is dead: then that is what is told.
                channel = self._live().open_session(timeout=1.5 * self._silence)
                channel.settimeout(_TICK_S)
                channel.exec_command(command)
            except paramiko.SSHException as error:
                if channel is not None:
                    channel.close()
                refused = isinstance(error, paramiko.ChannelException)
                last = tries == _STARTS or refused or not self.is_alive
                if last or "Timeout" in str(error):
                    raise
            else:
                return channel

    def close(self) -> None:
        """See :meth:`Connection.close`."""
        if self._keepalive:
            self._keepalive.stop()
        if self._transport:
            with suppress(paramiko.SSHException, EOFError, OSError):  # a jump that is gone
                self._transport.close()
        if self._proxy:
            self._proxy.close()
        if self._jump:
            self._jump.close()

    @property
    def is_alive(self) -> bool:
        """Whether the link has not ended yet."""
        return self._transport is not None and self._transport.is_active()

    def lost(self) -> ConnectionFailed:
        """The error for a link that has ended, with whatever is known of why."""
        why = ""
        if self._gave_up():
            why = f": no answer for {self._silence:g} s"
        elif self._transport and self._transport.words:
            why = f": {self._transport.words[-1]}"
        elif self._proxy and (failure := self._proxy.failure()):
            why = f": {failure}"
        return ConnectionFailed(
            f"{self.name}: the connection was lost{why}",
            hint="check that the board still runs and its network holds, then try again",
        )

    def _broken(self, error: Exception) -> DeployError:
        """The error for a program that could not be started, or whose channel broke."""
        for _ in range(10):  # a link that ends closes its channels a moment before itself
            if not self.is_alive:
                return self.lost()
            time.sleep(0.05)
        words = self._transport.words[-1:] if self._transport else []
        return BoardError(
            f"{self.name}: the SSH server there starts no program: {''.join(words) or error}",
            hint="try it with ssh: it has to run a command, as in: ssh "
            f"{shlex.quote(f'{self._target.user}@{self._target.alias or self._target.hostname}')}"
            " uname -m",
        )

    def _gave_up(self) -> bool:
        own = self._keepalive is not None and self._keepalive.gave_up
        return own or (self._jump is not None and self._jump._gave_up())

    def _live(self) -> Transport:
        if self._transport is None or not self._transport.is_active():
            raise self.lost()
        return self._transport

    # --- connecting --------------------------------------------------------------------------

    def _open(self, name: str) -> None:
        target = self._target
        for identity in target.identities:
            if not is_there(identity):
                raise ConnectionFailed(
                    f"{self.name}: there is no key file {identity}",
                    hint="name an existing private key with --identity",
                )
        host_keys = HostKeys(self.name, target)
        self._step = "port"
        try:
            link = self._link(name)
        except (paramiko.SSHException, EOFError, OSError) as error:
            if isinstance(error, socket.gaierror):
                self._step = "name"
            raise self._unreachable(error) from error
        self._step = "server"
        self._transport = transport = Transport(link, host_keys.algorithms(), self._timeout)
        try:
            transport.start_client(timeout=2 * self._timeout)
            if not transport.initial_kex_done:
                raise TimeoutError
            shown = ShownKey.of(transport.get_remote_server_key())
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise self._no_server(error) from error
        self._step = "host key"
        self._judge(host_keys, shown)
        transport.words.clear()  # greetings
        self._step = "login"
        try:
            login.log_in(self.name, target, transport, self._timeout)
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise self._no_login(error) from error
        self._keepalive = Keepalive(transport, self._silence)

    def _link(self, name: str) -> Any:
        """The socket, or what stands for it, to speak SSH over."""
        target = self._target
        if target.proxy_command:
            self._proxy = ProxyProcess(target.proxy_command)
            return self._proxy.socket
        if target.jump:
            timeout, silence = self._given
            self._jump = SshConnection(name, target.jump, timeout=timeout, silence=silence)
            return self._jump._forward(target.hostname, target.port)
        family = _FAMILIES.get(target.family, socket.AF_UNSPEC)
        address = target.hostname, target.port
        return _connected(address, family, self._timeout, target.bind_address)

    def _forward(self, host: str, port: int) -> paramiko.Channel:
        """A channel from this host to another; its server's words, if it cannot make one."""
        transport = self._live()
        try:
            return transport.open_channel(
                "direct-tcpip", (host, port), ("127.0.0.1", 0), timeout=self._timeout
            )
        except paramiko.ChannelException as error:
            said = transport.words[-1] if transport.words else str(error)
            hint = "check that the board is on and runs an SSH server, and the jump's way to it"
            if error.code == _ADMINISTRATIVELY_PROHIBITED:
                hint = "let the host to jump through forward: AllowTcpForwarding in its sshd_config"
            raise ConnectionFailed(
                f"{self.name}: cannot go on from there to {host} port {port}: {said}", hint=hint
            ) from error
        except paramiko.SSHException as error:
            if not transport.is_active():
                raise self.lost() from error
            raise ConnectionFailed(
                f"{self.name}: from there {host} port {port} does not answer",
                hint="check that the board is on, and in the network of the host to jump through",
            ) from error

    def _unreachable(self, error: Exception) -> ConnectionFailed:
        """The error for a network or a program that leads nowhere."""
        target = self._target
        if target.proxy_command:
            return ConnectionFailed(
                f"{self.name}: its ProxyCommand cannot be started: {error}",
                hint="check SHELL, which runs it",
            )
        if target.bind_address and not isinstance(error, ConnectionRefusedError | TimeoutError):
            said = error.strerror if isinstance(error, OSError) else error
            return ConnectionFailed(
                f"{self.name}: cannot be reached from {target.bind_address}, the BindAddress of "
                f"your SSH configuration ({said})",
                hint="it has to be an address of this machine, on the way to the board: ip address",
            )
        if isinstance(error, _NoNames):
            return ConnectionFailed(
                f"{self.name}: no server of names told where '{target.hostname}' is",
                hint="check the network, or give the board's address as numbers",
            )
        if isinstance(error, socket.gaierror):
            return ConnectionFailed(
                f"{self.name}: the name '{target.hostname}' is not known",
                hint="check its spelling, or give the board's address as numbers",
            )
        if isinstance(error, ConnectionRefusedError):
            reason = "refuses the connection"
        elif isinstance(error, TimeoutError):
            reason = "does not answer"
        else:
            said = error.strerror if isinstance(error, OSError) else None
            reason = f"cannot be reached ({said or error})"
        return self._no_answer(reason)

    def _no_server(self, error: Exception) -> ConnectionFailed:
        """The error for what does not speak SSH as it should."""
        words = self._transport.words if self._transport else []
        proxy = self._proxy.failure() if self._proxy else None
        if proxy:
            return ConnectionFailed(
                f"{self.name}: {proxy}",
                hint=self._proxy_alone(),
            )
        if self._jump is not None and not self._jump.is_alive:
            return self._jump.lost()
        if isinstance(error, paramiko.ssh_exception.IncompatiblePeer):
            return ConnectionFailed(
                f"{self.name}: the board's SSH server has no way to exchange keys in common with "
                f"this program: {error}",
                hint="update the SSH server on the board",
            )
        # paramiko puts what the system said right after its own words.
        why = str(error).replace("banner[", "banner: [") or "it goes quiet as keys are exchanged"
        if self._proxy:
            return ConnectionFailed(
                f"{self.name}: its ProxyCommand runs, but nothing answers as an SSH server ({why})",
                hint=self._proxy_alone(),
            )
        why = "; ".join(words[-2:]) if words else why
        return self._no_answer(
            f"accepts a connection, but does not answer as an SSH server ({why})"
        )

    def _no_answer(self, reason: str) -> ConnectionFailed:
        return ConnectionFailed(
            f"{self.name}: {self._target.hostname} port {self._target.port} {reason}",
            hint="check that the board is on, in this network and runs an SSH server "
            "(Raspberry Pi OS: sudo raspi-config, Interface Options, SSH)",
        )

    def _no_login(self, error: Exception) -> ConnectionFailed:
        """The error for a server that ends or goes quiet in the middle of the login."""
        where = f"{self._target.hostname} port {self._target.port}"
        if "timeout" in str(error).lower():
            return ConnectionFailed(
                f"{self.name}: {where} does not answer the login in time",
                hint="the board may be busy, or out of memory: try again when it is idle",
            )
        words = self._transport.words if self._transport else []
        return ConnectionFailed(
            f"{self.name}: {where} ended the login of user '{self._target.user}': "
            f"{'; '.join(words) or error}",
            hint="the log of the SSH server on the board says more: sudo journalctl -u ssh",
        )

    def _proxy_alone(self) -> str:
        command = shlex.join(self._proxy.argv) if self._proxy else ""
        return f"try the command by itself: {command}"


class _NoNames(socket.gaierror):
    """No server of names answers in time."""


def _connected(
    address: tuple[str, int], family: int, timeout: float, source: str | None
) -> socket.socket:
    """A socket to the first of a host's addresses that answers.

    Args:
        address: host and port.
        family: of addresses.
        timeout: seconds for all of them together.
        source: the address of this machine to connect from.

    Raises:
        OSError: none does; the error is that of one that refused, or else the last.
    """
    deadline = time.monotonic() + timeout
    found = _looked_up(address, family, timeout)
    errors: list[OSError] = []
    for count, (kind, how, protocol, _, place) in enumerate(found):
        link = socket.socket(kind, how, protocol)
        try:
            # Each gets its part of what time is left.
            link.settimeout(max(0.1, (deadline - time.monotonic()) / (len(found) - count)))
            if source:
                link.bind(socket.getaddrinfo(source, 0, kind, how, flags=socket.AI_PASSIVE)[0][4])
            link.connect(place)
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            link.close()
            errors.append(error)
        except BaseException:
            link.close()
            raise
        else:
            return link
    refused = [error for error in errors if isinstance(error, ConnectionRefusedError)]
    raise (refused or errors)[-1]


def _looked_up(address: tuple[str, int], family: int, timeout: float) -> list[Any]:
    """A host's addresses; a resolver that does not answer is asked for minutes otherwise.

    Raises:
        OSError: there are none, or none were told in time.
    """
    found: list[list[Any]] = []
    errors: list[OSError] = []

    def ask() -> None:
        try:
            found.append(socket.getaddrinfo(*address, family, socket.SOCK_STREAM))
        except OSError as error:
            errors.append(error)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(timeout)
    if found:
        return found[0]
    if errors:
        raise errors[0]
    raise _NoNames(socket.EAI_AGAIN, "no server of names answers")
