"""What is sent to a board's login shell, whichever it is, and what is taken of its output.

The login shell may be tcsh or fish, which read quotes in ways of their own, and its start-up files
may print, as may what they have it run when it ends. So it is given one line of characters that no
shell treats specially, and only what stands between two marks, which our own script prints first
and last, is taken.
"""

from __future__ import annotations

import secrets
import shlex
import threading
from collections.abc import Callable, Sequence

_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_./:=,@-")
_KEPT = 16 * 1024

# Runs "$@" and stops it when standard input ends, which is when this side closes the channel: a
# server leaves a program running whose client is gone. A shell stays in between, so that death by a
# signal comes back as 128 + n.
_GUARDED = """\
exec 3<&0
"$@" </dev/null 3<&- &
program=$!
(cat <&3 >/dev/null; kill "$program"; kill -CONT "$program") >/dev/null 2>&1 &
guard=$!
wait "$program"
code=$?
kill "$guard" 2>/dev/null
"""
_FED = """\
"$@"
code=$?
"""


class BetweenMarks:
    """Passes on what comes between a mark and its counterpart, which is its halves exchanged.

    Args:
        mark: it and the line's end after it are dropped, too.
        sink: is given each piece that comes after.
    """

    def __init__(self, mark: bytes, sink: Callable[[bytes], None]) -> None:
        self._found = threading.Event()
        self._mark, self._end, self._sink = mark + b"\n", _counterpart(mark), sink
        self._before, self._held = bytearray(), bytearray()
        self._ended = False

    @property
    def found(self) -> bool:
        """Whether the mark has come."""
        return self._found.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait for the mark; whether it has come."""
        return self._found.wait(seconds)

    @property
    def before(self) -> str:
        """The last of what came before."""
        return self._before.decode("utf-8", errors="replace").strip()

    def feed(self, piece: bytes) -> None:
        """Take what has arrived."""
        if not self.found:
            self._before += piece
            place = self._before.find(self._mark)
            if place < 0:
                del self._before[:-_KEPT]
                return
            self._found.set()
            piece = bytes(self._before[place + len(self._mark) :])
            del self._before[place:]
        if self._ended:
            return
        self._held += piece
        place = self._held.find(self._end)
        self._ended = place >= 0
        # What may be the beginning of the end is held back.
        self._pass_on(place if self._ended else len(self._held) - len(self._end) + 1)

    def finish(self) -> None:
        """Nothing more will arrive: where the second mark has not come, pass on what is held."""
        if not self._ended:
            self._pass_on(len(self._held))

    def _pass_on(self, count: int) -> None:
        if count > 0:
            piece = bytes(self._held[:count])
            del self._held[:count]
            self._sink(piece)


def _counterpart(mark: bytes) -> bytes:
    half = len(mark) // 2
    return mark[half:] + mark[:half]


def new_mark() -> str:
    """A mark that no output holds by chance."""
    return secrets.token_hex(16)


def command_line(argv: Sequence[str], mark: str, *, fed: bool) -> str:
    """The line that makes any login shell run a program.

    Args:
        argv: program and arguments; none of it is ever taken as shell text.
        mark: what is printed first, on both streams; its counterpart is printed last.
        fed: whether the program reads standard input; else it is stopped at that one's end.
    """
    # In halves, so that a shell that prints its commands does not print the mark.
    half = len(mark) // 2
    first, second = mark[:half], mark[half:]
    script = "".join(
        [
            f"printf '%s%s\\n' {first} {second}\n",
            f"printf '%s%s\\n' {first} {second} >&2\n",
            f"set -- {shlex.join(argv)}\n",
            _FED if fed else _GUARDED,
            f"printf %s%s {second} {first}\n",
            f"printf %s%s {second} {first} >&2\n",
            'exit "$code"\n',
        ]
    )
    return f"""sh -c 'eval "$(printf %b "$1")"' sh '{_encoded(script)}'"""


def _encoded(text: str) -> str:
    """Text as ``printf %b`` takes it, in characters that quotes of every shell keep."""
    data = text.encode("utf-8", errors="surrogateescape")
    return "".join(chr(byte) if byte in _SAFE else f"\\0{byte:03o}" for byte in data)
