"""A real SSH server on loopback, for tests: paramiko's server side, running commands with sh."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections import deque
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import paramiko
from paramiko.common import (
    AUTH_FAILED,
    AUTH_SUCCESSFUL,
    OPEN_SUCCEEDED,
    cMSG_CHANNEL_SUCCESS,
)


class _Transport(paramiko.Transport):
    """Says when a request is answered: like sshd, the server runs nothing before that.

    A program may end, and its channel be closed, while the thread that answers waits for a core.
    """

    def __init__(self, link: socket.socket) -> None:
        super().__init__(link)
        self.unanswered: deque[threading.Event] = deque()

    def _send_user_message(self, data: paramiko.Message) -> None:
        super()._send_user_message(data)  # type: ignore[misc]
        if data.asbytes()[:1] == cMSG_CHANNEL_SUCCESS and self.unanswered:
            self.unanswered.popleft().set()


class _Login(paramiko.ServerInterface):
    def __init__(self, user: str, key: paramiko.PKey, home: Path) -> None:
        self._user, self._key, self._home = user, key, home
        self.refuses = 0

    def get_allowed_auths(self, username: str) -> str:  # noqa: ARG002
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        known = username == self._user and key == self._key
        return AUTH_SUCCESSFUL if known else AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:  # noqa: ARG002
        return OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        if self.refuses:
            self.refuses -= 1
            return False
        answered = threading.Event()
        transport = channel.get_transport()
        assert isinstance(transport, _Transport)
        transport.unanswered.append(answered)
        run = (channel, command, answered)
        threading.Thread(target=self._run, args=run, daemon=True).start()
        return True

    def _run(self, channel: paramiko.Channel, command: bytes, answered: threading.Event) -> None:
        answered.wait()
        process = subprocess.Popen(
            [b"sh", b"-c", command], cwd=self._home,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert process.stdin
        assert process.stdout
        assert process.stderr

        def feed(sink: IO[bytes]) -> None:
            with suppress(OSError), sink:
                while data := channel.recv(65536):
                    sink.write(data)
                    sink.flush()

        def drain(source: IO[bytes], *, errors: bool) -> None:
            send = channel.sendall_stderr if errors else channel.sendall
            # Like sshd, which closes what nobody takes: a program must not wait for its reader.
            with suppress(OSError), source:
                while data := source.read1(65536):  # type: ignore[attr-defined]
                    send(data)

        threading.Thread(target=feed, args=(process.stdin,), daemon=True).start()
        readers = [
            threading.Thread(target=drain, args=(process.stdout,), kwargs={"errors": False}),
            threading.Thread(target=drain, args=(process.stderr,), kwargs={"errors": True}),
        ]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        code = process.wait()
        with suppress(OSError, EOFError):
            if code >= 0:  # like sshd, which sends a signal's name instead of a code
                channel.send_exit_status(code)
            channel.close()


class SshServer:
    """Listens on a free port; commands run in ``home``."""

    def __init__(self, host_key: paramiko.PKey, user: str, key: paramiko.PKey, home: Path) -> None:
        self._host_key, self._login = host_key, _Login(user, key, home)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._transports: list[paramiko.Transport] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                link, _ = self._listener.accept()
                transport = _Transport(link)
                transport.add_server_key(self._host_key)
                self._transports.append(transport)
                with suppress(paramiko.SSHException, EOFError):
                    transport.start_server(event=threading.Event(), server=self._login)

    def refuse(self, times: int) -> None:
        """Start none of so many programs that are asked for next, and close their channels."""
        self._login.refuses = times

    def drop(self) -> None:
        """Cut every connection, as a board does that loses its power."""
        for transport in self._transports:
            transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.drop()
        self._listener.close()
