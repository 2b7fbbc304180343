"""Commands over a link that fails at any byte, and commands that are killed at any: kind 13."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from subprocess import CompletedProcess

from faults.bench import COMMANDS, LIMIT_S, Bench, bench, chance, impatient
from faults.fault import Fault, Place
from support.relay import Fault as LinkFault
from support.relay import Point, Relay
from support.ssh_user import Begun

_SILENCE_S = 5.0
"""Of a link that is to die: what is well answers within it."""
_DEAD = 5
"""One try in so many leaves the link stalled until the board has ended all by itself."""
_DRAWS = 6
"""So often a point is drawn: what a command carries is not the same each time, to the byte."""


def point_of(made: Bench, name: str, fault: LinkFault, *words: object) -> Point:
    """A byte of a command's traffic, in one direction or the other, by chance.

    Args:
        made: where the command runs.
        name: of the command.
        fault: what happens at the byte.
        words: what the chance is made from.
    """
    drawn = chance(name, fault, *words)
    traffic = made.measure(name)
    of_client = drawn.random() < 0.5
    most = traffic.sent if of_client else traffic.answered
    return Point(drawn.randrange(most), fault, of_client, drawn.randrange(8))


class _Deed:
    """What is done at a point, which may be reached before the command's process is known here."""

    def __init__(self, act: Callable[[Begun], object] | None) -> None:
        self._act = act
        self._known = threading.Event()
        self._begun: Begun | None = None
        self.over = threading.Event()
        """Set once it is done."""

    def begin(self, begun: Begun) -> None:
        """Tell the command's process."""
        self._begun = begun
        self._known.set()

    def __call__(self) -> None:
        try:
            self._known.wait()
            if self._act and self._begun:
                self._act(self._begun)
        finally:
            self.over.set()


@contextmanager
def met(
    made: Bench,
    name: str,
    fault: LinkFault,
    *words: object,
    act: Callable[[Begun], object] | None = None,
    silence: float | None = None,
) -> Iterator[tuple[CompletedProcess[str], Point]]:
    """A command that has met a fault, and where; its link is as it was until the block ends.

    Args:
        made: where it runs.
        name: of the command.
        fault: of the link.
        words: what the chance is made from that tells the point.
        act: is done there, too, while the link waits.
        silence: seconds without an answer after which the command gives the board up; as many as
            it has itself if ``None``.

    Raises:
        AssertionError: no point was reached of those that were drawn.
    """
    for draw in range(_DRAWS):
        point = point_of(made, name, fault, *words, draw)
        made.prepare(name)
        made.forget_results()
        with Relay(made.user.server.port) as relay:
            made.reach(relay.port)
            deed = _Deed(act)
            relay.point, relay.act = point, deed
            with impatient(made.user, silence) if silence else nullcontext():
                begun = made.begin(name)
            deed.begin(begun)
            done = begun.end(LIMIT_S)
            if relay.struck.is_set():
                deed.over.wait()
                yield done, point
                return
    raise AssertionError(f"{name}: none of {_DRAWS} points was reached")


def over_a_bad_link(place: Place, number: int, name: str, fault: LinkFault) -> str:
    """One command, and a fault at one byte of what it carries."""
    made = bench(place)
    # What may end in silence is not waited for as long as a user would have to.
    silence = _SILENCE_S if fault in ("stall", "corrupt") else None
    with met(made, name, fault, number, silence=silence) as (done, point):
        if done.returncode == 0 or fault == "slow":
            found = made.success(name, done)
        else:
            found = made.refusal(name, done)
        if fault == "stall" and number % _DEAD == 0:
            found += made.await_end()
    found += made.after(name)
    return "; ".join(f"at {point}: {one}" for one in found)


def killed(place: Place, number: int, name: str) -> str:
    """``kill -9`` of a command at one byte of what it carries."""
    made = bench(place)
    with met(made, name, "none", "kill", number, act=Begun.kill) as (done, point):
        found = [] if done.returncode == -9 else [f"it ended with {done.returncode}"]
    found += made.after(name)
    return "; ".join(f"at {point}: {one}" for one in found)


_LINKS: tuple[tuple[LinkFault, str], ...] = (
    ("cut", "is cut"), ("stall", "stalls"), ("slow", "gets slow"), ("corrupt", "turns a bit"),
)  # fmt: skip


def _row(name: str, inject: Callable[[Place, int], str]) -> Fault:
    return Fault(name, 13, 25, "native/test_bad_boards.py", inject, 400.0, cheap=False)


FAULTS = (
    *(
        _row(f"{name} over a link that {words}",
             functools.partial(over_a_bad_link, name=name, fault=fault))
        for fault, words in _LINKS
        for name in COMMANDS
    ),
    *(_row(f"kill -9 of {name}", functools.partial(killed, name=name)) for name in COMMANDS),
)  # fmt: skip
