"""The tile of a core's micro-kernels: how many output pixels and channels are computed at once.

A micro-kernel computes MR pixels by NR channels. The last tile of a layer costs as much as a full
one, however few of its pixels are wanted.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Side = Annotated[int, Field(ge=1, le=64)]


class Tile(BaseModel):
    """The tile of convolutions (all but depthwise ones) of one type."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rows: Side
    """Output pixels that a micro-kernel computes at once (MR)."""
    columns: Side
    """Output channels that it computes at once (NR)."""
    fewer_rows: tuple[Side, ...] = (1,)
    """MR of further micro-kernels, in growing order. One is taken where it costs less."""

    @model_validator(mode="after")
    def _fewer_are_fewer(self) -> Self:
        heights = (*self.fewer_rows, self.rows)
        if any(low >= high for low, high in pairwise(heights)):
            raise ValueError(
                f"fewer_rows are to grow and to be below rows, {self.rows}: {list(self.fewer_rows)}"
            )
        return self

    def rows_for(self, pixels: int) -> int:
        """The MR that the runtime takes for so many pixels.

        ``xnn_get_heuristic_mr_gemm`` of XNNPACK's ``src/operator-utils.c``: a tile is counted as
        ``3 * (MR + NR)`` for loads and ``MR * NR`` for products, and of equal sums the larger MR
        is taken.
        """
        heights = (*self.fewer_rows, self.rows)
        if pixels in heights:
            return pixels
        return min(
            heights,
            key=lambda mr: (-(-pixels // mr) * (3 * (mr + self.columns) + mr * self.columns), -mr),
        )


class Tiles(Tile):
    """The tiles of a core: fp32, and where they are known those of other types."""

    int8: Tile | None = None
    """Signed, with one scale for all channels or one for each (QS8)."""
    uint8: Tile | None = None
    """Unsigned (QU8)."""
    fp16: Tile | None = None
    """On a core with arithmetic in half precision."""

    def of(self, dtype: str) -> Tile | None:
        """The tile of a type as :class:`toolchain.tflite_file.layers.Layer` names it."""
        known = {"float32": self, "int8": self.int8, "uint8": self.uint8, "float16": self.fp16}
        return known.get(dtype)


@dataclass(frozen=True)
class CoreTiles:
    """What is known of the tiles of a board."""

    board: str
    """Its name."""
    tiles: Tiles | None
    """``None`` where they are not known."""
    source: str | None
    """Name of the board whose file says so; another one with the same core where its own does
    not."""
