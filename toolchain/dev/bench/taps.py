"""Live taps: the part of a convolution's products whose input pixel is not a constant."""

from __future__ import annotations

import numpy as np

from toolchain.tflite_file.graph import Graph, Model, Operator
from toolchain.tflite_file.layers import Layer, Plane, find_layers

_SELECTS = ("SELECT_V2", "SELECT")


def live_taps(model: Model) -> dict[int, float]:
    """For each layer whose input comes right from another layer's mask, its share of live taps.

    Live are the taps of kept output pixels that read a kept pixel of the input; taps that read
    padding are left out of the share, as a dense convolution computes them like any other. Masks
    behind an addition are left out, so a runtime that sees through additions can save more.

    Returns:
        The layer's ``index`` to a share in (0, 1].
    """
    layers = find_layers(model)
    masks = {layer.index: layer.mask.kept for layer in layers if layer.mask}
    shares = {}
    for layer in layers:
        if layer.op != "CONV_2D" or layer.kernel == (1, 1):
            continue
        kept, begin = _source(model.graph, model.graph.operators[layer.index], masks)
        if kept is not None and (share := _share(layer, kept, begin)) is not None:
            shares[layer.index] = share
    return shares


def _source(
    graph: Graph, op: Operator, masks: dict[int, Plane]
) -> tuple[Plane | None, tuple[int, int]]:
    """The mask that a convolution's input has, and the padding in front of it, (top, left)."""
    begin = (0, 0)
    maker = graph.producers.get(op.inputs[0])
    if maker is not None and maker.op in ("PAD", "PADV2"):
        amounts = graph.tensors[maker.inputs[1]].data
        if amounts is None:
            return None, begin
        begin = (int(amounts[1][0]), int(amounts[2][0]))
        maker = graph.producers.get(maker.inputs[0])
    if maker is None or maker.op not in _SELECTS:
        return None, begin
    for index in maker.inputs:
        conv = graph.producers.get(index)
        if conv is not None and conv.index in masks:
            return masks[conv.index], begin
    return None, begin


def _share(layer: Layer, source: Plane, begin: tuple[int, int]) -> float | None:
    """The live share of the taps of kept output pixels; ``None`` for a layer without an output."""
    if layer.kernel is None or layer.stride is None or layer.dilation is None:
        return None
    height, width = layer.output_shape[1:3]
    outputs = layer.mask.kept if layer.mask else np.ones((height, width), np.bool_)
    if not outputs.any():
        return None
    if layer.padding == "SAME":
        tall, wide = ((k - 1) * d + 1 for k, d in zip(layer.kernel, layer.dilation, strict=True))
        begin = (
            _before(height, source.shape[0], layer.stride[0], tall),
            _before(width, source.shape[1], layer.stride[1], wide),
        )
    rows, columns = np.nonzero(outputs)
    live = taps = 0
    for ky in range(layer.kernel[0]):
        for kx in range(layer.kernel[1]):
            y = rows * layer.stride[0] - begin[0] + ky * layer.dilation[0]
            x = columns * layer.stride[1] - begin[1] + kx * layer.dilation[1]
            inside = (y >= 0) & (y < source.shape[0]) & (x >= 0) & (x < source.shape[1])
            live += int(source[y[inside], x[inside]].sum())
            taps += int(inside.sum())
    return live / taps


def _before(size: int, given: int, stride: int, side: int) -> int:
    """The padding in front of an axis of ``given`` pixels, as TensorFlow's SAME has it."""
    return max((size - 1) * stride + side - given, 0) // 2
