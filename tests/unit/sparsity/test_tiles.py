from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.sparsity.tiles import masked_to_tiles


@pytest.mark.parametrize(
    ("masked", "pixels", "tile_rows", "tile_share", "expected"),
    [
        (39, 196, 4, 0.02, 40),  # 157 kept become 156
        (40, 196, 4, 0.02, 40),
        (39, 196, 1, 0.02, 39),
        (10, 49, 4, 0.02, 10),  # three pixels are 6 % of the layer
        (10, 49, 4, 0.07, 13),
        (9, 50, 8, 0.02, 10),  # one pixel is 2 % of the layer, and no more
        (9, 50, 8, 0.0199, 9),
        (0, 49, 4, 1.0, 0),  # a layer without a mask gets none
        (46, 49, 4, 1.0, 46),  # something is kept
    ],
)
def test_kept_pixels_fill_their_tiles_where_that_masks_few_more(
    masked: int, pixels: int, tile_rows: int, tile_share: float, expected: int
) -> None:
    assert masked_to_tiles(masked, pixels, tile_rows, tile_share) == expected


@given(st.data(), st.integers(1, 500), st.integers(1, 16), st.floats(0, 1))
def test_rounding_masks_less_than_a_tile_more(
    data: st.DataObject, pixels: int, tile_rows: int, tile_share: float
) -> None:
    masked = data.draw(st.integers(0, pixels))
    rounded = masked_to_tiles(masked, pixels, tile_rows, tile_share)
    assert masked <= rounded < masked + tile_rows
    assert rounded - masked <= tile_share * pixels
    if rounded != masked:
        assert (pixels - rounded) % tile_rows == 0
        assert rounded < pixels
