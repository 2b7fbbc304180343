"""What lies on a board, as a table: a bundle or model a line, and the sum of them."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType

from toolchain.board.store import Stored
from toolchain.report.cache_table import age_text, size_text
from toolchain.report.fitting import FIRST, NAME, Column, fitted_table


def store_table(
    items: Sequence[Stored], board: str, width: int = 200, *, total: bool = True
) -> RenderableType:
    """Bundles and models on a board, a line each.

    Args:
        items: in order.
        board: what it is called.
        width: columns that there are.
        total: whether their sum stands below.
    """
    kinds = [item.kind.removesuffix("s") for item in items]
    names = [", ".join(item.names) or "a file that was cut" for item in items]
    hashes = [item.hash for item in items]
    sizes = [size_text(item.bytes) for item in items]
    ages = [age_text(item.age) for item in items]
    states = [f"in use: {item.used_by}" if item.used_by else "" for item in items]
    if total:
        count = len(items)
        for cells, last in (
            (kinds, "in all"), (names, f"{count} {'entry' if count == 1 else 'entries'}"),
            (hashes, ""), (sizes, size_text(sum(item.bytes for item in items))), (ages, ""),
            (states, ""),
        ):  # fmt: skip
            cells.append(last)
    return fitted_table(
        [
            Column("kind", kinds, 2, right=False),
            Column("files", names, NAME, right=False),
            Column("hash", hashes, 4, right=False),
            Column("size", sizes, FIRST),
            Column("last used", ages, 3),
            Column("state", states, 1, right=False),
        ],
        width,
        title=f"On {board}",
        boxed=False,
        bold_last=total,
    )
