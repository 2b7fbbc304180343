"""paramiko's side of a link, with what it keeps to itself: a server's words, and signs of life."""

from __future__ import annotations

import re
import threading
import time
import weakref
from contextlib import suppress
from typing import Any

import paramiko
from paramiko.common import MSG_CHANNEL_CLOSE
from paramiko.packet import Packetizer

from toolchain.errors import first_line
from toolchain.foreign_text import shortened

SILENCE_S = 45.0
"""Seconds of keepalives without an answer after which a link is given up."""


_USUAL: tuple[str, ...] = paramiko.Transport._preferred_ciphers  # type: ignore[attr-defined]
# GCM first, as it encrypts and authenticates at once; paramiko itself has it last.
_CIPHERS = (
    *("aes128-gcm@openssh.com", "aes256-gcm@openssh.com"),
    *(name for name in _USUAL if "gcm" not in name),
)


class _Packetizer(Packetizer):
    """Counts the packets that come in: each is a sign of life."""

    heard = 0

    def read_message(self) -> tuple[int, paramiko.Message]:
        message: tuple[int, paramiko.Message] = super().read_message()
        self.heard += 1
        return message


class _ChannelLink:
    """A transport as one channel sees it, which sends nothing for that channel once it is closed.

    paramiko makes a message while the channel is open and sends it a moment later. If the server
    closes the channel in between, the transport's own thread has answered that first, and servers
    end the whole connection over a message for a channel that is no more.
    """

    def __init__(self, transport: Transport, channel: paramiko.Channel) -> None:
        self._transport = transport
        self._channel = weakref.ref(channel)  # what nobody holds any more, paramiko closes
        self._lock = threading.Lock()

    def _send_user_message(self, message: paramiko.Message) -> None:
        with self._lock:
            channel = self._channel()
            closes = message.asbytes()[0] == MSG_CHANNEL_CLOSE
            if closes or (channel is not None and not channel.closed):
                self._transport._send_user_message(message)  # type: ignore[attr-defined]
            elif channel is not None:
                # Whoever asks for something and waits for the answer need not wait.
                channel.event.set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class Transport(paramiko.Transport):
    """A client's transport.

    Args:
        link: a connected socket, or what behaves like one.
        host_key_algorithms: what to ask the server for, best first.
        timeout: seconds to wait for the server's greeting, the key exchange and each answer of the
            login.
    """

    def __init__(self, link: Any, host_key_algorithms: tuple[str, ...], timeout: float) -> None:
        self.words: list[str] = []
        """What the server said as it refused something; paramiko only logs it."""
        self._host_key_algorithms = host_key_algorithms
        super().__init__(link, packetizer_class=_Packetizer)
        self._preferred_ciphers = _CIPHERS
        self.banner_timeout = timeout
        self.handshake_timeout = timeout
        self.auth_timeout = timeout

    @property
    def preferred_keys(self) -> tuple[str, ...]:
        """The host key algorithms, best first."""
        return self._host_key_algorithms

    @property
    def heard(self) -> int:
        """How many packets have come in."""
        return self.packetizer.heard if isinstance(self.packetizer, _Packetizer) else 0

    def open_channel(self, *args: Any, **kwargs: Any) -> paramiko.Channel:
        """See :meth:`paramiko.Transport.open_channel`."""
        channel = super().open_channel(*args, **kwargs)
        channel.transport = _ChannelLink(self, channel)  # type: ignore[assignment]
        return channel

    def get_exception(self) -> Exception | None:
        """What ended the link, as whoever waited for it raises it.

        A server's packet that is none makes paramiko fail in any way; that is a fault of the link.
        """
        error: Exception | None = super().get_exception()
        if error is None or isinstance(error, paramiko.SSHException | EOFError | OSError):
            return error
        damaged = paramiko.SSHException(f"it sent a damaged packet ({first_line(error)})")
        damaged.__cause__ = error
        return damaged

    def _log(self, level: int, msg: Any, *args: Any) -> None:
        found = re.fullmatch(
            r"(?:Banner|Disconnect \(code \d+\)|Secsh channel \d+ open FAILED): (.*)",
            str(msg),
            re.S,
        )
        if found and found[1].strip():
            self.words.append(shortened(found[1].strip()))
        super()._log(level, msg, *args)  # type: ignore[misc]


class Keepalive:
    """Asks the server for a sign of life when it is quiet, and ends the link if none comes.

    A keepalive that is only sent notices nothing: the kernel takes it, and repeats it for a quarter
    of an hour. A server that was stopped, or behind a link that swallows everything, answers none.

    Args:
        transport: a link that is logged in.
        limit: seconds without any packet, while keepalives are sent, after which it is ended.
    """

    def __init__(self, transport: Transport, limit: float) -> None:
        self.gave_up = False
        """Whether the link was ended for its silence."""
        self._transport, self._limit = transport, limit
        self._stop = threading.Event()
        for job in (self._ask, self._watch):
            threading.Thread(target=job, daemon=True, name=f"keepalive-{job.__name__}").start()

    def stop(self) -> None:
        """Leave the link alone from now on."""
        self._stop.set()

    def _ask(self) -> None:
        # In a thread of its own: on a link that is stuck even sending does not return.
        while not self._stop.wait(self._limit / 3) and self._transport.is_active():
            with suppress(paramiko.SSHException, EOFError, OSError):
                self._transport.global_request("keepalive@openssh.com", wait=True)

    def _watch(self) -> None:
        tick = min(1.0, self._limit / 20)
        heard, silence, last = self._transport.heard, 0.0, time.monotonic()
        while not self._stop.wait(tick) and self._transport.is_active():
            now = time.monotonic()
            if heard != self._transport.heard:
                heard, silence = self._transport.heard, 0.0
            else:
                # This process may have been stopped meanwhile: that is no silence of the server's.
                silence += min(now - last, 2 * tick)
            last = now
            if silence >= self._limit:
                self.gave_up = True
                with suppress(Exception):  # a channel of a jump that went silent, too
                    self._transport.close()
                return
