"""A masked model's operators beside the dense one's: instructions, the ideal, and why not reached.

The ideal of a convolution is its dense instructions times kept over all pixels, and where masked
taps are to be skipped too (two-sided), times the share of live taps; that of any other operator is
what it takes in the dense model. Operators that only the masked model has (a change of
layout) have nothing to be measured by: their ideal is 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from toolchain.bench.counts import ModelCount, OpCount
from toolchain.bench.taps import live_taps
from toolchain.errors import ModelError
from toolchain.model.graph import read_model
from toolchain.model.layers import Layer, find_layers
from toolchain.profile.runner_output import computes_any_rows

GOAL = 0.95
"""An operator below this part of its ideal needs a reason."""
UNEXPLAINED = "UNEXPLAINED"
# Layers that XNNPACK runs as one operator with multiply-accumulates, by how it calls them.
_COUNTED = ("Convolution", "Deconvolution", "Fully Connected", "Batch Matrix Multiply")
# Parts of a masked operator: what may stay unexplained, and what is too small to be told.
_SLACK = 0.01
_SMALL = 0.002


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Tile(_Part):
    """What a micro-kernel computes at once, and of how much."""

    ukernel: str | None
    mr: int
    rows: int
    """Pixels that are wanted."""

    @property
    def computed(self) -> int:
        """Rows of whole tiles."""
        if computes_any_rows(self.ukernel):
            return self.rows
        return math.ceil(self.rows / self.mr) * self.mr


class OperatorRow(_Part):
    """One operator of the two models."""

    index: int
    """Its place in the masked model, or where it would stand."""
    name: str
    """The layer's, else XNNPACK's name for the operator."""
    kind: str
    """``3x3``, ``3x3 s2``, ``dw 3x3``, ``1x1``, or XNNPACK's name for the operator."""
    shape: str
    """``64x56x56 -> 128x28x28``; empty where there is no layer."""
    macs: int
    pixels: int | None
    kept: int | None
    live: float
    """The share of its taps that are not constants; 1 unless two-sided skipping was asked for."""
    dense: int
    """Instructions; 0 where the dense model has no such operator."""
    masked: int
    """Instructions; 0 where the masked model has no such operator."""
    ideal: float
    dense_outside: int
    """Of ``dense``, outside of micro-kernels."""
    masked_outside: int
    dense_tile: Tile | None
    masked_tile: Tile | None
    reason: str | None
    """Why the ideal is not reached; ``None`` where 0.95 of it is."""

    @property
    def speedup(self) -> float | None:
        """Dense over masked instructions."""
        return self.dense / self.masked if self.dense and self.masked else None

    @property
    def of_ideal(self) -> float | None:
        """The ideal over the masked instructions: 1 is the ideal, more is better."""
        return self.ideal / self.masked if self.masked and self.dense else None


class OperatorTable(_Part):
    """All operators of two models, and their sums."""

    dense_model: str
    masked_model: str
    rows: list[OperatorRow]
    dense: int
    """Instructions of an inference, those outside of operators too."""
    masked: int
    macs: int
    macs_left: int
    """Those that no mask throws away, whether the runtime skips the others or not."""

    @property
    def speedup(self) -> float:
        """Dense over masked instructions of the whole inference."""
        return self.dense / self.masked

    @property
    def ideal(self) -> float:
        """Dense over remaining multiply-accumulates of the whole network."""
        return self.macs / self.macs_left

    @property
    def unexplained(self) -> list[OperatorRow]:
        """Operators below their ideal without a known reason."""
        return [row for row in self.rows if row.reason and row.reason.startswith(UNEXPLAINED)]


def compare_operators(
    dense: tuple[Path, ModelCount], masked: tuple[Path, ModelCount], *, two_sided: bool = False
) -> OperatorTable:
    """Put the operators of two models beside each other.

    Args:
        dense: the file and what was counted of it.
        masked: the same network with masks.
        two_sided: whether the ideal skips masked taps, too.

    Raises:
        ModelError: the two files are not the same network.
    """
    model = read_model(masked[0])
    dense_layers, masked_layers = find_layers(read_model(dense[0])), find_layers(model)
    live = live_taps(model) if two_sided else {}
    if [_form(layer) for layer in dense_layers] != [_form(layer) for layer in masked_layers]:
        raise ModelError(f"{dense[0]} and {masked[0]} are not the same network: layers differ")
    slots = zip(
        _slots(dense[1].ops, dense_layers, dense[0]),
        _slots(masked[1].ops, masked_layers, masked[0]),
        [*masked_layers, None],
        strict=True,
    )
    rows: list[OperatorRow] = []
    total = masked[1].instructions
    index = 0
    for (dense_between, dense_op), (masked_between, masked_op), layer in slots:
        for one, other in _aligned(dense_between, masked_between):
            rows.append(_row(index, one, other, None, 1.0, total))
            index += other is not None
        if layer is not None:
            share = live.get(layer.index, 1.0)
            rows.append(_row(index, dense_op, masked_op, layer, share, total))
            index += 1
    return OperatorTable(
        dense_model=dense[1].model,
        masked_model=masked[1].model,
        rows=rows,
        dense=dense[1].instructions,
        masked=masked[1].instructions,
        macs=sum(layer.macs for layer in masked_layers),
        macs_left=round(
            sum(
                (layer.macs - layer.macs_masked) * live.get(layer.index, 1.0)
                for layer in masked_layers
            )
        ),
    )


