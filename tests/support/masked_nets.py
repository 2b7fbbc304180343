"""Networks of several masked convolutions: drawn by hypothesis, written as a .tflite file.

Masks come from a few, so that neighbours share one and run on compact rows, or have two.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from hypothesis import strategies as st

from support.masks import MASK_KINDS, MaskKind, make_mask
from support.tflite_writer import Array, GraphWriter, Quantization, quantize

DType = Literal["float32", "float16_weights", "int8", "uint8"]
DTYPES: tuple[DType, ...] = ("float32", "float16_weights", "int8", "uint8")
Op = Literal[
    "convolution", "depthwise", "add", "concatenate", "max_pool", "hard_swish", "scale_channels",
    "gate",
]  # fmt: skip
"""``gate``: each channel times a factor that depends on the means of all channels, as
squeeze-and-excite has it."""
Form = Literal["select", "select_swapped", "scalar_fill", "multiply"]
Activation = Literal["relu", "relu6"]
Padding = Literal["SAME", "VALID"]
Shape = tuple[int, int, int]
"""Height, width, channels."""

QUANTIZED: dict[DType, tuple[Quantization, Quantization]] = {
    "int8": (Quantization((0.02,), 3), Quantization((0.031,), -11)),
    "uint8": (Quantization((0.02,), 131), Quantization((0.031,), 117)),
}
"""What the activations of a network may be quantised with."""


@dataclass(frozen=True)
class Mask:
    """Which pixels are kept; equal ones are one tensor in the file."""

    kind: MaskKind
    sparsity: float
    seed: int

    def pixels(self, size: tuple[int, int]) -> Array:
        """``[height, width]``, True where a pixel is kept."""
        return make_mask(self.kind, size, self.sparsity, np.random.default_rng(self.seed))


@dataclass(frozen=True)
class Step:
    """An operator and, behind a convolution, its mask."""

    op: Op
    inputs: tuple[int, ...]
    """Values: 0 is the network's input, i + 1 what step i makes."""
    shape: Shape
    """Of what it makes."""
    kernel: int = 1
    stride: int = 1
    padding: Padding = "SAME"
    activation: Activation | None = None
    mask: Mask | None = None
    form: Form = "select"
    palette: int = 0
    """Of quantised types: which of the two quantizations its output has."""

    @property
    def is_convolution(self) -> bool:
        """Whether it has filters and may have a mask."""
        return self.op in ("convolution", "depthwise")


@dataclass(frozen=True)
class Parameters:
    """The numbers of a step, as they are before they are quantised."""

    filters: Array
    """``[O, k, k, I]``, or ``[1, k, k, O]`` for a depthwise convolution."""
    bias: Array
    fill: Array
    """Of the pixels that are skipped; also the factors of ``scale_channels``."""


@dataclass(frozen=True)
class QuantizedFilters:
    """Filters and bias of a quantised convolution."""

    filters: Array
    filters_as: Quantization
    bias: Array
    bias_as: Quantization


