"""The operators of two models beside each other: their layers, what they cost, and why.

The ideal of a convolution is what it costs in the dense model times what the runtime's plans
compute of it, masked over dense. Where plans are not known it is by pixels: times kept over all
pixels, and, where that is asked for, times the share of live taps. That of any other operator is
what it costs in the dense model. Operators that only the masked model has (a change of layout) have
nothing to be measured by: their ideal is 0. A cost is a count of instructions or a time.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from toolchain.profile.runner_output import REMAINDER, Op, computes_any_rows
from toolchain.tflite_file.layers import Layer

GOAL = 0.95
"""An operator below this part of its ideal needs a reason."""
UNEXPLAINED = "UNEXPLAINED"
# Layers that XNNPACK runs as one operator with multiply-accumulates, by how it calls them.
_COUNTED = ("Convolution", "Deconvolution", "Fully Connected", "Batch Matrix Multiply")
_TFLITE_COUNTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED",
                   "BATCH_MATMUL")  # fmt: skip
# Parts of a masked operator: what may stay unexplained, and what is too small to be told.
_TYPE = re.compile(r"^xnn_(f32|f16|qd8_\w+?|qs8_qc8w|qs8|qu8)_")
_SLACK = 0.01
_SMALL = 0.002


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LayerTrace(_Part):
    """What is kept of a layer of a file, so that operators can be named after it."""

    name: str
    op: str
    kind: str
    """``3x3``, ``3x3 s2``, ``dw 3x3``, ``1x1``, ``fully connected``."""
    shape: str
    """``64 -> 128, 28x28``: channels, and the output's height and width."""
    kernel: tuple[int, int] | None
    stride: tuple[int, int] | None
    output_shape: tuple[int, ...]
    macs: int
    macs_saved: int
    pixels: int
    """Output pixels of one image."""
    kept: int
    """Those that its mask keeps, whether the runtime skips the others or not."""
    masked: bool
    fault: str | None
    """Why its mask is not skipped."""

    @property
    def form(self) -> tuple[object, ...]:
        """What layers of the same network have in common."""
        return (self.op, self.kernel, self.stride, self.output_shape)


def trace(layer: Layer) -> LayerTrace:
    """What is kept of a layer."""
    return LayerTrace(
        name=layer.name,
        op=layer.op,
        kind=_kind(layer),
        shape=_shape(layer),
        kernel=layer.kernel,
        stride=layer.stride,
        output_shape=layer.output_shape,
        macs=layer.macs,
        macs_saved=layer.macs_saved,
        pixels=layer.pixels,
        kept=layer.kept,
        masked=layer.mask is not None,
        fault=layer.mask.reason if layer.mask else None,
    )


@dataclass(frozen=True)
class Operator:
    """An operator that ran, and what it cost."""

    type: str
    """XNNPACK's or TensorFlow Lite's name for it."""
    cost: int | float
    in_kernels: int | float
    """Of ``cost``; all of it where that is not known."""
    ukernel: str | None
    mr: int | None
    pixels: int | None
    kept: int | None
    told: Op | None = None
    """What the runner said of it, where that timed it."""


def timed(op: Op) -> Operator:
    """An operator as the runner timed it."""
    cost = op.median_us or 0.0
    return Operator(op.type, cost, cost, op.ukernel, op.mr, op.pixels, op.kept, op)


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
    """The layer's, else XNNPACK's name for the operator; beside times, with the layer before it."""
    kind: str
    """``3x3``, ``3x3 s2``, ``dw 3x3``, ``1x1``, or XNNPACK's name for the operator."""
    shape: str
    """``64x56x56 -> 128x28x28``; empty where there is no layer."""
    macs: int
    pixels: int | None
    kept: int | None
    live: float
    """The share of its taps that are not constants; 1 unless two-sided skipping was asked for."""
    dense: int | float
    """What it costs, instructions or microseconds; 0 where the dense model has no such operator."""
    masked: int | float
    """The same; 0 where the masked model has no such operator."""
    ideal: float
    """``dense`` by the share of pixels that are kept, and by ``live``."""
    dense_outside: int | float
    """Of ``dense``, outside of micro-kernels; 0 where that is not known, as of times."""
    masked_outside: int | float
    dense_tile: Tile | None
    masked_tile: Tile | None
    reason: str | None
    """Why the ideal is not reached; ``None`` where 0.95 of it is."""

    @property
    def speedup(self) -> float | None:
        """Dense over masked cost."""
        return self.dense / self.masked if self.dense and self.masked else None

    @property
    def of_ideal(self) -> float | None:
        """The ideal over the masked cost: 1 is the ideal, more is better."""
        return self.ideal / self.masked if self.masked and self.dense else None

    @property
    def lost(self) -> float:
        """What the ideal would have saved and the operator did not; below 0 if it saved more."""
        return self.masked - self.ideal

    @property
    def by_pixels(self) -> float | None:
        """The speed-up if cost were proportional to the pixels that are kept."""
        return self.pixels / self.kept if self.pixels and self.kept else None


