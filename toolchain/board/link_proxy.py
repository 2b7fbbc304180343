"""A slow and lossy link in front of any TCP server: a proxy that lets data through as a link would.

It needs no rights, unlike ``tc qdisc ... netem``. A proxy cannot lose packets, so it computes what
TCP makes of the loss (:mod:`toolchain.board.tcp_flow`) and delivers each segment when it would
have arrived. The kernel of this machine carries all data whole and in order.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from random import Random
from types import TracebackType
from typing import Self

from toolchain.board.tcp_flow import SEGMENT, TcpFlow
from toolchain.hardware.link import Link

LOOPBACK = "127.0.0.1"
_BUFFER = 64 << 10
"""Bytes that this machine's kernel takes ahead of the link, about: what waits is the sender's."""
_KEPT = 1024
"""Segments that have arrived and that the receiver has not taken."""
_CONNECT_S = 30.0


def listen(port: int = 0) -> socket.socket:
    """A socket that takes connections of this machine.

    Args:
        port: 0 for a free one.

    Raises:
        OSError: the port is taken.
    """
    listener = socket.socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)  # connections have it too
        listener.bind((LOOPBACK, port))
        listener.listen()
    except BaseException:
        listener.close()
        raise
    return listener


async def serve(
    listener: socket.socket, host: str, port: int, link: Link, seed: int | None = None
) -> None:
    """Carry each connection to a server, until this is cancelled.

    Args:
        listener: takes the connections; is closed at the end.
        host: of the server.
        port: of the server.
        link: what lies between.
        seed: decides which segments are lost; a new one each time unless given.
    """
    random = Random(seed)  # noqa: S311 - no secret
    loop = asyncio.get_running_loop()
    links: dict[asyncio.Task[None], socket.socket] = {}

    def take() -> None:
        # Not sock_accept, which loses what it has taken when it is cancelled in that moment.
        with suppress(OSError):
            client, _ = listener.accept()
            task = loop.create_task(_connect(client, host, port, link, random))
            links[task] = client
            task.add_done_callback(links.pop)

    listener.setblocking(False)
    try:
        loop.add_reader(listener, take)
        await asyncio.Event().wait()
    finally:
        loop.remove_reader(listener)
        listener.close()
        clients = list(links.values())
        for task in links:
            task.cancel()
        await asyncio.gather(*links, return_exceptions=True)
        for client in clients:
            client.close()  # of one that had not begun


async def _connect(client: socket.socket, host: str, port: int, link: Link, random: Random) -> None:
    """One connection, to its end."""
    ends: list[asyncio.StreamWriter] = []
    try:
        reader, writer = await asyncio.open_connection(sock=client, limit=_BUFFER)
        ends.append(writer)
        await asyncio.sleep(2 * link.delay_s)  # the handshake's
        opened = asyncio.open_connection(host, port, limit=_BUFFER)
        far_reader, far = await asyncio.wait_for(opened, _CONNECT_S)
        ends.append(far)
        there = _Way(link, random).carry(reader, far)
        back = _Way(link, random).carry(far_reader, writer)
        async with asyncio.TaskGroup() as ways:
            ways.create_task(there)
            ways.create_task(back)
        for end in ends:
            end.close()
            await end.wait_closed()
    except* (OSError, TimeoutError):  # one of them has gone: so has the other, then
        pass
    finally:
        for end in ends:
            end.transport.abort()
        await asyncio.sleep(0)  # the transports close
        client.close()


class _Way:
    """One direction of a connection."""

    def __init__(self, link: Link, random: Random) -> None:
        self._flow = TcpFlow(link, random)
        self._coming: deque[tuple[float, bytes]] = deque()
        """Segments under way, with when they arrive; an empty one is the end."""
        self._changed = asyncio.Event()
        self._taken = asyncio.Event()

    async def carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        """Carry everything, and then that it has ended.

        Raises:
            OSError: one of the two has gone.
        """
        async with asyncio.TaskGroup() as both:
            both.create_task(self._take(source))
            both.create_task(self._deliver(sink))

    async def _take(self, source: asyncio.StreamReader) -> None:
        now = asyncio.get_running_loop().time
        while True:
            room = await self._room(now)
            data = await source.read(room * SEGMENT)
            for at in range(0, len(data), SEGMENT):
                piece = data[at : at + SEGMENT]
                self._coming.append((self._flow.send(len(piece), now()), piece))
            if not data:
                self._coming.append((self._flow.send(0, now()), b""))
            self._changed.set()
            if not data:
                return

    async def _room(self, now: Callable[[], float]) -> int:
        while True:
            while len(self._coming) >= _KEPT:
                self._taken.clear()
                await self._taken.wait()
            room = self._flow.room(now())
            if room:
                return room
            word = self._flow.next_word()
            await asyncio.sleep(max(0.0, (word or 0.0) - now()))

    async def _deliver(self, sink: asyncio.StreamWriter) -> None:
        now = asyncio.get_running_loop().time
        while True:
            while not self._coming:
                self._changed.clear()
                await self._changed.wait()
            await asyncio.sleep(max(0.0, self._coming[0][0] - now()))
            pieces = []
            while self._coming and self._coming[0][0] <= now():
                pieces.append(self._coming.popleft()[1])
            self._taken.set()
            if joined := b"".join(pieces):
                sink.write(joined)
                await sink.drain()
            if pieces and not pieces[-1]:
                if sink.can_write_eof():
                    sink.write_eof()
                return


class LinkProxy:
    """A slow link in a thread of its own; use it as a context manager.

    Args:
        port: of the server.
        link: what lies between.
        host: of the server.
        seed: decides which segments are lost.
    """

    def __init__(
        self, port: int, link: Link, *, host: str = LOOPBACK, seed: int | None = None
    ) -> None:
        self._listener = listen()
        self.port: int = self._listener.getsockname()[1]
        """Where it takes connections, on this machine."""
        self._loop = asyncio.new_event_loop()
        self._serving = self._loop.create_task(serve(self._listener, host, port, link, seed))
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        with suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._serving)
        self._loop.close()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._serving.cancel)
        self._thread.join()
        self._listener.close()  # it may not have come to serve
