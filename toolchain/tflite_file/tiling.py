"""What the masks of a file save in the tiles of a board's core, as data.

A layer of P pixels of which K are kept takes ``ceil(K / MR)`` tiles of MR rows (output pixels). The
rows of the last tile that belong to no kept pixel are computed for nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from toolchain.hardware.tile import CoreTiles, Tile, Tiles
from toolchain.sparsity.tiles import TILE_SHARE, masked_to_tiles
from toolchain.tflite_file.layers import Layer

Path = Literal["GEMM", "IGEMM", "DWCONV"]
_TILED: tuple[Path | None, ...] = ("GEMM", "IGEMM")
_DWCONV_TAPS = 25
"""The largest kernel of XNNPACK's depthwise micro-kernels, ``src/configs/dwconv-config.c``."""


class _Report(BaseModel):
    model_config = ConfigDict(frozen=True)


class Rows(_Report):
    """So many pixels in tiles."""

    mr: int
    """Rows of a tile; may be less than the core's largest where there are few pixels."""
    tiles: int
    wasted: int
    """Rows that are computed and belong to none of the pixels."""

    @property
    def computed(self) -> int:
        """Rows of all tiles."""
        return self.tiles * self.mr


class LayerTiles(_Report):
    """One layer; :class:`toolchain.tflite_file.layers.Layer` has the rest."""

    index: int
    name: str
    path: Path | None
    """How XNNPACK computes it: ``GEMM`` (1x1, stride 1), ``IGEMM`` (any other convolution), or
    ``DWCONV``, pixel by pixel; ``None`` for what is no convolution."""
    columns: int | None
    """Channels of a tile (NR)."""
    dense: Rows | None
    """Without the mask; ``None`` where there is no tile or it is not known."""
    masked: Rows | None
    """With the mask, where the runtime skips it; else as ``dense``."""
    speedup_by_pixels: float | None
    """Dense over computed pixels; ``None`` if none are left."""
    speedup_by_tiles: float | None
    """Dense over computed rows, those for nothing included; as by pixels where there is no tile,
    ``None`` where it is not known."""


class Retraining(_Report):
    """What the same masks would save if training had cut them to tiles."""

    tile_rows: int
    """For ``[masks] tile_rows`` of a recipe."""
    tile_share: float
    """A layer is rounded where that masks at most this share of its pixels more."""
    layers: int
    """Masks of layers with tiles that would change."""
    rows_saved: int
    """Of those that are computed, over all layers."""
    pixels_lost: int
    """Kept pixels that would be masked for it."""
    speedup_by_tiles: float | None


class Tiling(_Report):
    """All layers of a file on one board."""

    board: str
    """The board's name."""
    source: str | None
    """Whose ``[tile]`` it is: the board's own, or that of a board with the same core; ``None``
    where it is not known."""
    tiles: Tiles | None
    layers: list[LayerTiles]
    """As in :attr:`toolchain.tflite_file.inspection.Inspection.layers`."""
    tiles_dense: int
    tiles_masked: int
    rows_computed: int
    """In tiles, with the masks."""
    rows_wasted: int
    """Of those, the ones that belong to no kept pixel."""
    speedup_by_pixels: float | None
    """Of the whole model, layers weighted by multiply-accumulates: the ideal speed-up."""
    speedup_by_tiles: float | None
    """``None`` where the tile of a layer is not known."""
    retraining: Retraining | None
    """``None`` where no layer has both a tile that is known and a mask that is skipped."""


def tile_layers(layers: Sequence[Layer], core: CoreTiles) -> Tiling:
    """Count the tiles of layers.

    Args:
        layers: as :func:`toolchain.tflite_file.layers.find_layers` finds them.
        core: of the board.
    """
    tiles = core.tiles
    reports = [_layer(layer, tiles) for layer in layers]
    masked = [report.masked for report in reports if report.masked]
    known = not any(report.path in _TILED and report.masked is None for report in reports)
    return Tiling(
        board=core.board,
        source=core.source,
        tiles=tiles,
        layers=reports,
        tiles_dense=sum(report.dense.tiles for report in reports if report.dense),
        tiles_masked=sum(rows.tiles for rows in masked),
        rows_computed=sum(rows.computed for rows in masked),
        rows_wasted=sum(rows.wasted for rows in masked),
        speedup_by_pixels=_speedup(layers, lambda layer: (layer.pixels, _computed(layer))),
        speedup_by_tiles=_speedup(layers, lambda layer: _rows(layer, tiles, _computed(layer)))
        if known
        else None,
        retraining=_retraining(layers, tiles) if known else None,
    )


