"""What hints are made of: lines that run as they stand, and names that were meant."""

from __future__ import annotations

import difflib
import os
import shlex
from collections.abc import Iterable

_CUTOFF = 0.6


def command(*words: object) -> str:
    """A line that runs this program: ``deploy build --board '../my board.toml'``.

    Args:
        words: the command, its options and their values, as the user typed them.
    """
    return " ".join(["deploy", *(quoted(str(word)) for word in words)])


def quoted(word: str) -> str:
    r"""One word of a shell's command line.

    A file's name may hold bytes that are not text; they are written as ``$'\xff'``, which bash,
    ksh and zsh read, since the bytes themselves would not survive a terminal.
    """
    if not any(0xDC80 <= ord(letter) <= 0xDCFF for letter in word):
        return shlex.quote(word)
    safe = frozenset(range(0x20, 0x7F)) - set(b"\\'")
    return "$'" + "".join(chr(b) if b in safe else f"\\x{b:02x}" for b in os.fsencode(word)) + "'"


def apt_line(*packages: str) -> str:
    """The line that installs Debian packages, for whoever runs this: root or not."""
    words = [] if os.geteuid() == 0 else ["sudo"]
    return " ".join([*words, "apt-get install --no-install-recommends", *sorted(set(packages))])


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that a wrong one is nearest to; ``None`` where none is near."""
    names = {other.casefold(): other for other in known}
    found = difflib.get_close_matches(name.casefold(), names, n=1, cutoff=_CUTOFF)
    return names[found[0]] if found else None


def did_you_mean(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """``did you mean 'rpi4'? <otherwise>``, or only the last where no name is near.

    Args:
        name: what was typed.
        known: what could have been.
        otherwise: what is said in any case.
    """
    meant = nearest(name, known)
    return " ".join(filter(None, (f"did you mean '{meant}'?" if meant else "", otherwise)))
