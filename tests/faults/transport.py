"""Commands over a link that fails at any byte, and commands that are killed at any: kind 13."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from contextlib import nullcontext

from faults.bench import COMMANDS, LIMIT_S, Bench, bench, chance, impatient
from faults.fault import Fault, Place
from support.relay import Fault as LinkFault
from support.relay import Point, Relay

_SILENCE_S = 5.0
"""Of a link that is to die: what is well answers within it."""
_DEAD = 5
"""One try in so many leaves the link stalled until the board has ended all by itself."""
_DRAWS = 6
"""So often a point is drawn: what a command carries is not the same each time, to the byte."""


def _point(made: Bench, name: str, fault: LinkFault, words: tuple[object, ...]) -> Point:
    """A byte of the command's traffic, in one direction or the other."""
    drawn = chance(name, fault, *words)
    with Relay(made.user.server.port) as relay:
        made.reach(relay.port)
        traffic = made.measure(name, lambda: (relay.carried, relay.answered))
    of_client = drawn.random() < 0.5
    most = traffic.sent if of_client else traffic.answered
    return Point(drawn.randrange(most), fault, of_client, drawn.randrange(8))


def over_a_bad_link(place: Place, number: int, name: str, fault: LinkFault) -> str:
    """One command, and a fault at one byte of what it carries."""
    made, found = bench(place), list[str]()
    for draw in range(_DRAWS):
        point = _point(made, name, fault, (number, draw))
        made.prepare(name)
        made.forget_results()
        with Relay(made.user.server.port) as relay:
            made.reach(relay.port)
            relay.point = point
            hasty = fault in ("stall", "corrupt")
            with impatient(made.user, _SILENCE_S) if hasty else nullcontext():
                done = made.begin(name).end(LIMIT_S)
            if not relay.struck.is_set():
                continue
            if done.returncode == 0 or fault == "slow":
                found += made.success(name, done)
            else:
                found += made.refusal(name, done)
            if fault == "stall" and number % _DEAD == 0:
                found += made.await_end()
        found += made.after(name)
        return "; ".join(f"at {point}: {one}" for one in found)
    return f"{name}: no point of {_DRAWS} was reached"


def killed(place: Place, number: int, name: str) -> str:
    """``kill -9`` of a command at one byte of what it carries."""
    made, found = bench(place), list[str]()
    for draw in range(_DRAWS):
        point = _point(made, name, "none", (number, draw))
        made.prepare(name)
        made.forget_results()
        with Relay(made.user.server.port) as relay:
            made.reach(relay.port)
            relay.point = point
            begun, ready = None, threading.Event()

            def kill() -> None:
                ready.wait()
                assert begun is not None
                begun.kill()

            relay.act = kill
            begun = made.begin(name)
            ready.set()
            done = begun.end(LIMIT_S)
            if not relay.struck.is_set():
                continue
        if done.returncode != -9:
            found.append(f"it was killed, and ended with {done.returncode}")
        found += made.after(name)
        return "; ".join(f"at {point}: {one}" for one in found)
    return f"{name}: no point of {_DRAWS} was reached"


_LINKS: tuple[tuple[LinkFault, str], ...] = (
    ("cut", "is cut"), ("stall", "stalls"), ("slow", "gets slow"), ("corrupt", "turns a bit"),
)  # fmt: skip
_TEST = "unit/board/test_bad_links.py"


def _row(name: str, inject: Callable[[Place, int], str], tries: int) -> Fault:
    return Fault(name, 13, tries, _TEST, inject, 300.0, cheap=False)


FAULTS = (
    *(
        _row(f"{name} over a link that {words}",
             functools.partial(over_a_bad_link, name=name, fault=fault), 25)
        for fault, words in _LINKS
        for name in COMMANDS
    ),
    *(
        _row(f"kill -9 of {name}", functools.partial(killed, name=name), 25)
        for name in COMMANDS
    ),
)  # fmt: skip
