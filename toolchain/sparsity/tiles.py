"""Cutting masks to tiles: a tile costs the same however few of its pixels are kept."""

from __future__ import annotations

TILE_SHARE = 0.02
"""The largest share of a layer's pixels that rounding masks besides, unless told otherwise."""


def masked_to_tiles(
    masked: int, pixels: int, tile_rows: int, tile_share: float = TILE_SHARE
) -> int:
    """How many pixels to mask so that the kept ones fill their tiles.

    Args:
        masked: pixels that are masked without rounding.
        pixels: of the layer.
        tile_rows: pixels that a micro-kernel computes at once (MR).
        tile_share: round only where it masks at most this share of the layer's pixels more.

    Returns:
        ``masked`` itself where nothing is masked, where nothing would be kept, or where rounding
        would mask too many; else up to ``tile_rows - 1`` more.
    """
    over = (pixels - masked) % tile_rows
    fits = masked and pixels - masked > over and over <= tile_share * pixels
    return masked + over if fits else masked
