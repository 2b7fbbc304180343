"""What the cache holds, as a table: an entry a line, and the sum of them."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import RenderableType

from toolchain.report.fitting import FIRST, NAME, Column, fitted_table, shortened
from toolchain.storage.cache_content import Item

_LEAST, _OTHERS = 20, 42
"""Columns of a name at least, and of what stands beside it, without its state."""
_STEPS = ((86400 * 2, 86400, "days"), (3600 * 2, 3600, "hours"), (60 * 2, 60, "minutes"))


def cache_table(
    items: Sequence[Item], width: int = 200, *, title: str | None = None, total: bool = True
) -> RenderableType:
    """Entries of the cache, a line each.

    Args:
        items: in order.
        width: columns that there are.
        title: above it.
        total: whether their sum stands below.
    """
    now = time.time()
    kinds = [item.kind for item in items]
    sizes = [size_text(item.bytes) for item in items]
    ages = [age_text(now - item.last_used) for item in items]
    states = [_state(item) for item in items]
    room = width - _OTHERS - max(map(len, states), default=0)
    names = [shortened(item.short_name, max(_LEAST, room)) for item in items]
    if total:
        kinds.append("in all")
        count = len(items)
        names.append(f"{count} {'entry' if count == 1 else 'entries'}")
        sizes.append(size_text(sum(item.bytes for item in items)))
        ages.append("")
        states.append("")
    return fitted_table(
        [
            Column("kind", kinds, NAME, right=False),
            Column("entry", names, NAME, right=False),
            Column("size", sizes, FIRST),
            Column("last used", ages, 3),
            Column("state", states, 2, right=False),
        ],
        width,
        title=title,
        boxed=False,
        bold_last=total,
    )


def size_text(count: int) -> str:
    """Bytes in the largest unit that leaves a number of 1 or more."""
    size = float(count)
    for unit in ("B", "kB", "MB"):
        if size < 999.5:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def age_text(seconds: float) -> str:
    """How long ago something was, in the largest unit that there are two of."""
    for least, unit, name in _STEPS:
        if seconds >= least:
            return f"{seconds / unit:.0f} {name} ago"
    return "just now"


def _state(item: Item) -> str:
    if item.used_by:
        return f"in use: {item.used_by}"
    return "left by a killed program" if item.leftover else ""
