"""How often Python looks for objects that only refer to each other."""

from __future__ import annotations

import gc

_NEW_OBJECTS = 10_000


def collect_seldom() -> None:
    """Have Python look for garbage after 10,000 new objects, not after 700.

    Importing PyTorch and rewriting a network make millions of objects that stay. By default a fifth
    of the processor time of a conversion goes into looking for garbage among them. It takes as much
    memory either way.
    """
    _, *older = gc.get_threshold()
    gc.set_threshold(_NEW_OBJECTS, *older)