def path_of(layer: Layer) -> Path | None:
    """The kind of micro-kernel that XNNPACK's ``create_convolution2d_nhwc`` chooses.

    A masked 1x1 convolution may go through ``IGEMM``; the tile is the same.
    """
    if layer.op not in ("CONV_2D", "DEPTHWISE_CONV_2D") or layer.kernel is None:
        return None
    if layer.op == "DEPTHWISE_CONV_2D" and layer.input_shape[3] == layer.output_shape[3]:
        taps = layer.kernel[0] * layer.kernel[1]
        if taps <= _DWCONV_TAPS and layer.input_shape[3] > 1:
            return "DWCONV"
    return "GEMM" if layer.kernel == layer.stride == (1, 1) else "IGEMM"


def _tile(layer: Layer, tiles: Tiles | None) -> Tile | None:
    return tiles.of(layer.dtype) if tiles and path_of(layer) in _TILED else None


def _computed(layer: Layer) -> int:
    """Pixels that the runtime computes."""
    return layer.kept if layer.mask and layer.mask.skipped else layer.pixels


def _in_tiles(pixels: int, tile: Tile) -> Rows:
    mr = tile.rows_for(pixels)
    count = -(-pixels // mr)
    return Rows(mr=mr, tiles=count, wasted=count * mr - pixels)


def _rows(layer: Layer, tiles: Tiles | None, kept: int) -> tuple[int, int]:
    """Rows of a dense layer, and of ``kept`` pixels; the pixels themselves where is no tile."""
    if (tile := _tile(layer, tiles)) is None:
        return layer.pixels, kept
    return _in_tiles(layer.pixels, tile).computed, _in_tiles(kept, tile).computed


def _layer(layer: Layer, tiles: Tiles | None) -> LayerTiles:
    computed, tile, path = _computed(layer), _tile(layer, tiles), path_of(layer)
    dense, masked = _rows(layer, tiles, computed)
    unknown = path in _TILED and tile is None
    return LayerTiles(
        index=layer.index,
        name=layer.name,
        path=path,
        columns=tile.columns if tile else None,
        dense=_in_tiles(layer.pixels, tile) if tile else None,
        masked=_in_tiles(computed, tile) if tile else None,
        speedup_by_pixels=layer.pixels / computed if computed else None,
        speedup_by_tiles=dense / masked if masked and not unknown else None,
    )


def _speedup(layers: Sequence[Layer], rows: Callable[[Layer], tuple[int, int]]) -> float | None:
    """Dense over masked rows, weighted by their multiply-accumulates; ``None`` if none remain."""
    dense = masked = 0.0
    for layer in layers:
        of_dense, of_masked = rows(layer)
        each = layer.macs / layer.pixels if layer.pixels else 0.0
        dense, masked = dense + each * of_dense, masked + each * of_masked
    return dense / masked if masked else None


def _retraining(layers: Sequence[Layer], tiles: Tiles | None) -> Retraining | None:
    masked = [(layer, _tile(layer, tiles)) for layer in layers if _computed(layer) < layer.pixels]
    tiled = [(layer, tile) for layer, tile in masked if tile]
    if not tiled:
        return None
    # A recipe has one number for all layers: that of the type which computes most.
    macs = Counter[int]()
    for layer, tile in tiled:
        macs[tile.rows] += layer.macs
    ((tile_rows, _),) = macs.most_common(1)
    kept = {
        layer.index: layer.pixels
        - masked_to_tiles(layer.pixels - layer.kept, layer.pixels, tile_rows)
        for layer, _ in tiled
    }
    return Retraining(
        tile_rows=tile_rows,
        tile_share=TILE_SHARE,
        layers=sum(kept[layer.index] != layer.kept for layer, _ in tiled),
        rows_saved=sum(
            _in_tiles(layer.kept, tile).computed - _in_tiles(kept[layer.index], tile).computed
            for layer, tile in tiled
        ),
        pixels_lost=sum(layer.kept - kept[layer.index] for layer, _ in tiled),
        speedup_by_tiles=_speedup(
            layers, lambda layer: _rows(layer, tiles, kept.get(layer.index, _computed(layer)))
        ),
    )