Slot = tuple[list[OpCount], OpCount | None]


def _slots(ops: Sequence[OpCount], layers: Sequence[Layer], path: Path) -> list[Slot]:
    """Each layer's operator with those that run before it; at the end those after the last one."""
    slots: list[Slot] = []
    between: list[OpCount] = []
    for op in ops:
        if op.type.startswith(_COUNTED) or op.type in _TFLITE_COUNTED:
            slots.append((between, op))
            between = []
        else:
            between.append(op)
    if len(slots) != len(layers):
        raise ModelError(
            f"{path}: {len(slots)} operators with multiply-accumulates ran, the file has "
            f"{len(layers)}"
        )
    return [*slots, (between, None)]


_TFLITE_COUNTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED",
                   "BATCH_MATMUL")  # fmt: skip


def _aligned(
    dense: Sequence[OpCount], masked: Sequence[OpCount]
) -> Iterable[tuple[OpCount | None, OpCount | None]]:
    """Pairs of equal type in order; what one side alone has is paired with ``None``."""
    matcher = SequenceMatcher(
        None, [op.type for op in dense], [op.type for op in masked], autojunk=False
    )
    for tag, a, b, c, d in matcher.get_opcodes():
        if tag == "equal":
            yield from zip(dense[a:b], masked[c:d], strict=True)
        else:
            yield from ((op, None) for op in dense[a:b])
            yield from ((None, op) for op in masked[c:d])


def _row(
    index: int,
    dense: OpCount | None,
    masked: OpCount | None,
    layer: Layer | None,
    live: float,
    total: int,
) -> OperatorRow:
    pixels = masked.pixels if masked else None
    kept = masked.kept if masked else None
    share = kept / pixels if kept is not None and pixels else 1.0
    row = OperatorRow(
        index=index,
        name=layer.name if layer else (masked or dense).type,  # type: ignore[union-attr]
        kind=_kind(layer) if layer else (masked or dense).type,  # type: ignore[union-attr]
        shape=_shape(layer) if layer else "",
        macs=layer.macs if layer else 0,
        pixels=pixels,
        kept=kept,
        live=live,
        dense=dense.instructions if dense else 0,
        masked=masked.instructions if masked else 0,
        ideal=dense.instructions * share * live if dense else 0.0,
        dense_outside=dense.instructions - dense.in_kernels if dense else 0,
        masked_outside=masked.instructions - masked.in_kernels if masked else 0,
        dense_tile=_tile(dense),
        masked_tile=_tile(masked),
        reason=None,
    )
    return row.model_copy(update={"reason": reason(row, layer, total)})


def _tile(op: OpCount | None) -> Tile | None:
    if op is None or not op.mr or op.kept is None:
        return None
    return Tile(ukernel=op.ukernel, mr=op.mr, rows=op.kept)


def reason(row: OperatorRow, layer: Layer | None, total: int) -> str | None:
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
        if layer is not None and layer.mask is not None:
            fault = "its mask is not skipped"
            if layer.mask.reason:
                return f"{fault}: {layer.mask.reason} ({gap / total:.2%} of the inference)"
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


def _parts(row: OperatorRow) -> Iterable[tuple[str, float]]:
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
        whole = in_dense * tile.computed / dense_tile.computed * (wanted / in_dense)
        whole *= dense_tile.rows / tile.rows
        if whole > wanted:
            sizes = f" (tiles of {dense_tile.mr})" if tile.mr != dense_tile.mr else ""
            yield (
                f"tiles of {tile.mr}: {tile.computed} rows computed for {tile.rows} kept, dense "
                f"{dense_tile.computed} for {dense_tile.rows}{sizes}",
                whole - wanted,
            )
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


def _other_kernel(own: str | None, dense: str | None) -> str:
    """What differs between two micro-kernels: ``igemm, dense gemm``, or their tiles as well."""
    parts = []
    for name in (own, dense):
        family, _, tile = (name or "unknown").partition("_ukernel_")
        parts.append((family.split("_minmax")[0].rpartition("_")[2], tile))
    (kind, tile), (dense_kind, dense_tile) = parts
    if tile == dense_tile:
        return f"another micro-kernel: {kind}, dense {dense_kind}"
    return f"another micro-kernel: {kind} {tile}, dense {dense_kind} {dense_tile}"


def _form(layer: Layer) -> tuple[object, ...]:
    return (layer.op, layer.kernel, layer.stride, layer.output_shape)


def _kind(layer: Layer) -> str:
    if not layer.kernel:
        return "fully connected" if layer.op == "FULLY_CONNECTED" else layer.op.lower()
    stride = f" s{layer.stride[0]}" if layer.stride and layer.stride != (1, 1) else ""
    depthwise = "dw " if layer.op == "DEPTHWISE_CONV_2D" else ""
    return f"{depthwise}{layer.kernel[0]}x{layer.kernel[1]}{stride}"


def _shape(layer: Layer) -> str:
    if not layer.kernel:
        return f"{layer.input_shape[-1]} -> {layer.output_shape[-1]}"
    _, height, width, channels = layer.output_shape
    return f"{layer.input_shape[3]} -> {channels}, {height}x{width}"
