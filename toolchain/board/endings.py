"""How a program on a board ended, in words: by a signal, or because the board was out of memory."""

from __future__ import annotations

import re
import signal
from contextlib import suppress

from toolchain.board.connection import Connection

OOM_KILLS = "sed -n 's/^oom_kill //p' /proc/vmstat 2>/dev/null"
"""Shell text that prints how many programs a board's kernel has ended for want of memory."""
LESS_MEMORY = (
    "end what else runs there, or take a smaller model; a profile made on a board with more memory "
    "tells what a model needs at most"
)
"""What helps where memory is short."""
_WORDS = {
    signal.SIGKILL: "it was killed",
    signal.SIGTERM: "somebody ended it",
    signal.SIGINT: "somebody ended it",
    signal.SIGHUP: "its login ended",
    signal.SIGILL: "the core does not have an instruction of it",
    signal.SIGSEGV: "it crashed",
    signal.SIGABRT: "it found a fault in itself",
    signal.SIGFPE: "it computed what cannot be computed",
    signal.SIGBUS: "a file or memory of it could not be read",
    signal.SIGSYS: "the kernel did not allow what it asked for",
    signal.SIGXCPU: "it has used the processor time that it may use",
    signal.SIGXFSZ: "it wrote a larger file than it may",
}
_SOMEBODY = "ask who else works there, and run the command again"
_HINTS = {
    signal.SIGILL: "the bundle may be built for a newer core: check --board",
    signal.SIGTERM: _SOMEBODY,
    signal.SIGINT: _SOMEBODY,
    signal.SIGHUP: _SOMEBODY,
    signal.SIGBUS: "its disk may be full or fail: see what the kernel says there (dmesg)",
    signal.SIGXCPU: "a limit is set for the user there: ulimit -a",
    signal.SIGXFSZ: "a limit is set for the user there: ulimit -a",
}
_OUT_OF_MEMORY = "the board ran out of memory, and its kernel ended it"


def by_signal(number: int) -> str:
    """``SIGSEGV: it crashed``; the number alone of a signal that has no name."""
    with suppress(ValueError):
        found = signal.Signals(number)
        words = _WORDS.get(found)
        return found.name + (f": {words}" if words else "")
    return f"signal {number}"


def oom_kills(text: str) -> int | None:
    """What :data:`OOM_KILLS` has printed; ``None`` where the kernel does not tell."""
    found = re.match(r"[0-9]{1,18}$", text, re.MULTILINE)
    return int(found[0]) if found else None


def told(connection: Connection, number: int, kills: int | None) -> tuple[str, str]:
    """How a runner was ended by a signal, and what helps.

    Args:
        connection: to the board.
        number: the signal's.
        kills: how many programs had been ended there for want of memory before.
    """
    words, hint = by_signal(number), "please report this, with the model"
    if number != signal.SIGKILL:
        with suppress(ValueError):
            hint = _HINTS.get(signal.Signals(number), hint)
        return words, hint
    now = oom_kills(connection.run(["sh", "-c", OOM_KILLS], check=False).text)
    if kills is None or now is None:
        return words, f"most often the board is out of memory: {LESS_MEMORY}"
    if now > kills:
        return f"{signal.SIGKILL.name}: {_OUT_OF_MEMORY}", LESS_MEMORY
    return words, f"the board was not out of memory: {_SOMEBODY}"
