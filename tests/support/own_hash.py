"""Names of folders in a board's store that no other process of the tests uses.

Boards of tests share one machine, and a board's cleaning leaves alone what any program there names.
"""

from __future__ import annotations

import secrets


def own_hash(first: str) -> str:
    """The 16 digits of a hash.

    Args:
        first: the first digit, by which they are sorted.
    """
    return first + secrets.token_hex(8)[1:]
