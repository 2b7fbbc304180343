"""A relay between two TCP ports that can lose, slow or damage what it carries, as networks do."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

Fault = Literal["none", "swallow", "stall", "cut", "slow", "corrupt"]

_PIECE = 16384
_SLOW_PIECE, _SLOW_S, _SLOW_PIECES = 1024, 0.01, 150
"""A slow link carries so many bytes at once, each time after so many seconds: 100 kB/s. After so
many pieces it is as fast as before, so that no try takes minutes."""


@dataclass(frozen=True)
class Point:
    """A byte of one direction, from which on a link has a fault."""

    place: int
    """Bytes that come before it, of all connections."""
    fault: Fault
    """``corrupt`` changes this byte alone."""
    of_client: bool = True
    """Whether it is one that the client sends."""
    bit: int = 0
    """Which one of a corrupt byte is turned."""


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
        self.point: Point | None = None
        """A fault that sets in at a byte exactly."""
        self.act: Callable[[], object] | None = None
        """What is done at the point, before its byte goes on."""
        self.struck = threading.Event()
        """Set once the point was reached."""
        self.holds = False
        """Whether the server's side stays open when the client has gone, as if a link had died."""
        self.carried = 0
        """Bytes from the client so far."""
        self.answered = 0
        """Bytes from the server so far."""
        self._slow_pieces = 0
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
            if self.fault == "slow":
                self._slow_down()
            data = source.recv(_SLOW_PIECE if self.fault == "slow" else _PIECE)
            if not data:
                return
            before = self.carried if is_client else self.answered
            if is_client:
                self.carried += len(data)
                if self.after and self.carried >= self.after[0]:
                    self.fault = self.after[1]
            else:
                self.answered += len(data)
            point = self.point
            if point and point.of_client == is_client and 0 <= point.place - before < len(data):
                data = self._strike(point, data, point.place - before, sink)
            if self.fault in ("none", "slow"):
                sink.sendall(data)

    def _slow_down(self) -> None:
        time.sleep(_SLOW_S)
        self._slow_pieces += 1
        if self._slow_pieces >= _SLOW_PIECES:
            self.fault = "none"

    def _strike(self, point: Point, data: bytes, place: int, sink: socket.socket) -> bytes:
        """Send what comes before the point; what is to be sent after it."""
        sink.sendall(data[:place])
        self.struck.set()
        if self.act:
            self.act()
        if point.fault == "corrupt":
            data = data[:place] + bytes([data[place] ^ 1 << point.bit]) + data[place + 1 :]
        else:
            self.fault = point.fault
        return data[place:]

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
