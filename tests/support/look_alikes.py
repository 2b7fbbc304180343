"""One convolution and what looks like its mask: some are skipped, others have to be left alone.

Drawn by hypothesis; each differs in one or two ways from the pair that is skipped.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from hypothesis import strategies as st

from support.tflite_writer import ACTIVATIONS, Array, GraphWriter, Quantization, quantize

CHOICES: dict[str, tuple[Any, ...]] = {
    "dtype": ("float32", "int8", "uint8"),
    "depthwise": (False, True),
    "activation": (None, "relu", "relu6", "relu_n1_to_1", "tanh"),
    "weights": ("constant", "fp16", "computed"),
    "bias": ("constant", "fp16", "computed"),
    "between": (None, "RELU", "LOGISTIC", "ABS", "ADD"),
    "form": ("select", "swapped", "old", "multiply", "multiply_swapped"),
    "mask_shape": ("plane", "row", "column", "three", "number", "channels", "each"),
    "kept": ("some", "all", "none"),
    "fill": ("channels", "vector", "number", "pixels", "computed", "fp16"),
    "factors": ("ones", "halves", "no zeros"),
    "fused": (None, "relu"),
    "reader": (None, "operator", "output"),
    "scales": ("equal", "fill", "output"),
}
"""What a look-alike is made of; the first of each is the pair that is skipped."""

# TensorFlow Lite wants a scale of its own for a quantised LOGISTIC, and has no ABS of uint8.
_FLOATS_ALONE = ("LOGISTIC", "ABS")
SHAPE = (1, 5, 6, 4)
_SCALE = 0.05


@dataclass(frozen=True)
class LookAlike:
    """A graph ``[1, 5, 6, 4] -> [1, 5, 6, 4]`` of one 3x3 convolution."""

    dtype: Literal["float32", "int8", "uint8"] = "float32"
    depthwise: bool = False
    activation: str | None = None
    weights: str = "constant"
    bias: str = "constant"
    between: str | None = None
    form: str = "select"
    mask_shape: str = "plane"
    kept: str = "some"
    fill: str = "channels"
    factors: str = "ones"
    fused: str | None = None
    """Into the mask's ``MUL``."""
    reader: str | None = None
    """Of the convolution's output, beside the mask."""
    scales: str = "equal"
    """Which of a quantised graph has one of its own."""
    seed: int = 0

    def write(self, path: Path) -> Path:
        """The graph as a file."""
        return _Writer(self).write(path)


@st.composite
def look_alikes(draw: st.DrawFn) -> LookAlike:
    """The pair that is skipped, changed in up to three ways."""
    made = LookAlike(seed=draw(st.integers(0, 1000)))
    names = draw(st.lists(st.sampled_from(sorted(CHOICES)), max_size=3, unique=True))
    made = replace(made, **{name: draw(st.sampled_from(CHOICES[name])) for name in names})
    if made.dtype != "float32" and made.between in _FLOATS_ALONE:
        made = replace(made, between="RELU")
    return made


