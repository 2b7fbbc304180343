"""A link outlives its channels, whenever the server closes one of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import paramiko
import pytest

from support.patience import PATIENCE, await_that
from toolchain.board.ssh import SshConnection
from toolchain.board.transport import Transport

from .conftest import Reachable


@pytest.fixture
def transport(reachable: Reachable) -> Iterator[Transport]:
    connection = SshConnection("pi", reachable.target)
    assert connection._transport is not None
    yield connection._transport
    connection.close()


@pytest.fixture
def channel(transport: Transport) -> paramiko.Channel:
    """One whose program runs until its input ends."""
    channel = transport.open_session(timeout=PATIENCE)
    channel.exec_command("cat")
    return channel


def _late(
    channel: paramiko.Channel, act: Callable[[], object], held: tuple[object, str]
) -> list[Exception]:
    """What an act raises that begins while the channel is open, and goes on when it is closed.

    Args:
        held: whose method it is, and which, that waits until the channel is closed.
    """
    transport = channel.get_transport()
    begun, closed = threading.Event(), threading.Event()
    raised: list[Exception] = []

    def run() -> None:
        try:
            act()
        except (paramiko.SSHException, EOFError, OSError) as error:
            raised.append(error)

    acting = threading.Thread(target=run, daemon=True)
    go_on = getattr(*held)

    def later(*args: object) -> None:
        if threading.current_thread() is acting:
            begun.set()
            assert closed.wait(PATIENCE)
        go_on(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(*held, later)
        acting.start()
        assert begun.wait(PATIENCE)
        channel.shutdown_write()  # the program ends, and the server closes the channel
        await_that("the channel is closed", lambda: channel.closed)
        # The transport's own thread hears of this when it has answered that.
        transport.global_request("keepalive@openssh.com", wait=True)
        closed.set()
        acting.join(PATIENCE)
    assert not acting.is_alive()
    return raised


def _works(transport: Transport) -> bool:
    channel = transport.open_session(timeout=PATIENCE)
    channel.exec_command("exit 7")
    return channel.recv_exit_status() == 7


@pytest.mark.parametrize("kind", ["data", "a new size"])
def test_what_is_sent_as_the_server_closes_a_channel_is_lost_and_the_link_is_not(
    transport: Transport, channel: paramiko.Channel, kind: str
) -> None:
    acts: dict[str, Callable[[], object]] = {
        "data": lambda: channel.send(b"more"),
        "a new size": lambda: channel.resize_pty(80, 24),
    }
    _late(channel, acts[kind], (channel.transport, "_send_user_message"))
    assert _works(transport)


@pytest.mark.parametrize("moment", ["before it waits for an answer", "as it sends"])
def test_a_program_asked_for_as_the_server_closes_its_channel_is_told_to_have_none(
    transport: Transport, channel: paramiko.Channel, moment: str
) -> None:
    held = (
        (channel.transport, "_send_user_message")
        if moment == "as it sends"
        else (channel, "_event_pending")
    )
    (error,) = _late(channel, lambda: channel.exec_command("true"), held)
    assert "closed" in str(error)
    assert _works(transport)
