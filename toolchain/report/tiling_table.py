"""The table of ``deploy inspect --board``: tiles and wasted rows of each layer."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.text import Text

from toolchain.report.fitting import NAME
from toolchain.report.layers import (
    heading,
    layer_table,
    operator_text,
    ratio_text,
    size_text,
    summary,
    unsupported_lines,
)
from toolchain.tflite_file.inspection import Inspection
from toolchain.tflite_file.layers import Layer
from toolchain.tflite_file.tiling import LayerTiles, Retraining, Tiling

_RANKS = {
    "layer": NAME,
    "op": 3,
    "output": 8,
    "path": 6,
    "tile": 4,
    "kept": 4,
    "tiles": 3,
    "wasted\nrows": 2,
    "dense\ntiles": 7,
    "by\npixels": 2,
    "by\ntiles": 1,
    "": 2,
}
"""The columns, and which of them give way first where there is little room: the highest."""
_TEXT = ("layer", "op", "output", "path", "tile")


def tiling_table(report: Inspection, tiling: Tiling, width: int = 200) -> RenderableType:
    """A line a layer, the sums, and what training could save.

    Args:
        report: of the file.
        tiling: of the same file, on a board.
        width: columns that there are; what does not fit into few of them is left out.
    """
    known = tiling.tiles is not None
    footers = {
        "layer": "total",
        "tiles": f"{tiling.tiles_masked:,}" if known else "",
        "wasted\nrows": f"{tiling.rows_wasted:,}" if known else "",
        "dense\ntiles": f"{tiling.tiles_dense:,}" if known else "",
        "by\npixels": ratio_text(tiling.speedup_by_pixels),
        "by\ntiles": ratio_text(tiling.speedup_by_tiles) if _all_known(tiling) else "",
    }
    reasons: dict[str, int] = {}
    rows = []
    for layer, tiles in zip(report.layers, tiling.layers, strict=True):
        cells = _cells(layer, tiles)
        if layer.mask and layer.mask.reason is not None:
            cells[""] = f"[{reasons.setdefault(layer.mask.reason, len(reasons) + 1)}]"
        rows.append(cells)
    table = layer_table(report, rows, _RANKS, footers, width, text=_TEXT)
    notes = [f"[{number}] not skipped: {reason}" for reason, number in reasons.items()]
    notes += tiling_notes(report, tiling)
    if report.no_plan is not None:
        notes.append(f"no plan, so pixels and tiles alone are counted: {report.no_plan}")
    more = unsupported_lines(report)
    return Group(heading(report), Text(), table, Text(), *map(Text, notes), *more)


def tiling_notes(report: Inspection, tiling: Tiling) -> Iterator[str]:
    """What to know about the table, a line each."""
    if tiling.tiles is None:
        yield (
            f"the tiles of board '{tiling.board}' are not known: give its file a [tile] table "
            "(docs/reference/board-files.md); deploy profile --per-op shows what the runtime takes "
            "there"
        )
    else:
        other = "" if tiling.source == tiling.board else f", as in board '{tiling.source}'"
        unknown = {
            layer.dtype
            for layer, tiles in zip(report.layers, tiling.layers, strict=True)
            if _unknown(tiles)
        }
        yield (
            f"tile: output pixels x channels that a micro-kernel computes at once on board "
            f"'{tiling.board}'{other}; DWCONV goes pixel by pixel"
        )
        if unknown:
            yield f"no tile is known there for {' and '.join(sorted(unknown))}"
        if tiling.rows_computed:
            share = tiling.rows_wasted / tiling.rows_computed
            computed = f"{tiling.rows_computed:,} rows"
            yield f"{tiling.rows_wasted:,} of {computed} that are computed ({share:.2%}) are wasted"
    yield summary(report).plain
    if tiling.retraining:
        yield _retraining(tiling.retraining, tiling)


def _retraining(found: Retraining, tiling: Tiling) -> str:
    setting = f"`[masks] tile_rows = {found.tile_rows}` in the recipe (docs/reference/recipes.md)"
    if not found.rows_saved:
        return f"retraining with {setting} would save no row"
    return (
        f"retraining with {setting} would save {found.rows_saved:,} of these rows, for "
        f"{_count(found.pixels_lost, 'kept pixel')} of {_count(found.layers, 'layer')}: "
        "speed-up by tiles "
        f"{ratio_text(tiling.speedup_by_tiles)} -> {ratio_text(found.speedup_by_tiles)}"
    )


def _cells(layer: Layer, tiles: LayerTiles) -> dict[str, str]:
    cells = dict.fromkeys(_RANKS, "")
    cells["layer"], cells["op"] = layer.name, operator_text(layer)
    cells["output"], cells["path"] = size_text(layer.output_shape), tiles.path or ""
    if tiles.path:
        cells["kept"] = f"{layer.kept}/{layer.pixels}" if layer.mask else f"{layer.pixels}"
    if tiles.masked and tiles.dense:
        cells["tile"] = f"{tiles.masked.mr}x{tiles.columns}"
        cells["tiles"] = f"{tiles.masked.tiles:,}"
        cells["wasted\nrows"] = f"{tiles.masked.wasted:,}"
        cells["dense\ntiles"] = f"{tiles.dense.tiles:,}"
    if layer.mask and layer.mask.skipped:
        cells["by\npixels"] = ratio_text(tiles.speedup_by_pixels)
        if not _unknown(tiles):
            cells["by\ntiles"] = ratio_text(tiles.speedup_by_tiles)
    return cells


def _unknown(tiles: LayerTiles) -> bool:
    return tiles.path in ("GEMM", "IGEMM") and tiles.masked is None


def _all_known(tiling: Tiling) -> bool:
    return not any(map(_unknown, tiling.layers))


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
