"""Masks that are for measuring: a file's metadata says so, and every command repeats it.

``deploy mask`` lays masks on a file that was trained without. Such a copy has the time of a masked
network, and not its accuracy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # who reads a history needs no numpy
    from toolchain.tflite_file.graph import Model

UNTRAINED = "tileskip.untrained_masks"
"""The entry of the metadata that is the mark. Its buffer holds JSON: how the masks were drawn."""
MARK = "not trained"
"""What stands behind the name of such a model in tables."""


def is_untrained(model: Model) -> bool:
    """Whether a file has masks that no training knew of, as its metadata says."""
    return UNTRAINED in model.metadata


def marked(name: str, *, untrained: bool) -> str:
    """A model's name as tables have it, with the mark where the file has it."""
    return f"{name} ({MARK})" if untrained else name


def warning(name: object) -> str:
    """The sentence about such a file.

    Args:
        name: what it is called.
    """
    return f"{name}: its masks are for measuring: not trained, so its outputs are not to be used"
