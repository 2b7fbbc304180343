"""A masked model's operators beside the dense one's: instructions, the ideal, and why not reached.

The ideal of a convolution is its dense instructions times kept over all pixels; that of any other
operator is what it takes in the dense model. Operators that only the masked model has (a change of
layout) have nothing to be measured by: their ideal is 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from toolchain.bench.counts import ModelCount, OpCount
from toolchain.errors import ModelError
from toolchain.model.graph import read_model
from toolchain.model.layers import Layer, find_layers

GOAL = 0.95
"""An operator below this part of its ideal needs a reason."""
UNEXPLAINED = "UNEXPLAINED"
# Layers that XNNPACK runs as one operator with multiply-accumulates, by how it calls them.
_COUNTED = ("Convolution", "Deconvolution", "Fully Connected", "Batch Matrix Multiply")
# How much of an operator may be missing to a reason's own estimate.
_SLACK = 1.01
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
    """Those that the masks leave."""

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
    dense: tuple[Path, ModelCount], masked: tuple[Path, ModelCount]
) -> OperatorTable:
    """Put the operators of two models beside each other.

    Args:
        dense: the file and what was counted of it.
        masked: the same network with masks.

    Raises:
        ModelError: the two files are not the same network.
    """
    dense_layers, masked_layers = (find_layers(read_model(path)) for path, _ in (dense, masked))
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
            rows.append(_row(index, one, other, None, total))
            index += other is not None
        if layer is not None:
            rows.append(_row(index, dense_op, masked_op, layer, total))
            index += 1
    return OperatorTable(
        dense_model=dense[1].model,
        masked_model=masked[1].model,
        rows=rows,
        dense=dense[1].instructions,
        masked=masked[1].instructions,
        macs=sum(layer.macs for layer in masked_layers),
        macs_left=sum(layer.macs - layer.macs_saved for layer in masked_layers),
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
    index: int, dense: OpCount | None, masked: OpCount | None, layer: Layer | None, total: int
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
        dense=dense.instructions if dense else 0,
        masked=masked.instructions if masked else 0,
        ideal=dense.instructions * share if dense else 0.0,
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

    The rules are tried in order, and one holds only if what it names accounts for the whole gap.

    Args:
        row: the operator.
        layer: where it is one with multiply-accumulates.
        total: instructions of the masked model, to tell what is too small to matter.
    """
    if not row.masked:
        return None
    if not row.dense:
        return (
            f"only the masked model has it: a change of layout, {row.masked / total:.1%} of the "
            "inference"
        )
    if row.ideal / row.masked >= GOAL:
        return None
    gap = f"{(row.masked - row.ideal) / total:.2%} of the inference"
    tiles, kernels = row.masked_tile, row.masked - row.masked_outside
    wanted = row.ideal - row.dense_outside * row.ideal / row.dense  # inside micro-kernels
    if row.kept is None or row.kept == row.pixels:
        if layer is not None and layer.mask is not None and layer.mask.skipped:
            return f"{UNEXPLAINED}: the file has a mask that the runtime does not skip ({gap})"
        return f"{UNEXPLAINED}: not masked, and still more instructions than dense ({gap})"
    told: list[str] = []
    if tiles and row.dense_tile:
        rows = tiles.computed / row.dense_tile.computed
        if rows > row.ideal / row.dense * 1.002:
            told.append(
                f"tiles of {tiles.mr}: {tiles.computed} rows computed for {tiles.rows} kept, "
                f"dense {row.dense_tile.computed} for {row.dense_tile.rows}"
                + (f" (tiles of {row.dense_tile.mr})" if tiles.mr != row.dense_tile.mr else "")
            )
            wanted = max(wanted, (row.dense - row.dense_outside) * rows)
        if tiles.ukernel != row.dense_tile.ukernel and kernels > wanted * _SLACK:
            told.append(f"another micro-kernel than dense ({_short(tiles.ukernel)}, dense "
                        f"{_short(row.dense_tile.ukernel)})")  # fmt: skip
            wanted = kernels
    extra = row.masked_outside - row.dense_outside * row.ideal / row.dense
    if extra > _SMALL * row.masked:
        each = extra / row.kept
        told.append(
            f"{extra / row.masked:.1%} of its instructions are outside the micro-kernel beyond "
            f"dense: {each:.1f} a kept pixel, for moving rows and fills"
        )
        wanted += max(extra, 0.0)
    wanted += row.dense_outside * row.ideal / row.dense
    if row.masked <= wanted * _SLACK / GOAL and told:
        return "; ".join(told) + f" ({gap})"
    missing = (
        f"{row.masked - wanted:,.0f} instructions more than that accounts for" if told else gap
    )
    return "; ".join([*told, f"{UNEXPLAINED}: {missing}"])


def _short(ukernel: str | None) -> str:
    """``igemm 4x8__asm_aarch64_neonfma_cortex_a75`` of the whole name."""
    family, _, tile = (ukernel or "unknown").partition("_ukernel_")
    return f"{family.split('_minmax')[0].rpartition('_')[2]} {tile}".strip()


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
