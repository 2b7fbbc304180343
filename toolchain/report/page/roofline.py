"""What each layer does of what a core can do at most: the roofline model.

Williams, Waterman and Patterson, "Roofline: an insightful visual performance model for multicore
architectures", Communications of the ACM 52(4), 2009. Work is counted in multiply-accumulates; the
bytes are those that a layer has to move at least: its input and weights once, and the output that
is kept. What lies in a cache already is faster than memory, so that layers of small networks may
stand above the slope.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from toolchain.hardware.caches import LINE_BYTES
from toolchain.profile.operators import LayerTrace, timed_slots
from toolchain.profile.runner_output import Op
from toolchain.report.page.view import LayerRate, Roofline
from toolchain.timing.core_table import Arithmetic, arithmetic_of
from toolchain.timing.roof import Roof

_BYTES: Mapping[Arithmetic, int] = {"fp32": 4, "fp16": 2, "int8": 1}
Timed = tuple[str, Sequence[Op], Sequence[LayerTrace]]
"""A model's name, its operators with times, the remainder at their end, and its layers."""


def roofline(roof: Roof, models: Sequence[Timed]) -> tuple[Roofline | None, str | None]:
    """The layers of models under a roof; or why there is none, a sentence.

    Args:
        roof: of their core.
        models: whose layers were timed.
    """
    kinds = {arithmetic_of(op.type) for _, ops, _ in models for op in ops if op.macs_computed}
    if len(kinds) != 1:
        said = "The layers multiply several types, each of which has a peak of its own."
        return None, said if kinds else "The runtime does not tell what its layers compute."
    (kind,) = kinds
    peak = roof.peak(kind)
    if kind is None or peak is None:
        return None, f"The peak of {roof.table.name} for this type is not known here."
    points = [point for model in models for point in _points(*model, kind)]
    if not points:
        return None, "No layer took long enough to be timed."
    a_cycle = roof.table.peak[kind]
    return Roofline(
        core=roof.table.name,
        clock_mhz=roof.clock_mhz,
        threads=roof.threads,
        peak=peak,
        arithmetic=kind,
        bandwidth=LINE_BYTES / roof.line_ns * 1e9,
        sources=[
            f"Peak: {a_cycle} {kind} multiply-accumulates a cycle and core "
            f"(toolchain/timing/cores/{roof.core}.toml), at {roof.clock_mhz} MHz, "
            f"threads: {roof.threads}.",
            f"Memory: {LINE_BYTES} bytes in {roof.line_ns:.3g} ns ({roof.fitted}), which is fitted "
            "to times, not measured.",
        ],
        points=points,
    ), None


def _points(
    model: str, ops: Sequence[Op], layers: Sequence[LayerTrace], kind: Arithmetic
) -> Iterator[LayerRate]:
    for (_, operator), layer in zip(timed_slots(ops, layers) or [], layers, strict=False):
        op = operator.told if operator else None
        if op is None or not op.macs_computed or not op.median_us:
            continue
        yield LayerRate(
            model=model,
            layer=layer.name,
            intensity=op.macs_computed / bytes_moved(layer, op.kept, _BYTES[kind]),
            rate=op.macs_computed / op.median_us * 1e6,
        )


def bytes_moved(layer: LayerTrace, kept: int | None, size: int) -> int:
    """What a layer moves at least: input and weights once, and the output that is kept.

    Args:
        layer: with multiply-accumulates.
        kept: output pixels that are computed; all where that is not told.
        size: bytes of a number.
    """
    channels, images = layer.output_shape[-1], layer.output_shape[0]
    if layer.kernel is None:  # each weight is used once
        return size * (layer.macs // max(channels, 1) + layer.macs + channels)
    weights = layer.macs // max(images * layer.pixels, 1)
    # A window that is smaller than the stride leaves some of the input out.
    stride = layer.stride or (1, 1)
    read = math.prod(map(min, zip(stride, layer.kernel, strict=True)))
    inputs = weights // max(math.prod(layer.kernel) * channels, 1)
    if layer.op == "DEPTHWISE_CONV_2D":
        inputs = channels
    outputs = channels * (layer.pixels if kept is None else kept)
    return size * (images * (inputs * layer.pixels * read + outputs) + weights)
