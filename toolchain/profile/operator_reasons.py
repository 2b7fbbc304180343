"""Why an operator misses its ideal: of counted instructions part by part, of times by rules.

What the ideal is says :mod:`toolchain.profile.operators`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from toolchain.profile.operators import LayerTrace, OperatorRow, Tile

GOAL = 0.95
"""An operator below this part of its ideal needs a reason."""
UNEXPLAINED = "UNEXPLAINED"
_TYPE = re.compile(r"^xnn_(f32|f16|qd8_\w+?|qs8_qc8w|qs8|qu8)_")
# Parts of a masked operator: what may stay unexplained, and what is too small to be told.
_SLACK = 0.01
_SMALL = 0.002


def reason(row: OperatorRow, layer: LayerTrace | None, total: float) -> str | None:
    """A sentence on why an operator misses its ideal, by rules; ``None`` where it does not.

    Each rule names a part of the gap, in instructions; what no rule names has to be less than a
    hundredth of the operator, else the sentence says that it is unexplained.

    Args:
        row: the operator.
        layer: where it is one with multiply-accumulates.
        total: instructions of the masked model, which parts are given as shares of.
    """
    if not row.masked:
        return None
    if not row.dense:
        return (
            "only the masked model has it, a change of layout "
            f"({row.masked / total:.2%} of the inference)"
        )
    if row.ideal / row.masked >= GOAL:
        return None
    gap = row.masked - row.ideal
    if row.kept is None or row.kept == row.pixels:
        fault = "not masked, and still more instructions than dense"
        if layer is not None and layer.masked:
            fault = "its mask is not skipped"
            if layer.fault:
                return f"{fault}: {layer.fault} ({gap / total:.2%} of the inference)"
        return f"{UNEXPLAINED}: {fault} ({gap / total:.2%} of the inference)"
    told: list[str] = []
    left = gap
    for text, part in _parts(row):
        if part > _SMALL * row.masked:
            told.append(f"{text} ({part / total:.2%} of the inference)")
            left -= part
    if left > _SLACK * row.masked:
        told.append(f"{UNEXPLAINED}: {left:,.0f} instructions more ({left / total:.2%})")
    return "; ".join(told)


def _parts(row: OperatorRow) -> Iterator[tuple[str, float]]:
    """What makes a masked convolution dearer than its ideal: sentences, and instructions each."""
    assert row.kept is not None  # noqa: S101 (the caller looked)
    share = row.ideal / row.dense
    in_dense, in_masked = row.dense - row.dense_outside, row.masked - row.masked_outside
    wanted = in_dense * share
    tile, dense_tile = row.masked_tile, row.dense_tile
    unskipped = wanted / row.live
    if in_masked > (wanted + unskipped) / 2 > wanted:
        yield "masked taps are computed", unskipped - wanted
        wanted = unskipped
    if tile and dense_tile:
        whole = wanted * _tile_factor(tile, dense_tile)
        if whole > wanted:
            yield _tiles(tile, dense_tile), whole - wanted
            wanted = whole
        if tile.ukernel != dense_tile.ukernel:
            yield _other_kernel(tile.ukernel, dense_tile.ukernel), in_masked - wanted
        elif row.kind.startswith("dw "):
            # A pixel takes as many instructions of one kernel in each call; the rest is calls.
            yield "more calls of the micro-kernel, for short runs of pixels", in_masked - wanted
    outside = row.masked_outside - row.dense_outside * share
    yield (
        f"outside of the micro-kernel {row.masked_outside / row.kept:.1f} instructions a kept "
        f"pixel, dense {row.dense_outside / (row.pixels or 1):.1f}",
        outside,
    )


def _tile_factor(tile: Tile, dense: Tile) -> float:
    """By how much rows that nobody wants make a kept pixel dearer than one of the dense model."""
    return tile.computed / dense.computed * dense.rows / tile.rows


def _tiles(tile: Tile, dense: Tile) -> str:
    sizes = f" (tiles of {dense.mr})" if tile.mr != dense.mr else ""
    return (
        f"tiles of {tile.mr}: {tile.computed} rows computed for {tile.rows} kept, dense "
        f"{dense.computed} for {dense.rows}{sizes}"
    )


def time_reason(
    row: OperatorRow, layer: LayerTrace | None, *, skipped: bool, planned: bool = False
) -> str | None:
    """Why an operator's time misses its ideal, as far as times tell; ``None`` where it does not.

    A time has no parts, as counted instructions have: what no rule names is called that.

    Args:
        row: the operator.
        layer: that it computes.
        skipped: whether the runtime skipped pixels of it.
        planned: whether the ideal is by plans, which have rows of tiles that nobody wants.
    """
    if not row.masked:
        return None
    if not row.dense:
        return "only this model has it, a change of layout" if not row.shape else None
    if row.ideal / row.masked >= GOAL:
        return None
    if not skipped:
        if layer is not None and layer.masked:
            return "its mask is not skipped" + (f": {layer.fault}" if layer.fault else "")
        return "the same work in both models: caches, or chance"
    told: list[str] = []
    tile, dense_tile = row.masked_tile, row.dense_tile
    wanted = row.ideal
    if tile and dense_tile and tile.rows:
        whole = row.ideal * (1.0 if planned else _tile_factor(tile, dense_tile))
        if whole - wanted > _SLACK * row.masked:
            told.append(_tiles(tile, dense_tile))
            wanted = whole
        if tile.ukernel != dense_tile.ukernel and row.masked - wanted > _SLACK * row.masked:
            told.append(_other_kernel(tile.ukernel, dense_tile.ukernel))
            wanted = row.masked
    if row.masked - wanted > (1 - GOAL) * row.masked:
        told.append("calls, moves or memory, which a time does not tell apart")
    return "; ".join(told)


def _other_kernel(own: str | None, dense: str | None) -> str:
    """What differs between two micro-kernels: ``igemm, dense gemm``, or their tiles as well."""
    parts = []
    for name in (own, dense):
        family, _, tile = (name or "unknown").partition("_ukernel_")
        kind = _TYPE.sub("", family.split("_minmax")[0]).replace("_", " ")
        parts.append((kind, tile))
    (kind, tile), (dense_kind, dense_tile) = parts
    if tile == dense_tile:
        return f"another micro-kernel: {kind}, dense {dense_kind}"
    return f"another micro-kernel: {kind} {tile}, dense {dense_kind} {dense_tile}"
