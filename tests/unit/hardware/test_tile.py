from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from toolchain.hardware.tile import Tile, Tiles

A53 = Tile(rows=6, columns=8, fewer_rows=(1, 4))
A72 = Tile(rows=4, columns=8)


@pytest.mark.parametrize(
    ("tile", "pixels", "rows"),
    [
        *((A72, pixels, 4) for pixels in (2, 3, 4, 5, 7, 49, 157, 12544)),
        (A72, 1, 1),
        (A53, 1, 1),
        (A53, 2, 4),  # 1 x (36 + 32) for four rows, 2 x (27 + 8) for one
        (A53, 4, 4),
        (A53, 5, 6),
        (A53, 7, 4),  # two tiles of four rows cost less than two of six
        (A53, 8, 4),
        (A53, 9, 6),
        (A53, 157, 6),
    ],
)
def test_few_pixels_may_get_a_lower_tile(tile: Tile, pixels: int, rows: int) -> None:
    assert tile.rows_for(pixels) == rows


@given(st.integers(1, 2000), st.sets(st.integers(1, 16), min_size=1), st.integers(1, 64))
def test_the_tile_is_one_of_the_core_and_an_exact_fit_is_taken(
    pixels: int, heights: set[int], columns: int
) -> None:
    *fewer, rows = sorted(heights)
    taken = Tile(rows=rows, columns=columns, fewer_rows=tuple(fewer)).rows_for(pixels)
    assert taken in heights
    if pixels in heights:
        assert taken == pixels


@pytest.mark.parametrize("fewer", [(4, 1), (1, 1), (6,), (1, 8), (0,)])
def test_lower_tiles_grow_and_are_lower(fewer: tuple[int, ...]) -> None:
    with pytest.raises(ValidationError):
        Tile(rows=6, columns=8, fewer_rows=fewer)


def test_each_type_has_its_tile_or_none() -> None:
    tiles = Tiles(rows=6, columns=8, int8=Tile(rows=4, columns=16))
    assert tiles.of("float32") is tiles
    assert tiles.of("int8") == Tile(rows=4, columns=16)
    for kind in ("uint8", "float16", "int16"):
        assert tiles.of(kind) is None
