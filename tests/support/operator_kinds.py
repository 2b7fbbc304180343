"""Every operator that the delegate takes, each a function that puts it behind a value of a graph.

A kind draws what the operator has of its own (kernel, stride, axis, second operand, activation)
and gives the value that it makes. Values stay about as large as the input, whatever follows what.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from support.masks import make_mask
from support.operator_site import LARGEST, WHOLE, DType, Shape, Site, Value
from support.tflite_writer import ACTIVATIONS, Quantization, quantize

FLOAT: tuple[DType, ...] = ("float32",)
ALL: tuple[DType, ...] = ("float32", "int8", "uint8")
Apply = Callable[[Site, Value], Value]


@dataclass(frozen=True)
class Kind:
    """An operator, or one under a mask."""

    name: str
    """Of the operator in a file; ``masked CONV_2D`` for one under a mask."""
    types: tuple[DType, ...]
    """Of values that the delegate takes."""
    apply: Apply
    rank: int | None = None
    """How many axes its input has; ``None``: any number."""
    of_positive: bool = False
    """Of a negative number it makes none."""

    @property
    def operator(self) -> str:
        """In a file."""
        return self.name.split()[-1]


# --- one operand -------------------------------------------------------------------------------


def _elementwise(name: str, options: str | None = None, *, positive: bool = False) -> Apply:
    """A function of each element."""

    def apply(site: Site, x: Value) -> Value:
        chosen: Any = getattr(schema, f"{options}T")() if options else None
        if name == "LEAKY_RELU":
            chosen.alpha = float(np.float32(site.rng.uniform(0.05, 0.6)))
        # TFLite gives these two one quantization, all others any.
        fixed = {
            ("LOGISTIC", "int8"): Quantization((1 / 256,), -128),
            ("LOGISTIC", "uint8"): Quantization((1 / 256,), 0),
            ("TANH", "int8"): Quantization((1 / 128,), 0),
            ("TANH", "uint8"): Quantization((1 / 128,), 128),
        }
        held = fixed.get((name, x.dtype)) or site.quantization(x.dtype)
        made = replace(
            x,
            quantization=held,
            positive=positive or (x.positive and name not in ("NEG",)),
            slack=max(x.slack, 1.5) if x.slack and name in WHOLE else x.slack,
        )
        return site.put(name, [x.tensor], made, chosen)

    return apply


def _relu(name: str) -> Apply:
    def apply(site: Site, x: Value) -> Value:
        made = replace(x, positive=x.positive or name != "RELU_N1_TO_1")
        return site.put(name, [x.tensor], made)

    return apply


def _softmax(site: Site, x: Value) -> Value:
    options = schema.SoftmaxOptionsT()
    options.beta = 1.0
    return site.put("SOFTMAX", [x.tensor], replace(x, positive=True), options)


def _quantize(site: Site, x: Value) -> Value:
    dtype: DType = site.one_of("int8", "uint8") if site.dtype == "float32" else site.dtype
    if x.dtype != "float32":
        dtype = x.dtype
    held = site.quantization(dtype)
    made = replace(x, dtype=dtype, quantization=held, positive=False, slack=x.slack)
    return site.put("QUANTIZE", [x.tensor], made, schema.QuantizeOptionsT())


def _dequantize(site: Site, x: Value) -> Value:
    held = x.quantization
    slack = 0 if held is None else 1.01 * x.steps * held.scales[0]
    made = replace(x, dtype="float32", quantization=None, positive=False, steps=0, slack=slack)
    return site.put("DEQUANTIZE", [x.tensor], made, schema.DequantizeOptionsT())


# --- two operands ------------------------------------------------------------------------------


def _binary(name: str, options: str | None, *, fused: bool = False) -> Apply:
    def apply(site: Site, x: Value) -> Value:
        chosen: Any = getattr(schema, f"{options}T")() if options else None
        activation = site.activation() if fused else None
        if fused:
            chosen.fusedActivationFunction = ACTIVATIONS[activation]
        other, swapped = _operand(site, x, divisor=name == "DIV")
        operands = [other, x.tensor] if swapped and name != "DIV" else [x.tensor, other]
        shape = np.broadcast_shapes(x.shape, site.graph.shape(other))
        positive = activation in ("relu", "relu6") or name == "SQUARED_DIFFERENCE"
        made = replace(
            x, shape=shape, quantization=site.quantization(x.dtype), positive=positive,
        )  # fmt: skip
        return site.put(name, operands, made, chosen)

    return apply


def _operand(site: Site, x: Value, *, divisor: bool) -> tuple[int, bool]:
    """The second operand, and whether it comes first: the same value, or any constant that fits."""
    if not divisor and site.below(5) == 0:
        return x.tensor, False
    shapes: list[Shape] = [x.shape, x.shape[-1:], (1,), tuple(1 for _ in x.shape)]
    if len(x.shape) == 4:
        shapes += [(x.shape[0], 1, 1, x.shape[3]), (1, *x.shape[1:3], 1), x.shape[1:]]
    if x.dtype == "float32":
        shapes.append(())
    shape = shapes[site.below(len(shapes))]
    values = site.rng.uniform(0.5, 1.5, shape) if divisor else site.rng.uniform(-1.2, 1.2, shape)
    return site.constant(np.asarray(values), x.dtype)[0], bool(site.below(2))


def _prelu(site: Site, x: Value) -> Value:
    leading = site.below(2) * (len(x.shape) - 1)
    slopes = site.rng.uniform(-0.5, 0.8, (*([1] * leading), x.shape[-1]))
    made = replace(x, positive=False)
    return site.put("PRELU", [x.tensor, site.floats(slopes)], made)


# --- shapes ------------------------------------------------------------------------------------


def _reshape(site: Site, x: Value) -> Value:
    shapes: list[Shape] = [(x.size,), (x.shape[0], x.size // x.shape[0])]
    if len(x.shape) == 4:
        batch, height, width, channels = x.shape
        shapes += [
            (batch, height * width, channels), (batch, width, height, channels),
            (batch, 1, height * width, channels), (batch * height, width, channels, 1),
        ]  # fmt: skip
    return site.reshaped(x, shapes[site.below(len(shapes))])


def _transpose(site: Site, x: Value) -> Value:
    order = [int(i) for i in site.rng.permutation(len(x.shape))]
    made = replace(x, shape=tuple(x.shape[i] for i in order))
    inputs = [x.tensor, site.integers(order)]
    return site.put("TRANSPOSE", inputs, made, schema.TransposeOptionsT())


def _pad(site: Site, x: Value) -> Value:
    # Often of pixels alone, which XNNPACK fuses into a convolution behind it.
    spatial = len(x.shape) == 4 and bool(site.below(2))
    pads = [
        [0, 0] if (spatial and i in (0, 3)) or x.size > LARGEST else [site.below(3), site.below(3)]
        for i in range(len(x.shape))
    ]
    shape = tuple(n + a + b for n, (a, b) in zip(x.shape, pads, strict=True))
    made = replace(x, shape=shape)
    return site.put("PAD", [x.tensor, site.integers(pads)], made, schema.PadOptionsT())


def _window(site: Site, x: Value) -> list[tuple[int, int]]:
    """A start and a size for each axis."""
    window = []
    for n in x.shape:
        start = site.below(n) if n > 1 and site.below(2) else 0
        window.append((start, 1 + site.below(n - start)))
    return window


def _slice(site: Site, x: Value) -> Value:
    window = _window(site, x)
    sizes = [-1 if a + n == whole and site.below(2) else n
             for (a, n), whole in zip(window, x.shape, strict=True)]  # fmt: skip
    made = replace(x, shape=tuple(n for _, n in window))
    inputs = [x.tensor, site.integers([a for a, _ in window]), site.integers(sizes)]
    return site.put("SLICE", inputs, made, schema.SliceOptionsT())


def _strided_slice(site: Site, x: Value) -> Value:
    options = schema.StridedSliceOptionsT()
    options.beginMask = options.endMask = 0
    begins, ends = [], []
    window = _window(site, x)
    for axis, ((start, n), whole) in enumerate(zip(window, x.shape, strict=True)):
        begins.append(start if site.below(2) else start - whole)
        end = start + n
        if end == whole:
            # To the end: in numbers, by the mask, by one too large.
            ends.append(site.one_of(end, 2**31 - 1, end + 3, 0))
            options.endMask |= (1 << axis) if ends[-1] == 0 else 0
        else:
            ends.append(end if site.below(2) else end - whole)
        if start == 0 and site.below(2):
            options.beginMask |= 1 << axis
    options.ellipsisMask = options.newAxisMask = options.shrinkAxisMask = 0
    made = replace(x, shape=tuple(n for _, n in window))
    ones = site.integers([1] * len(x.shape))
    inputs = [x.tensor, site.integers(begins), site.integers(ends), ones]
    return site.put("STRIDED_SLICE", inputs, made, options)


def _split(site: Site, x: Value) -> Value:
    """And one of the parts goes on; or two of them do, added."""
    choices = [(axis, n) for axis, size in enumerate(x.shape) for n in (2, 3, 4) if size % n == 0]
    if not choices:
        x = _concatenate_with_itself(site, x, len(x.shape) - 1)
        choices = [(len(x.shape) - 1, 2)]
    axis, count = choices[site.below(len(choices))]
    options = schema.SplitOptionsT()
    options.numSplits = count
    shape = tuple(n // count if i == axis else n for i, n in enumerate(x.shape))
    written = axis - len(x.shape) if site.below(2) else axis
    inputs = [site.graph.constant(np.array(written, np.int32)), x.tensor]
    parts = site.put_all("SPLIT", inputs, [replace(x, shape=shape)] * count, options)
    if site.below(2):
        return parts[site.below(count)]
    made = replace(parts[0], quantization=site.quantization(x.dtype), positive=False)
    return site.put("ADD", [parts[-1].tensor, parts[0].tensor], made, schema.AddOptionsT())


def _concatenate(site: Site, x: Value) -> Value:
    if x.size > LARGEST:
        return site.put("CONCATENATION", *_joined(x, [x], 0))
    axis = site.below(len(x.shape))
    sources = [x]
    for _ in range(1 + site.below(3)):
        if site.below(2):
            sources.append(x)
            continue
        shape = tuple(1 + site.below(3) if i == axis else n for i, n in enumerate(x.shape))
        values = site.rng.uniform(-1, 1, shape)
        if x.quantization is None:
            tensor = site.floats(values)
        else:
            tensor = site.graph.constant(quantize(values, x.quantization, x.dtype), x.quantization)
        sources.append(replace(x, tensor=tensor, shape=shape, positive=False))
    order = [int(i) for i in site.rng.permutation(len(sources))]
    return site.put("CONCATENATION", *_joined(x, [sources[i] for i in order], axis))


def _concatenate_with_itself(site: Site, x: Value, axis: int) -> Value:
    return site.put("CONCATENATION", *_joined(x, [x, x], axis))


def _joined(x: Value, sources: list[Value], axis: int) -> tuple[list[int], Value, object]:
    if len(sources) == 1:  # the delegate takes from two to four
        sources = [x, replace(x, shape=x.shape)]
    options = schema.ConcatenationOptionsT()
    options.axis = axis
    total = sum(source.shape[axis] for source in sources)
    shape = tuple(total if i == axis else n for i, n in enumerate(x.shape))
    positive = all(source.positive for source in sources)
    return [s.tensor for s in sources], replace(x, shape=shape, positive=positive), options


def _depth_to_space(site: Site, x: Value) -> Value:
    batch, height, width, channels = x.shape
    if channels % 4:
        options = schema.PadOptionsT()
        more = -channels % 4
        pads = site.integers([[0, 0], [0, 0], [0, 0], [0, more]])
        padded = replace(x, shape=(batch, height, width, channels + more))
        x = site.put("PAD", [x.tensor, pads], padded, options)
        channels += more
    chosen = schema.DepthToSpaceOptionsT()
    chosen.blockSize = 2
    made = replace(x, shape=(batch, height * 2, width * 2, channels // 4))
    return site.put("DEPTH_TO_SPACE", [x.tensor], made, chosen)


def _space_to_depth(site: Site, x: Value) -> Value:
    batch, height, width, channels = x.shape
    if height % 2 or width % 2:
        pads = site.integers([[0, 0], [0, height % 2], [width % 2, 0], [0, 0]])
        padded = replace(x, shape=(batch, height + height % 2, width + width % 2, channels))
        x = site.put("PAD", [x.tensor, pads], padded, schema.PadOptionsT())
    options = schema.SpaceToDepthOptionsT()
    options.blockSize = 2
    made = replace(x, shape=(batch, x.shape[1] // 2, x.shape[2] // 2, channels * 4))
    return site.put("SPACE_TO_DEPTH", [x.tensor], made, options)


def _resize_bilinear(site: Site, x: Value) -> Value:
    batch, height, width, channels = x.shape
    options = schema.ResizeBilinearOptionsT()
    options.alignCorners, options.halfPixelCenters = site.one_of(
        (False, True), (True, False), (False, False)
    )
    largest = 2 if x.size > LARGEST else 9
    size = (1 + site.below(largest), 1 + site.below(largest))
    # TFLite's own kernel counts in 1024ths of a pixel, which sum up along a wide image.
    if site.below(2) and x.size <= LARGEST and max(height, width) <= 64:
        size = (height * 2, width * 2)
    made = replace(x, shape=(batch, *size, channels))
    return site.put("RESIZE_BILINEAR", [x.tensor, site.integers(list(size))], made, options)


# --- windows and sums --------------------------------------------------------------------------


def _reduce(name: str) -> Apply:
    def apply(site: Site, x: Value) -> Value:
        options = schema.ReducerOptionsT()
        options.keepDims = bool(site.below(2))
        axes: tuple[int, ...] = site.one_of((1, 2), (1, 2), (2, 1), (2,))
        number = int(np.prod([x.shape[axis] for axis in axes]))
        shape = tuple(
            1 if i in axes else n
            for i, n in enumerate(x.shape)
            if options.keepDims or i not in axes
        )
        held = site.quantization(x.dtype, max(1.0, number / 3) if name == "SUM" else 1)
        slack = x.slack * (number if name == "SUM" else 1)
        made = replace(x, shape=shape, quantization=held, slack=slack)
        return site.put(name, [x.tensor, site.integers(list(axes))], made, options)

    return apply


def _pool(name: str) -> Apply:
    def apply(site: Site, x: Value) -> Value:
        batch, height, width, channels = x.shape
        options = schema.Pool2DOptionsT()
        window = [1 + site.below(min(4, n)) for n in (height, width)]
        strides = [1 if window == [1, 1] else 1 + site.below(n) for n in window]
        sizes = _sides(site, options, (height, width), window, strides, (1, 1))
        options.filterHeight, options.filterWidth = window
        options.strideH, options.strideW = strides
        activation = site.activation()
        options.fusedActivationFunction = ACTIVATIONS[activation]
        positive = x.positive or activation in ("relu", "relu6")
        made = replace(x, shape=(batch, *sizes, channels), positive=positive)
        return site.put(name, [x.tensor], made, options)

    return apply


def _sides(
    site: Site, options: Any, size: tuple[int, int], kernel: list[int], strides: list[int],
    dilations: tuple[int, int],
) -> tuple[int, int]:  # fmt: skip
    """Draws the padding; gives height and width of the output."""
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    same = bool(site.below(2)) or any(r > n for r, n in zip(reach, size, strict=True))
    options.padding = schema.Padding.SAME if same else schema.Padding.VALID
    height, width = (
        -(-n // s) if same else (n - r) // s + 1
        for n, r, s in zip(size, reach, strides, strict=True)
    )
    return height, width


def _convolution(
    *, depthwise: bool = False, masked: bool = False, only_1x1: bool = False, sparse: bool = False
) -> Apply:
    def apply(site: Site, x: Value) -> Value:
        batch, height, width, channels = x.shape
        kernel = [site.one_of(1, 2, 3, 3, 5), site.one_of(1, 2, 3, 3, 5)]
        strides = [site.one_of(1, 1, 1, 2, 3), site.one_of(1, 1, 1, 2)]
        if only_1x1 or (not depthwise and site.below(4) == 0):
            kernel, strides = [1, 1], [1, 1] if only_1x1 else [site.one_of(1, 2)] * 2
        dilations = (1, 1) if max(strides) > 1 else site.one_of((1, 1), (1, 1), (2, 1), (2, 2))
        options = schema.DepthwiseConv2DOptionsT() if depthwise else schema.Conv2DOptionsT()
        sizes = _sides(site, options, (height, width), kernel, strides, dilations)
        options.strideH, options.strideW = strides
        options.dilationHFactor, options.dilationWFactor = dilations
        activation = site.activation()
        options.fusedActivationFunction = ACTIVATIONS[activation]
        made_channels = site.one_of(1, 2, 3, 4, 5, 8, 8, 16, 17)
        shape: Shape = (made_channels, *kernel, channels)
        if depthwise:
            # XNNPACK has no depthwise convolution without a tap.
            multiplier = site.one_of(1, 1, 1, 2)
            options.depthMultiplier, made_channels = multiplier, channels * multiplier
            shape = (1, *kernel, made_channels)
        taps = int(np.prod(kernel)) * (1 if depthwise else channels)
        axis = 3 if depthwise else 0
        filters, bias, _ = site.filters(
            shape, taps, axis, x, by_channel=bool(site.below(4)), sparse=sparse
        )
        positive = activation in ("relu", "relu6")
        made = replace(
            x, shape=(batch, *sizes, made_channels), quantization=site.quantization(x.dtype),
            positive=positive,
        )  # fmt: skip
        name = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
        made = site.put(name, [x.tensor, filters, bias], made, options)
        return _under_mask(site, made) if masked and site.masked else made

    return apply


def _under_mask(site: Site, made: Value) -> Value:
    """The value under a mask: one for all of its size, so that neighbours share it, or another."""
    size = (made.shape[1], made.shape[2])
    seed = site.one_of(0, 0, 0, site.below(99))
    kind = site.one_of("lattice", "lattice", "random", "rows", "full", "empty")
    drawn = np.random.default_rng([seed, *size])
    mask = site.graph.constant(make_mask(kind, size, 0.4, drawn)[None, :, :, None])
    fill = site.rng.uniform(0 if made.positive else -1, 1, made.shape[3])
    if made.quantization is None:
        tensor = site.graph.constant(fill.astype(np.float32))
    else:
        stored = quantize(fill, made.quantization, made.dtype)
        tensor = site.graph.constant(stored, made.quantization)
    inputs = [mask, made.tensor, tensor]
    return site.put("SELECT_V2", inputs, made, schema.SelectV2OptionsT())


def _transpose_conv(site: Site, x: Value) -> Value:
    batch, height, width, channels = x.shape
    strides = [site.one_of(1, 2), site.one_of(1, 2)]
    kernel = [s + site.below(3) for s in strides]
    options = schema.TransposeConvOptionsT()
    options.strideH, options.strideW = strides
    activation = site.activation()
    options.fusedActivationFunction = ACTIVATIONS[activation]
    same = bool(site.below(2))
    options.padding = schema.Padding.SAME if same else schema.Padding.VALID
    sizes = [
        n * s if same else (n - 1) * s + k
        for n, k, s in zip((height, width), kernel, strides, strict=True)
    ]
    made_channels = site.one_of(1, 3, 4, 8)
    shape = (made_channels, *kernel, channels)
    taps = channels * int(np.prod([-(-k // s) for k, s in zip(kernel, strides, strict=True)]))
    filters, bias, _ = site.filters(shape, taps, 0, x, by_channel=False)
    output_shape = (batch, *sizes, made_channels)
    made = replace(
        x, shape=output_shape, quantization=site.quantization(x.dtype),
        positive=activation in ("relu", "relu6"),
    )  # fmt: skip
    inputs = [site.integers(list(output_shape)), filters, x.tensor, bias]
    return site.put("TRANSPOSE_CONV", inputs, made, options)


def _fully_connected(site: Site, x: Value) -> Value:
    options = schema.FullyConnectedOptionsT()
    options.keepNumDims = bool(site.below(2))
    activation = site.activation()
    options.fusedActivationFunction = ACTIVATIONS[activation]
    channels, made_channels = x.shape[-1], site.one_of(1, 3, 8, 10)
    if not options.keepNumDims and len(x.shape) == 4 and x.size // x.shape[0] <= 600:
        # As a network flattens its features without saying so.
        channels = site.one_of(channels, x.size // x.shape[0])
    filters, bias, _ = site.filters((made_channels, channels), channels, 0, x, by_channel=False)
    leading = x.shape[:-1] if options.keepNumDims else (x.size // channels,)
    made = replace(
        x, shape=(*leading, made_channels), quantization=site.quantization(x.dtype),
        positive=activation in ("relu", "relu6"),
    )  # fmt: skip
    inputs = [x.tensor, filters, bias] if site.below(4) else [x.tensor, filters, -1]
    return site.put("FULLY_CONNECTED", inputs, made, options)


# --- the list ----------------------------------------------------------------------------------

KINDS: tuple[Kind, ...] = (
    Kind("ABS", FLOAT, _elementwise("ABS", "AbsOptions", positive=True)),
    Kind("ADD", ALL, _binary("ADD", "AddOptions", fused=True)),
    Kind("AVERAGE_POOL_2D", FLOAT, _pool("AVERAGE_POOL_2D"), rank=4),
    Kind("CEIL", FLOAT, _elementwise("CEIL")),
    Kind("CONCATENATION", ALL, _concatenate),
    Kind("CONV_2D", ALL, _convolution(), rank=4),
    Kind("masked CONV_2D", ALL, _convolution(masked=True), rank=4),
    Kind("masked 1x1 CONV_2D", ALL,
         _convolution(masked=True, only_1x1=True), rank=4),
    Kind("sparse CONV_2D", ("float32", "int8"), _convolution(sparse=True), rank=4),
    Kind("masked sparse CONV_2D", ("float32", "int8"),
         _convolution(masked=True, sparse=True), rank=4),
    Kind("DEPTHWISE_CONV_2D", ALL, _convolution(depthwise=True), rank=4),
    Kind("masked DEPTHWISE_CONV_2D", ALL, _convolution(depthwise=True, masked=True), rank=4),
    Kind("DEPTH_TO_SPACE", ALL, _depth_to_space, rank=4),
    Kind("DEQUANTIZE", ("int8", "uint8"), _dequantize),
    Kind("DIV", FLOAT, _binary("DIV", "DivOptions", fused=True)),
    Kind("ELU", ("float32", "int8"), _elementwise("ELU")),
    Kind("FLOOR", FLOAT, _elementwise("FLOOR")),
    Kind("FULLY_CONNECTED", ALL, _fully_connected),
    Kind("HARD_SWISH", FLOAT, _elementwise("HARD_SWISH", "HardSwishOptions")),
    Kind("LEAKY_RELU", ALL, _elementwise("LEAKY_RELU", "LeakyReluOptions")),
    Kind("LOGISTIC", ALL, _elementwise("LOGISTIC", positive=True)),
    Kind("MAXIMUM", FLOAT, _binary("MAXIMUM", "MaximumMinimumOptions")),
    Kind("MAX_POOL_2D", ALL, _pool("MAX_POOL_2D"), rank=4),
    Kind("MEAN", ALL, _reduce("MEAN"), rank=4),
    Kind("MINIMUM", FLOAT, _binary("MINIMUM", "MaximumMinimumOptions")),
    Kind("MUL", ALL, _binary("MUL", "MulOptions", fused=True)),
    Kind("NEG", FLOAT, _elementwise("NEG", "NegOptions")),
    Kind("PAD", ALL, _pad),
    Kind("PRELU", FLOAT, _prelu),
    Kind("QUANTIZE", ALL, _quantize),
    Kind("RELU", FLOAT, _relu("RELU")),
    Kind("RELU6", FLOAT, _relu("RELU6")),
    Kind("RELU_N1_TO_1", FLOAT, _relu("RELU_N1_TO_1")),
    Kind("RESHAPE", ALL, _reshape),
    Kind("RESIZE_BILINEAR", ALL, _resize_bilinear, rank=4),
    Kind("ROUND", FLOAT, _elementwise("ROUND")),
    Kind("SLICE", ALL, _slice),
    Kind("SOFTMAX", FLOAT, _softmax),
    Kind("SPACE_TO_DEPTH", ALL, _space_to_depth, rank=4),
    Kind("SPLIT", ALL, _split),
    Kind("SQRT", FLOAT, _elementwise("SQRT", positive=True), of_positive=True),
    Kind("SQUARE", FLOAT, _elementwise("SQUARE", "SquareOptions", positive=True)),
    Kind("SQUARED_DIFFERENCE", FLOAT,
         _binary("SQUARED_DIFFERENCE", "SquaredDifferenceOptions")),
    Kind("STRIDED_SLICE", ALL, _strided_slice),
    Kind("SUB", ALL, _binary("SUB", "SubOptions", fused=True)),
    Kind("SUM", ALL, _reduce("SUM"), rank=4),
    Kind("TANH", ALL, _elementwise("TANH")),
    Kind("TRANSPOSE", ALL, _transpose),
    Kind("TRANSPOSE_CONV", ALL, _transpose_conv, rank=4),
)  # fmt: skip
