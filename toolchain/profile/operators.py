"""The operators of two models beside each other: their layers, and what they cost.

The ideal of a convolution is what it costs in the dense model times what the runtime's plans
compute of it, masked over dense. Where plans are not known it is by pixels: times kept over all
pixels, and, where that is asked for, times the share of live taps. That of any other operator is
what it costs in the dense model. Operators that only the masked model has (a change of layout) have
nothing to be measured by: their ideal is 0. A cost is a count of instructions or a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from pydantic import BaseModel, ConfigDict

from toolchain.profile.runner_output import REMAINDER, Op, computes_any_rows
from toolchain.tflite_file.layers import Layer

# Layers that XNNPACK runs as one operator with multiply-accumulates, by how it calls them.
_COUNTED = ("Convolution", "Deconvolution", "Fully Connected", "Batch Matrix Multiply")
_TFLITE_COUNTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED",
                   "BATCH_MATMUL", "Convolution2DTransposeBias")  # fmt: skip


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


def is_layer(kind: str) -> bool:
    """Whether an operator of this type computes a layer with multiply-accumulates."""
    return kind.startswith(_COUNTED) or kind in _TFLITE_COUNTED


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