class TimedRow(OperatorRow):
    """One operator by its time, in microseconds."""

    by_plan: float | None = None
    """Dense over masked multiply-accumulates as the runtime computes them, rows of tiles that
    nobody wants with them; ``None`` where that is not told. The ideal is then by it."""
    delegated: bool
    """Whether XNNPACK runs it."""
    dead_tap_share: float | None
    """Of the taps of kept pixels, those that are not computed either."""


Slot = tuple[list[Operator], Operator | None]


def slots(ops: Sequence[Operator], layers: int) -> list[Slot] | None:
    """Each layer's operator with those that run before it; at the end those after the last one.

    Args:
        ops: in the order of execution.
        layers: how many layers with multiply-accumulates the file has.

    Returns:
        ``None`` where as many operators with multiply-accumulates did not run.
    """
    found: list[Slot] = []
    between: list[Operator] = []
    for op in ops:
        if is_layer(op.type):
            found.append((between, op))
            between = []
        else:
            between.append(op)
    return [*found, (between, None)] if len(found) == layers else None


def timed_slots(ops: Sequence[Op] | None, layers: Sequence[LayerTrace]) -> list[Slot] | None:
    """As :func:`slots`, of operators as the runner timed them.

    Args:
        ops: what it says of each, the remainder at their end.
        layers: of the file.
    """
    return slots([timed(op) for op in ops or [] if op.type != REMAINDER], len(layers))


def pair(
    dense: Sequence[Slot], masked: Sequence[Slot], layers: Sequence[LayerTrace]
) -> Iterator[tuple[Operator | None, Operator | None, LayerTrace | None]]:
    """Operators of two models in the order of execution, with the layer where there is one.

    Args:
        dense: the slots of one model.
        masked: those of the other, of as many layers.
        layers: of the masked model.
    """
    for (before, own), (other_before, other), layer in zip(
        dense, masked, [*layers, None], strict=True
    ):
        yield from ((one, two, None) for one, two in _aligned(before, other_before))
        if layer is not None:
            yield own, other, layer


def _aligned(
    dense: Sequence[Operator], masked: Sequence[Operator]
) -> Iterator[tuple[Operator | None, Operator | None]]:
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


def operator_row(
    index: int,
    dense: Operator | None,
    masked: Operator | None,
    layer: LayerTrace | None,
    live: float = 1.0,
) -> OperatorRow:
    """One row, without a reason.

    Args:
        index: its place.
        dense: the operator of the dense model.
        masked: that of the masked one; one of the two is there.
        layer: that it computes.
        live: the share of its taps that an ideal has to compute.
    """
    pixels = masked.pixels if masked else None
    kept = masked.kept if masked else None
    share = kept / pixels if kept is not None and pixels else 1.0
    kind = (masked or dense).type  # type: ignore[union-attr]
    return OperatorRow(
        index=index,
        name=layer.name if layer else kind,
        kind=layer.kind if layer else kind,
        shape=layer.shape if layer else "",
        macs=layer.macs if layer else 0,
        pixels=pixels,
        kept=kept,
        live=live,
        dense=dense.cost if dense else 0,
        masked=masked.cost if masked else 0,
        ideal=dense.cost * share * live if dense else 0.0,
        dense_outside=dense.cost - dense.in_kernels if dense else 0,
        masked_outside=masked.cost - masked.in_kernels if masked else 0,
        dense_tile=_tile(dense),
        masked_tile=_tile(masked),
        reason=None,
    )


def _tile(op: Operator | None) -> Tile | None:
    if op is None or not op.mr or op.kept is None:
        return None
    return Tile(ukernel=op.ukernel, mr=op.mr, rows=op.kept)


class ToldRow(NamedTuple):
    """A row with what the runner said of the operators that it is of."""

    row: TimedRow
    dense: Op | None
    """``None`` where the dense model has no such operator, or there is none to compare with."""
    own: Op | None
    """``None`` where only the dense model has it."""


Timed = tuple[Sequence[Op], Sequence[LayerTrace]]
"""Operators of a model as the runner timed them, the remainder at their end; and its layers."""


def timed_rows(dense: Timed | None, own: Timed) -> list[TimedRow]:
    """The operators of a model in the order of execution, beside another form of it or alone.

    Args:
        dense: of the other model. A network of other layers is left out, and so is ``None``.
        own: of the model.
    """
    return [each.row for each in told_rows(dense, own)]


