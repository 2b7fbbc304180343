"""A relay between two TCP ports that can lose what it carries, as networks do."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Literal, Self

Fault = Literal["none", "swallow", "stall", "cut"]


@contextmanager
def _ended(*links: socket.socket) -> Iterator[None]:
    """Both links end with the block, also where another thread waits for one of them."""
    try:
        yield
    finally:
        for link in links:
            with suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)


class Relay:
    """Listens on a free port of loopback and passes everything on to another.

    Args:
        port: where it leads.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self.fault: Fault = "none"
        """``swallow`` takes data and loses it, ``stall`` takes none, ``cut`` ends connections."""
        self.after: tuple[int, Fault] | None = None
        """A fault that sets in when so many bytes have come from the client."""
        self.holds = False
        """Whether the server's side stays open when the client has gone, as if a link had died."""
        self.carried = 0
        """Bytes from the client so far."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                for ends in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self._carry, args=ends, daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, is_client: bool) -> None:
        with suppress(OSError), source, sink, _ended(source, sink):
            with suppress(OSError):
                self._pass_on(source, sink, is_client)
            while self.holds and self.fault != "cut":
                time.sleep(0.01)

    def _pass_on(self, source: socket.socket, sink: socket.socket, is_client: bool) -> None:
        while self.fault != "cut":
            while self.fault == "stall":
                time.sleep(0.01)
            data = source.recv(16384)
            if not data:
                return
            if is_client:
                self.carried += len(data)
                if self.after and self.carried >= self.after[0]:
                    self.fault = self.after[1]
            if self.fault == "none":
                sink.sendall(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.fault = "cut"
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # ends the wait for a connection
        self._listener.close()
