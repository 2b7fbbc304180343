"""Tables of emulated boards: those that were started, and what was left of others."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType

from toolchain.board.lab import Found, Left
from toolchain.report.fitting import NAME, Column, fitted_table


def emulated_table(boards: Sequence[Found], width: int = 200) -> RenderableType:
    """The emulated boards, a line each.

    Args:
        boards: in order.
        width: columns that there are.
    """
    states = [board.state for board in boards]
    return fitted_table(
        [
            Column("board", [board.name for board in boards], NAME, right=False),
            Column("state", [board.phase or "has ended" for board in boards], 1, right=False),
            Column("core", [board.core for board in boards], 2, right=False),
            Column("port", ["" if one is None else str(one.port) for one in states], 3),
            Column(
                "memory\n(MiB)",
                [
                    f"{one.memory_kib >> 10:,} of {one.settings.memory_mib:,}" if one else ""
                    for one in states
                ],
                5,
            ),
            Column(
                "server", [one.settings.server if one else "" for one in states], 8, right=False
            ),
            Column(
                "link", [(one.settings.link or "") if one else "" for one in states], 6, right=False
            ),
            Column(
                "since",
                [
                    f"{one.since.astimezone():%Y-%m-%d %H:%M}" if one and one.since else ""
                    for one in states
                ],
                7,
                right=False,
            ),
            Column(
                "ends with",
                [(str(one.owner) if one.owner else "nobody") if one else "" for one in states],
                4,
                right=False,
            ),
        ],
        width,
    )


def left_table(left: Sequence[Left], width: int = 200) -> RenderableType:
    """What was left of emulated boards, a line each.

    Args:
        left: in order.
        width: columns that there are.
    """
    return fitted_table(
        [
            Column("board", [one.name for one in left], NAME, right=False),
            Column("what", [one.what for one in left], 1, right=False),
            Column("processes", [", ".join(map(str, one.pids)) or "none" for one in left], 2),
        ],
        width,
    )