@dataclass(frozen=True)
class Net:
    """A network."""

    batch: int
    shape: Shape
    """Of the input."""
    dtype: DType
    steps: tuple[Step, ...]
    outputs: tuple[int, ...]
    """Values."""
    seed: int

    @cached_property
    def shapes(self) -> tuple[Shape, ...]:
        """Of every value."""
        return (self.shape, *(step.shape for step in self.steps))

    @property
    def is_quantized(self) -> bool:
        """Whether its activations are integers."""
        return self.dtype in QUANTIZED

    def quantization(self, value: int) -> Quantization:
        """Of a value of a quantised network."""
        return QUANTIZED[self.dtype][self.steps[value - 1].palette if value else 0]

    def input(self) -> Array:
        """Random input."""
        x = np.random.default_rng([self.seed, 0]).uniform(-1, 1, (self.batch, *self.shape))
        return quantize(x, self.quantization(0), self.dtype) if self.is_quantized else f32(x)

    def parameters(self, number: int) -> Parameters:
        """Of step ``number``; with them values stay about as large as the input."""
        step = self.steps[number]
        rng = np.random.default_rng([self.seed, 1, number])
        channels = step.shape[2]
        shape: tuple[int, ...] = (channels, step.kernel, step.kernel)
        shape = (*shape, self.shapes[step.inputs[0]][2])
        if step.op == "depthwise":
            shape = (1, step.kernel, step.kernel, channels)
        taps = step.kernel**2 * shape[3] if step.op != "depthwise" else step.kernel**2
        filters = f32(rng.uniform(-1.7, 1.7, shape) / np.sqrt(taps))
        bias = f32(rng.uniform(-0.3, 0.3, channels))
        fill = f32(rng.uniform(-1.5, 1.5, channels))
        if step.form == "multiply":
            fill = np.zeros_like(fill)
        elif step.form == "scalar_fill":
            fill = np.full_like(fill, fill[0])
        if self.dtype == "float16_weights":
            filters, bias = f32(filters.astype(np.float16)), f32(bias.astype(np.float16))
        return Parameters(filters, bias, fill)

    def quantized_filters(self, number: int) -> QuantizedFilters:
        """Of step ``number`` of a quantised network: by channel if int8, else one scale for all."""
        step, parameters = self.steps[number], self.parameters(number)
        source = self.quantization(step.inputs[0])
        axis = 3 if step.op == "depthwise" else 0
        if self.dtype == "int8":
            others = tuple(i for i in range(4) if i != axis)
            largest = np.abs(parameters.filters).max(axis=others)
            filters_as = Quantization(tuple(map(float, f32(largest / 127))), 0, axis)
        else:
            largest = np.abs(parameters.filters).max()
            filters_as = Quantization((float(f32(largest / 120)),), 125)
        scales = f32(np.array(filters_as.scales)) * np.float32(source.scales[0])
        bias = np.rint(parameters.bias / scales).astype(np.int32)
        bias_as = Quantization(tuple(map(float, scales)))
        return QuantizedFilters(
            quantize(parameters.filters, filters_as, self.dtype), filters_as, bias, bias_as
        )

    def write(self, path: Path, metadata: dict[str, bytes] | None = None) -> Path:
        """The network as a .tflite file."""
        graph = GraphWriter()
        values = [self._value(graph, 0)]
        masks: dict[tuple[Mask, bool, tuple[int, int]], int] = {}
        for number, step in enumerate(self.steps):
            shape = (self.batch, *step.shape)
            sources = [values[i] for i in step.inputs]
            parameters = self.parameters(number)
            match step.op:
                case "convolution" | "depthwise":
                    output = self._convolution(graph, number, sources[0])
                case "add":
                    output = graph.add(sources[0], sources[1], shape)
                case "concatenate":
                    output = graph.concatenate(sources, shape)
                case "max_pool":
                    output = graph.max_pool(sources[0], step.kernel, shape)
                case "hard_swish":
                    output = graph.operator("HARD_SWISH", sources, shape)
                case "scale_channels":
                    factors = graph.constant(parameters.fill)
                    output = graph.multiply(sources[0], factors, shape)
                case "gate":
                    shape_of_one = (self.batch, 1, 1, step.shape[2])
                    mean = graph.mean_of_pixels(sources[0], shape_of_one)
                    filters, bias = self._stored(graph, number)
                    mixed = graph.conv_2d(mean, filters, bias, shape_of_one)
                    factors = graph.operator("LOGISTIC", [mixed], shape_of_one)
                    output = graph.multiply(sources[0], factors, shape)
            self._give_type(graph, output, number + 1)
            if step.mask is not None:
                mask = step.mask.pixels(step.shape[:2])[None, :, :, None]
                swapped = step.form == "select_swapped"
                key = (step.mask, swapped, step.shape[:2])
                if step.form == "multiply":
                    factors = graph.constant(f32(mask))
                    output = graph.multiply(output, factors, shape)
                else:
                    if key not in masks:
                        masks[key] = graph.constant(~mask if swapped else mask)
                    fill = self._fill(graph, number)
                    chosen, other = (fill, output) if swapped else (output, fill)
                    output = graph.select(masks[key], chosen, other, shape)
                self._give_type(graph, output, number + 1)
            values.append(output)
        outputs = [values[i] for i in self.outputs]
        return graph.write(path, [values[0]], outputs, metadata=metadata)

    def _value(self, graph: GraphWriter, value: int) -> int:
        shape = (self.batch, *self.shapes[value])
        if self.is_quantized:
            return graph.tensor(shape, self.dtype, self.quantization(value))
        return graph.tensor(shape)

    def _give_type(self, graph: GraphWriter, tensor: int, value: int) -> None:
        if self.is_quantized:
            graph.give_type(tensor, self.dtype, self.quantization(value))

    def _convolution(self, graph: GraphWriter, number: int, source: int) -> int:
        step = self.steps[number]
        filters, bias = self._stored(graph, number)
        return graph.conv_2d(
            source, filters, bias, (self.batch, *step.shape),
            stride=step.stride, padding=step.padding, activation=step.activation,
            depthwise=step.op == "depthwise",
        )  # fmt: skip

    def _stored(self, graph: GraphWriter, number: int) -> tuple[int, int]:
        """Filters and bias of a step."""
        if self.is_quantized:
            quantized = self.quantized_filters(number)
            return (
                graph.constant(quantized.filters, quantized.filters_as),
                graph.constant(quantized.bias, quantized.bias_as),
            )
        parameters = self.parameters(number)
        if self.dtype != "float16_weights":
            return graph.constant(parameters.filters), graph.constant(parameters.bias)
        filters, bias = (
            graph.dequantize(graph.constant(values.astype(np.float16)))
            for values in (parameters.filters, parameters.bias)
        )
        return filters, bias

    def _fill(self, graph: GraphWriter, number: int) -> int:
        fill = self.parameters(number).fill
        if self.steps[number].form == "scalar_fill":
            fill = fill[:1]
        if not self.is_quantized:
            return graph.constant(fill)
        quantization = self.quantization(number + 1)
        return graph.constant(quantize(fill, quantization, self.dtype), quantization)