def told_rows(dense: Timed | None, own: Timed) -> list[ToldRow]:
    """As :func:`timed_rows`, each row with the operators themselves."""
    mine, layers = _slots_of(own)
    other, other_layers = _slots_of(dense) if dense is not None else (None, [])
    if mine is None:  # the layers are not to be told
        mine, layers = [([timed(op) for op in own[0] if op.type != REMAINDER], None)], []
        other = None
    beside = other is not None and [one.form for one in layers] == [
        one.form for one in other_layers
    ]
    if other is None or not beside:
        other = [([], None)] * len(mine)
    rows = []
    place = f"before {layers[0].name}" if layers else None
    for index, each in enumerate(pair(other, mine, layers)):
        row = _timed_row(index, *each, beside=beside)
        if (layer := each[2]) is not None:
            place = f"after {layer.name}"
        else:
            # "Binary Elementwise (ND)" is Binary: types and ways to compute take too much room.
            name = re.sub(r"( Elementwise)?( \(.*)?$", "", row.kind)
            row = row.model_copy(update={"name": f"{name} {place}" if place else name})
        rows.append(ToldRow(row, *(op.told if op else None for op in each[:2])))
    dense_rest, rest = [
        next((timed(op) for op in ops if op.type == REMAINDER), None)
        for ops in ((dense or own)[0], own[0])
    ]
    last = _timed_row(len(rows), dense_rest if beside else None, rest, None, beside=beside)
    last = last.model_copy(update={"name": "outside of operators", "kind": REMAINDER})
    told = dense_rest.told if beside and dense_rest else None
    return [*rows, ToldRow(last, told, rest.told if rest else None)]


def _slots_of(model: Timed) -> tuple[list[Slot] | None, Sequence[LayerTrace]]:
    ops, layers = model
    return timed_slots(ops, layers), layers


def _timed_row(
    index: int,
    dense: Operator | None,
    masked: Operator | None,
    layer: LayerTrace | None,
    *,
    beside: bool,
) -> TimedRow:
    row = operator_row(index, dense, masked, layer)
    told = masked.told if masked else None
    if layer is not None and layer.masked and layer.pixels:  # a mask that is not skipped counts
        share = layer.kept / layer.pixels
        mask = {"pixels": layer.pixels, "kept": layer.kept, "ideal": row.dense * share}
        row = row.model_copy(update=mask)
    skipped = told is not None and told.kept != told.pixels
    by_plan = None
    if skipped or layer is None or not layer.masked:
        by_plan = _by_plan(dense.told if dense else None, told)
    if by_plan is not None:
        row = row.model_copy(update={"ideal": row.dense / by_plan})
    return TimedRow(
        **{
            **dict(row),
            "by_plan": by_plan,
            "reason": time_reason(row, layer, skipped=skipped, planned=by_plan is not None)
            if beside
            else None,
            "delegated": told.delegated if told else True,
            "dead_tap_share": told.dead_tap_share if told else None,
        }
    )


def _by_plan(dense: Op | None, masked: Op | None) -> float | None:
    """Dense over masked multiply-accumulates, where the runtime tells both."""
    if dense is None or masked is None or not dense.macs_computed or not masked.macs_computed:
        return None
    return dense.macs_computed / masked.macs_computed


def macs_computed(ops: Sequence[Op] | None, layers: Sequence[LayerTrace]) -> int | None:
    """Multiply-accumulates of all layers, as the runtime says that it computes them.

    Args:
        ops: what the runner says of each operator, the remainder at their end.
        layers: of the file; one of another kernel's is computed whole.

    Returns:
        ``None`` where operators and layers do not match, or the runtime does not tell.
    """
    matched = timed_slots(ops, layers)
    if not ops or matched is None:
        return None
    told = [op for op in ops if is_layer(op.type)]
    if not any(op.macs_computed is not None for op in told):
        return None
    return sum(
        layer.macs if op.macs_computed is None else op.macs_computed
        for op, layer in zip(told, layers, strict=True)
    )


def live_share(ops: Sequence[Op] | None, layers: Sequence[LayerTrace]) -> float | None:
    """Of the multiply-accumulates that masks leave, the share that dead taps leave of them.

    Args:
        ops: what the runner says of each operator, the remainder at their end.
        layers: of the file.

    Returns:
        ``None`` where operators and layers do not match.
    """
    matched = timed_slots(ops, layers)
    if not ops or matched is None:
        return None
    shares = [op.dead_tap_share or 0.0 for op in ops if is_layer(op.type)]
    left = [layer.macs - layer.macs_saved for layer in layers]
    total = sum(left)
    dead = sum(macs * share for macs, share in zip(left, shares, strict=True))
    return 1 - dead / total if total else None


def is_layer(kind: str) -> bool:
    """Whether an operator of this type computes a layer with multiply-accumulates."""
    return kind.startswith(_COUNTED) or kind in _TFLITE_COUNTED


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
