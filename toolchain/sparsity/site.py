"""What a policy for masks knows of a convolution, whichever framework it is of."""

from __future__ import annotations

from dataclasses import dataclass

Size = tuple[int, int]


@dataclass(frozen=True)
class Site:
    """A convolution as a policy sees it."""

    name: str
    size: Size
    """Height and width of its output."""
    image: Size
    """Height and width of the model's input."""
    target: float
    """The share of its pixels to mask in the end, in [0, 1)."""
