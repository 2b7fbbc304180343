"""A slow link carries everything, whole and in order; when it arrives is the model's to say."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from random import Random

import pytest

from support.patience import PATIENCE, await_that
from toolchain.board.link_proxy import LinkProxy, listen
from toolchain.hardware.link import Link

LOSSY = Link(0.001, 0.05, 80e6)


@contextmanager
def server(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server on a port, that does something with each connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    link, _ = listener.accept()
                    threading.Thread(target=work, args=(link,), daemon=True).start()

        def work(link: socket.socket) -> None:
            with suppress(OSError), link:
                answer(link)

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def all_of(link: socket.socket) -> bytes:
    pieces = []
    while piece := link.recv(1 << 16):
        pieces.append(piece)
    return b"".join(pieces)


def echo_at_the_end(link: socket.socket) -> None:
    link.sendall(all_of(link))


def connected(proxy: LinkProxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=PATIENCE)


@contextmanager
def through(answer: Callable[[socket.socket], None], link: Link) -> Iterator[socket.socket]:
    """A connection to such a server over a link."""
    with (
        server(answer) as port,
        LinkProxy(port, link, seed=1) as proxy,
        connected(proxy) as client,
    ):
        yield client


@pytest.mark.parametrize(
    ("link", "size"), [(Link(), 900_000), (LOSSY, 300_000), (Link(0.0, 0.3), 30_000)], ids=str
)
def test_everything_arrives_whole_and_in_order(link: Link, size: int) -> None:
    content = Random(1).randbytes(size)  # noqa: S311 (no secret)
    with through(echo_at_the_end, link) as client:
        client.sendall(content)
        client.shutdown(socket.SHUT_WR)
        assert all_of(client) == content


def test_connections_do_not_wait_for_each_other() -> None:
    with (
        server(echo_at_the_end) as port,
        LinkProxy(port, LOSSY) as proxy,
        connected(proxy) as idle,
        connected(proxy) as client,
    ):
        client.sendall(b"x")
        client.shutdown(socket.SHUT_WR)
        assert all_of(client) == b"x"
        idle.shutdown(socket.SHUT_WR)
        assert all_of(idle) == b""


def test_a_round_trip_takes_at_least_twice_the_delay() -> None:
    with through(lambda link: link.sendall(link.recv(1)), Link(0.05)) as client:
        begin = time.monotonic()
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        assert time.monotonic() - begin >= 0.1


def test_a_server_that_ends_a_connection_ends_it_here() -> None:
    with through(lambda link: link.sendall(b"bye"), LOSSY) as client:
        assert all_of(client) == b"bye"


def test_where_nobody_listens_the_connection_ends() -> None:
    with listen() as free:
        port = free.getsockname()[1]
    with (
        LinkProxy(port, Link()) as proxy,
        connected(proxy) as client,
        suppress(ConnectionResetError),
    ):
        assert client.recv(1) == b""


def test_a_client_that_has_gone_is_told_to_the_server() -> None:
    ended = threading.Event()

    def wait(link: socket.socket) -> None:
        with suppress(OSError):
            all_of(link)
        ended.set()

    with server(wait) as port, LinkProxy(port, LOSSY) as proxy:
        connected(proxy).close()
        await_that("the server knows", ended.is_set)


def test_a_receiver_that_takes_nothing_holds_the_sender_up() -> None:
    """What lies in between is the kernel's and a window, not all of it."""
    go_on = threading.Event()

    def wait(link: socket.socket) -> None:
        go_on.wait(PATIENCE)
        all_of(link)

    with through(wait, Link()) as client:
        client.setblocking(False)
        sent, before = 0, -1
        while sent != before and sent < 1 << 28:
            before = sent
            with suppress(BlockingIOError):
                while True:
                    sent += client.send(bytes(1 << 16))
            time.sleep(0.2)
        go_on.set()
        assert sent < 1 << 28


def test_a_proxy_that_is_closed_ends_its_connections_and_gives_its_port_back() -> None:
    with server(echo_at_the_end) as port:
        with LinkProxy(port, LOSSY) as proxy:
            client = connected(proxy)
        with client, suppress(ConnectionResetError):
            assert client.recv(1) == b""
        with listen(proxy.port):
            pass