class _Writer:
    def __init__(self, case: LookAlike) -> None:
        self._case = case
        self._graph = GraphWriter()
        self._rng = np.random.default_rng(case.seed)
        self._quantized = case.dtype != "float32"
        self._zero = 128 if case.dtype == "uint8" else 0

    def write(self, path: Path) -> Path:
        case, graph = self._case, self._graph
        x = graph.tensor(SHAPE, case.dtype, self._scale())
        conv = self._conv(x)
        other = x if case.between == "ADD" else None
        value = conv
        if case.between is not None:
            inputs = [conv] if other is None else [conv, other]
            options = ("AddOptions", schema.AddOptionsT()) if other is not None else (None, None)
            value = self._typed(graph.operator(case.between, inputs, SHAPE, *options))
        outputs = [self._mask(value)]
        if case.reader == "operator":
            outputs.append(self._typed(graph.operator("RELU", [conv], SHAPE)))
        elif case.reader == "output":
            outputs.append(conv)
        return graph.write(path, [x], outputs)

    def _scale(self, factor: float = 1.0) -> Quantization | None:
        return Quantization((_SCALE * factor,), self._zero) if self._quantized else None

    def _typed(self, tensor: int, factor: float = 1.0) -> int:
        if (scale := self._scale(factor)) is not None:
            self._graph.give_type(tensor, self._case.dtype, scale)
        return tensor

    def _random(self, *shape: int) -> Array:
        return self._rng.uniform(-1, 1, shape).astype(np.float32)

    def _conv(self, x: int) -> int:
        case, graph = self._case, self._graph
        filters = self._random(*((1, 3, 3, 4) if case.depthwise else (4, 3, 3, 4)))
        weights: int
        bias: int
        if case.dtype == "int8":
            own = Quantization((0.01,) * 4, 0, 3 if case.depthwise else 0)
            weights = graph.constant(quantize(filters, own, "int8"), own)
            sums = Quantization((0.01 * _SCALE,) * 4, 0, 0)
        elif case.dtype == "uint8":
            own = Quantization((0.01,), 128)
            weights = graph.constant(quantize(filters, own, "uint8"), own)
            sums = Quantization((0.01 * _SCALE,), 0)
        elif case.weights == "fp16":
            weights = graph.dequantize(graph.constant(filters.astype(np.float16)))
        else:
            weights = graph.constant(filters)
        if case.weights == "computed" and not self._quantized:
            weights = graph.operator("ABS", [weights], filters.shape)
        values = self._random(4)
        if self._quantized:
            bias = graph.constant(quantize(values, sums, "int32"), sums)
        elif case.bias == "fp16":
            bias = graph.dequantize(graph.constant(values.astype(np.float16)))
        else:
            bias = graph.constant(values)
        if case.bias == "computed" and not self._quantized:
            bias = graph.operator("ABS", [bias], (4,))
        conv = graph.conv_2d(
            x, weights, bias, SHAPE, activation=case.activation, depthwise=case.depthwise
        )
        return self._typed(conv)

    def _planes(self) -> Array:
        """Kept pixels, in the shape that the mask has."""
        case = self._case
        shape = {
            "plane": (1, 5, 6, 1), "row": (1, 1, 6, 1), "column": (1, 5, 1, 1), "three": (5, 6, 1),
            "number": (1, 1, 1, 1), "channels": (1, 1, 1, 4), "each": (1, 5, 6, 4),
        }[case.mask_shape]  # fmt: skip
        if case.kept != "some":
            return np.full(shape, case.kept == "all")
        found: Array = self._rng.random(shape) > 0.4
        return found

    def _mask(self, value: int) -> int:
        case, graph = self._case, self._graph
        kept = self._planes()
        if case.form.startswith("multiply"):
            factors = kept.astype(np.float32)
            if case.factors == "halves":
                factors = factors * np.float32(0.5)
            elif case.factors == "no zeros":
                factors = factors + np.float32(0.5)
            factor = graph.constant(factors)
            if (scale := self._scale()) is not None:
                factor = graph.constant(quantize(factors, scale, case.dtype), scale)
            options = schema.MulOptionsT()
            options.fusedActivationFunction = ACTIVATIONS[case.fused]
            inputs = [value, factor] if case.form == "multiply" else [factor, value]
            masked = graph.operator("MUL", inputs, SHAPE, "MulOptions", options)
            return self._typed(masked, 2.0 if case.scales == "output" else 1.0)
        fill = self._fill()
        condition = graph.constant(~kept if case.form == "swapped" else kept)
        chosen = [fill, value] if case.form == "swapped" else [value, fill]
        if case.form == "old":  # which repeats nothing
            condition = graph.constant(np.broadcast_to(kept, SHAPE).copy())
            same = self._random(*SHAPE)
            if (scale := self._scale()) is not None:
                same = quantize(same, scale, case.dtype)
            inputs = [condition, value, graph.constant(same, scale)]
            masked = graph.operator("SELECT", inputs, SHAPE)
        else:
            masked = graph.select(condition, chosen[0], chosen[1], SHAPE)
        return self._typed(masked, 2.0 if case.scales == "output" else 1.0)

    def _fill(self) -> int:
        case, graph = self._case, self._graph
        shape: tuple[int, ...] = {"vector": (4,), "number": (), "pixels": SHAPE}.get(
            case.fill, (1, 1, 1, 4)
        )
        values = self._random(*shape)
        scale = self._scale(2.0 if case.scales == "fill" else 1.0)
        if scale is not None:
            fill = graph.constant(quantize(values, scale, case.dtype), scale)
        elif case.fill == "fp16":
            fill = graph.dequantize(graph.constant(values.astype(np.float16)))
        else:
            fill = graph.constant(values)
        if case.fill == "computed":
            name = "RELU" if self._quantized else "ABS"
            fill = self._typed(
                graph.operator(name, [fill], shape), 2.0 if case.scales == "fill" else 1.0
            )
        return fill