def f32(values: Array) -> Array:
    """As float32."""
    return values.astype(np.float32)


# --- drawing ----------------------------------------------------------------------------------

_CHANNELS = (1, 2, 3, 5, 8, 8, 9, 16, 16, 24, 33)
_OPS: tuple[Op, ...] = (
    *(("convolution",) * 6), *(("depthwise",) * 2), "add", "add", "concatenate", "max_pool",
    "hard_swish", "scale_channels", "gate",
)  # fmt: skip


@st.composite
def masks(draw: st.DrawFn) -> Mask:
    """Any mask; often a lattice, as layers of a real network have it."""
    kind = draw(st.sampled_from(("lattice", "lattice", "random", *MASK_KINDS)))
    return Mask(kind, draw(st.sampled_from((0.2, 0.4, 0.5, 0.8))), draw(st.integers(0, 99)))


def networks(dtype: DType) -> st.SearchStrategy[Net]:
    """Any network, or one such as masks are used for."""
    return st.one_of(nets(dtype), lattice_chains(dtype))


@st.composite
def lattice_chains(draw: st.DrawFn, dtype: DType) -> Net:
    """What a masked ResNet is made of: 3x3 convolutions that read a lattice of pixels."""
    size = (draw(st.integers(5, 24)), draw(st.integers(5, 24)))
    first = Mask("lattice", draw(st.sampled_from((0.2, 0.4, 0.6, 0.8))), draw(st.integers(0, 9)))
    second = Mask("lattice", draw(st.sampled_from((0.2, 0.4, 0.6))), draw(st.integers(0, 9)))
    channels = draw(st.sampled_from((8, 12, 16, 24, 32, 40)))
    shape = (*size, channels)
    stride = draw(st.sampled_from((1, 1, 2)))
    last = (-(-size[0] // stride), -(-size[1] // stride), draw(st.sampled_from((8, 16, 20))))
    other = draw(st.sampled_from((None, first, first, second)))
    zero = dtype not in QUANTIZED and draw(st.booleans())
    form: Form = "multiply" if zero else "select"
    steps = [
        Step("convolution", (0,), shape, 3, mask=first, activation="relu"),
        Step("convolution", (1,), shape, 3, mask=first, activation="relu", form=form),
        Step("convolution", (2,), shape, 3, mask=other, palette=int(dtype in QUANTIZED)),
        Step("add", (1, 3), shape),
        Step("convolution", (4,), last, 3, stride, mask=draw(st.sampled_from((None, second)))),
    ]
    if dtype not in QUANTIZED and draw(st.integers(0, 3)) == 0:
        steps[3] = Step("gate", (3,), shape)
    return Net(
        batch=draw(st.sampled_from((1, 1, 3))),
        shape=(*size, draw(st.sampled_from((1, 3, 8, 16)))),
        dtype=dtype,
        steps=tuple(steps),
        outputs=(5,),
        seed=draw(st.integers(0, 2**32 - 1)),
    )


@st.composite
def nets(draw: st.DrawFn, dtype: DType, *, max_steps: int = 7) -> Net:
    """Any network of up to ``max_steps`` operators."""
    shape = (draw(st.integers(3, 13)), draw(st.integers(3, 13)), draw(st.sampled_from(_CHANNELS)))
    shapes: list[Shape] = [shape]
    steps: list[Step] = []
    palette = draw(st.lists(masks(), min_size=1, max_size=3))
    for _ in range(draw(st.integers(2, max_steps))):
        # Mostly the latest value: so networks get deep.
        latest = len(shapes) - 1
        source = draw(st.sampled_from((latest, latest, latest, draw(st.integers(0, latest)))))
        step = draw(_steps(dtype, shapes, steps, source, palette))
        steps.append(step)
        shapes.append(step.shape)
    read = {value for step in steps for value in step.inputs}
    unread = [value for value in range(1, len(shapes)) if value not in read]
    more = draw(st.lists(st.integers(1, len(steps)), max_size=1))
    return Net(
        batch=draw(st.sampled_from((1, 1, 2))),
        shape=shape,
        dtype=dtype,
        steps=tuple(steps),
        outputs=tuple(sorted({*unread, *more})),
        seed=draw(st.integers(0, 2**32 - 1)),
    )


@st.composite
def _steps(
    draw: st.DrawFn,
    dtype: DType,
    shapes: list[Shape],
    steps: list[Step],
    source: int,
    palette: list[Mask],
) -> Step:
    height, width, channels = shapes[source]
    quantized = dtype in QUANTIZED
    held = [0, *(step.palette for step in steps)]
    op = draw(st.sampled_from(_OPS))
    alike = [i for i in range(len(shapes)) if shapes[i] == shapes[source]]
    beside = [
        i for i in range(len(shapes))
        if shapes[i][:2] == (height, width) and held[i] == held[source]
    ]  # fmt: skip
    match op:
        case "add":
            other = draw(st.sampled_from(alike))
            return Step(op, (source, other), shapes[source], palette=held[source])
        case "concatenate":
            other = draw(st.sampled_from(beside))
            shape = (height, width, channels + shapes[other][2])
            if shape[2] <= 2 * max(_CHANNELS):
                return Step(op, (source, other), shape, palette=held[source])
        case "max_pool" if min(height, width) > 2:
            shape = (height - 1, width - 1, channels)
            return Step(op, (source,), shape, kernel=2, palette=held[source])
        case "hard_swish" | "scale_channels" | "gate" if not quantized:
            return Step(op, (source,), shapes[source])
        case _:
            pass

    depthwise = op == "depthwise"
    kernel = draw(st.sampled_from((3, 5) if depthwise else (1, 3, 3, 3, 5)))
    padding: Padding = draw(st.sampled_from(("SAME", "SAME", "SAME", "VALID")))
    if min(height, width) < kernel:
        padding = "SAME"
    stride = draw(st.sampled_from((1, 1, 1, 2)))
    sides = [
        -(-side // stride) if padding == "SAME" else (side - kernel) // stride + 1
        for side in (height, width)
    ]
    made = draw(st.sampled_from(_CHANNELS))
    forms: tuple[Form, ...] = ("select", "select", "select_swapped", "scalar_fill", "multiply")
    return Step(
        op="depthwise" if depthwise else "convolution",
        inputs=(source,),
        shape=(sides[0], sides[1], channels if depthwise else made),
        kernel=kernel,
        stride=stride,
        padding=padding,
        activation=draw(st.sampled_from((None, "relu", "relu6"))),
        mask=draw(st.sampled_from((None, *palette, *palette))),
        form=draw(st.sampled_from(forms[:4] if quantized else forms)),
        palette=draw(st.integers(0, 1)) if quantized else 0,
    )
