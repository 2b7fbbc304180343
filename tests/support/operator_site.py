"""Where an operator is put: a graph under construction, its values, and what is drawn for them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from support.tflite_writer import Array, GraphWriter, Quantization, quantize

DType = Literal["float32", "int8", "uint8"]
Shape = tuple[int, ...]
COPIES = (
    "CONCATENATION", "DEPTH_TO_SPACE", "MAX_POOL_2D", "PAD", "RESHAPE", "SELECT_V2", "SLICE",
    "SPACE_TO_DEPTH", "SPLIT", "STRIDED_SLICE", "TRANSPOSE",
)  # fmt: skip
"""Operators that compute nothing with quantised values."""
SUMS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "MUL", "SUM", "TRANSPOSE_CONV")
"""Operators that may make a step of their input larger."""
WHOLE = ("CEIL", "FLOOR", "QUANTIZE", "ROUND")
"""Operators where the last bit of an input may decide about a whole step."""
LARGEST = 6000
"""Elements of a tensor; what grows one (resizes, concatenations) leaves a larger one alone."""


@dataclass(frozen=True)
class Value:
    """A tensor of a graph, and what is known of its elements."""

    tensor: int
    shape: Shape
    quantization: Quantization | None = None
    dtype: DType = "float32"
    positive: bool = False
    """No element is below zero."""
    steps: int = 0
    """How many steps a quantised value may be off: each operator rounds in its own way."""
    slack: float = 0
    """What such rounding on the way may have added to a float."""

    @property
    def size(self) -> int:
        """Of elements."""
        return int(np.prod(self.shape))


@dataclass
class Site:
    """A graph under construction, and where what is drawn comes from."""

    graph: GraphWriter
    rng: np.random.Generator
    dtype: DType
    """Of values, unless an operator says otherwise."""
    float16_weights: bool = False
    masked: bool = True
    """Whether masked kinds have their masks."""
    taken: list[str] = field(default_factory=list)
    """The operators so far, in order."""

    # --- tensors ------------------------------------------------------------------------------

    def one_of(self, *choices: Any) -> Any:
        """Any of them."""
        return choices[int(self.rng.integers(len(choices)))]

    def below(self, limit: int) -> int:
        """A number from 0, below a limit."""
        return int(self.rng.integers(limit))

    def quantization(self, dtype: DType, factor: float = 1) -> Quantization | None:
        """Any; so that values a ``factor`` larger than the input's fit in."""
        if dtype == "float32":
            return None
        scale = float(np.float32(factor * self.rng.uniform(0.012, 0.03)))
        zero_point = int(self.rng.integers(-20, 21))
        return Quantization((scale,), zero_point + (128 if dtype == "uint8" else 0))

    def tensor(self, like: Value) -> int:
        """A tensor for a value."""
        return self.graph.tensor(like.shape, like.dtype, like.quantization)

    def floats(self, values: Array) -> int:
        """A float constant, stored as float16 where weights are."""
        if self.float16_weights:
            return self.graph.dequantize(self.graph.constant(values.astype(np.float16)))
        return self.graph.constant(values.astype(np.float32))

    def constant(self, values: Array, dtype: DType) -> tuple[int, Quantization | None]:
        """A constant of a value's type."""
        quantization = self.quantization(dtype)
        if quantization is None:
            return self.floats(values), None
        return self.graph.constant(
            quantize(values, quantization, dtype), quantization
        ), quantization

    # --- operators ----------------------------------------------------------------------------

    def put(
        self,
        name: str,
        inputs: list[int],
        made: Value,
        options: object | None = None,
    ) -> Value:
        """An operator with one output; ``made`` says of it what was true of its input."""
        if name not in COPIES and made.quantization is not None:
            made = replace(made, steps=self._steps(name, inputs, made))
        return self.put_all(name, inputs, [made], options)[0]

    def _steps(self, name: str, inputs: list[int], made: Value) -> int:
        """What the steps of the input come to in those of the output, and one more."""
        held = self.graph.quantization(inputs[2 if name == "TRANSPOSE_CONV" else 0])
        if made.quantization is None:
            return 0
        if held is None:
            return int(np.ceil(3 * made.slack / made.quantization.scales[0])) + 1
        gain = 2 if name in SUMS else 0.25 if name == "LOGISTIC" else 1
        operands = 2 if name in ("ADD", "MUL", "SUB") and inputs[0] == inputs[1] else 1
        ratio = operands * gain * held.scales[0] / made.quantization.scales[0]
        # TFLite's own kernel of RESIZE_BILINEAR rounds down, XNNPACK to the nearest.
        return int(np.ceil(made.steps * ratio - 1e-3)) + (2 if name == "RESIZE_BILINEAR" else 1)

    def put_all(
        self, name: str, inputs: list[int], made: list[Value], options: object | None = None
    ) -> list[Value]:
        """An operator; the tensors of what it makes are made here."""
        outputs = [replace(value, tensor=self.tensor(value)) for value in made]
        kind = None if options is None else type(options).__name__.removesuffix("T")
        tensors = [value.tensor for value in outputs]
        self.graph.operator_into(name, inputs, tensors, kind, options)
        self.taken.append(name)
        return outputs

    def integers(self, *values: Any) -> int:
        """An int32 constant of one axis, or of as many as the values have."""
        return self.graph.constant(np.array(values[0] if len(values) == 1 else values, np.int32))

    def reshaped(self, value: Value, shape: Shape) -> Value:
        """``RESHAPE``."""
        options = schema.ReshapeOptionsT()
        options.newShape = list(shape)
        made = replace(value, shape=shape)
        return self.put("RESHAPE", [value.tensor, self.integers(list(shape))], made, options)

    def filters(
        self,
        shape: Shape,
        taps: int,
        axis: int,
        source: Value,
        *,
        by_channel: bool,
        sparse: bool = False,
    ) -> tuple[int, int, float]:
        """Filters and a bias for a convolution: both tensors, and the largest scale of a sum.

        Args:
            shape: of the filters.
            taps: how many products a sum has.
            axis: of the filters: that of output channels.
            source: what they are multiplied with.
            by_channel: int8: a scale for each output channel.
            sparse: most are zeros, and stored as such.
        """
        filters = self.rng.uniform(-1.7, 1.7, shape) / np.sqrt(taps)
        bias = self.rng.uniform(-0.3, 0.3, shape[axis])
        if sparse:
            filters = filters * (self.rng.random(shape) < 0.2)
            filters.flat[0] = 1.7 / np.sqrt(taps)  # a buffer without a value is none
        held = source.quantization
        if held is None and sparse:
            dtype = np.float16 if self.float16_weights else np.float32
            stored = self.graph.sparse(filters.astype(dtype))
            if self.float16_weights:
                stored = self.graph.dequantize(stored)
            return stored, self.floats(bias), 0
        if held is None:
            return self.floats(filters), self.floats(bias), 0
        if source.dtype == "int8":
            others = tuple(i for i in range(len(shape)) if i != axis)
            largest = np.abs(filters).max(axis=others if by_channel else None) + 1e-3
            scales = tuple(map(float, np.atleast_1d(np.float32(largest / 127))))
            filters_as = Quantization(scales, 0, axis if by_channel else 0)
        else:
            largest = np.abs(filters).max()
            filters_as = Quantization((float(np.float32(largest / 120)),), 125)
        products = np.array(filters_as.scales, np.float32) * np.float32(held.scales[0])
        bias_as = Quantization(tuple(map(float, products)))
        add = self.graph.sparse if sparse else self.graph.constant
        stored = add(quantize(filters, filters_as, source.dtype), filters_as)
        sums = np.rint(bias / products).astype(np.int32)
        return stored, self.graph.constant(sums, bias_as), float(products.max())

    def activation(self) -> str | None:
        """What may be fused into an operator."""
        chosen: str | None = self.one_of(None, None, "relu", "relu6", "relu_n1_to_1")
        return chosen
