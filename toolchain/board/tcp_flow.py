"""When what one side of a TCP connection sends arrives at the other, over a link that loses some.

A model of the sender, with no network in it: congestion control as in Reno (RFC 5681), a segment
that is lost is sent again after a round trip if others follow it (fast retransmit), after two if
none does (the tail loss probe of RFC 8985), and after a retransmission time-out if it is lost
again (RFC 6298). Over long transfers it comes to the throughput of Mathis, Semke, Mahdavi and Ott,
"The Macroscopic Behavior of the TCP Congestion Avoidance Algorithm" (1997):
``segment / round_trip * sqrt(3 / (2 * loss))``.
"""

from __future__ import annotations

from collections import deque
from random import Random

from toolchain.hardware.link import Link

SEGMENT = 1448
"""Bytes of a segment: those of Ethernet's 1500 that TCP with timestamps leaves."""
_FIRST_WINDOW = 10.0
"""Segments, by RFC 6928."""
_LEAST_WINDOW = 2.0
_LARGEST_WINDOW = 1000.0
"""Segments under way at most: the queue that ``tc qdisc ... netem`` has unless told otherwise."""
_LEAST_TIMEOUT_S = 0.2
"""Of a retransmission, as Linux has it."""
_FAST = 4
"""Segments under way from which on the others tell of one that is lost: it, and three after it."""


class TcpFlow:
    """One direction of one connection.

    Args:
        link: what carries it.
        random: decides which segments are lost.
    """

    def __init__(self, link: Link, random: Random) -> None:
        self._link, self._random = link, random
        self._window, self._threshold = _FIRST_WINDOW, _LARGEST_WINDOW
        self._under_way: deque[float] = deque()
        """When the other side's word of each segment comes back, in order."""
        self._free = 0.0
        """When the link has sent all that it was given."""
        self._arrived = 0.0
        """When the last segment arrives: none overtakes another."""
        self._recovered = 0.0
        """Until when a further loss is part of one that is known."""
        self.lost = 0
        """Segments that were lost so far."""

    def room(self, now: float) -> int:
        """How many segments may be sent now.

        Args:
            now: seconds of any clock that does not go back.
        """
        self._hear(now)
        return max(0, int(self._window) - len(self._under_way))

    def next_word(self) -> float | None:
        """When there may be room again; ``None`` where nothing is under way."""
        return self._under_way[0] if self._under_way else None

    def send(self, size: int, now: float) -> float:
        """Send a segment.

        Args:
            size: its bytes.
            now: as of :meth:`room`.

        Returns:
            When it arrives.
        """
        self._hear(now)
        link = self._link
        begin = max(now, self._free)
        self._free = begin + (8 * size / link.rate if link.rate else 0.0)
        late = self._lateness(now)
        self._arrived = max(self._arrived, self._free + link.delay_s + late)
        self._under_way.append(self._arrived + link.delay_s)
        return self._arrived

    def _hear(self, now: float) -> None:
        while self._under_way and self._under_way[0] <= now:
            self._under_way.popleft()
            slow_start = self._window < self._threshold
            grown = self._window + (1.0 if slow_start else 1.0 / self._window)
            self._window = min(grown, _LARGEST_WINDOW)

    def _lateness(self, now: float) -> float:
        """Seconds by which a segment comes late since it is lost, maybe more than once."""
        if not self._is_lost():
            return 0.0
        round_trip = 2 * self._link.delay_s + max(0.0, self._free - now)
        late = round_trip if len(self._under_way) + 1 >= _FAST else 2 * round_trip
        if now >= self._recovered:
            self._threshold = self._window = max(_LEAST_WINDOW, self._window / 2)
        while self._is_lost():
            timeout = max(_LEAST_TIMEOUT_S, 2 * round_trip)
            late += timeout
            self._window = _LEAST_WINDOW
        self._recovered = now + late
        return late

    def _is_lost(self) -> bool:
        lost = self._random.random() < self._link.loss
        self.lost += lost
        return lost
