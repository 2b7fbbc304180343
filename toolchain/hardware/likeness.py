"""The board that ships which a board is like: the same core, instruction set and word size."""

from __future__ import annotations

import re
from collections.abc import Iterable

from toolchain.hardware.board_file import Board, board_names, load_board
from toolchain.hardware.facts import Isa, isa_facts

BASELINES: dict[Isa, str] = {
    "aarch64": "armv8-a", "armv7": "armv7-a+neon-vfpv4", "x86-64": "x86-64",
}  # fmt: skip
"""The ``-march`` that every board of an instruction set runs which is supported."""
OLDEST_GLIBC = "2.31"
"""What boards are built for which are like none that ships."""


def isa_of(machine: str, bits: int | None) -> Isa | None:
    """The instruction set to build for.

    Args:
        machine: as ``uname -m``.
        bits: of the system's own programs: under a 64-bit kernel they may be 32-bit ones, which
            load no 64-bit library.

    Returns:
        ``None`` for a machine that nothing is built for.
    """
    own: tuple[Isa, ...] = ("aarch64", "armv7", "x86-64")
    fitting = [isa for isa in own if machine in isa_facts(isa).runs_on]
    same = [isa for isa in fitting if bits in (None, isa_facts(isa).bits)]
    return same[0] if same else None


def likest(isa: Isa, cores: Iterable[str], model: str | None, *, emulated: bool) -> Board | None:
    """The board that ships which a board is like.

    Args:
        isa: that is built for.
        cores: the kinds of its cores, as Arm writes them.
        model: what its firmware calls it, which decides between boards of one core.
        emulated: whether it is an emulated one.

    Returns:
        ``None`` where none has such a core. 32-bit Arm and x86-64 have one board for all cores: one
        build runs on each, with the same micro-kernels.
    """
    kind = "emulator" if emulated else "local" if isa == "x86-64" else "ssh"
    ships = [load_board(name) for name in board_names()]
    fitting = [board for board in ships if board.isa == isa and board.connection == kind]
    # Of two kinds of cores the larger ones have the higher numbers.
    known = {core.casefold(): place for place, core in enumerate(cores)}
    if isa == "aarch64":
        fitting = [board for board in fitting if board.cpu.casefold() in known]
    words = _words(model or "")

    def fit(board: Board) -> tuple[float, int]:
        return _share(_words(board.title), words), known.get(board.cpu.casefold(), -1)

    return max(fitting, key=fit, default=None)


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.casefold()))


def _share(title: set[str], model: set[str]) -> float:
    """How much of a board's title is in a model's name."""
    return len(title & model) / len(title) if title else 0.0
