"""Files of one operator each, of every type that a quantiser or a converter may give it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from support.quantized_ops import FileWriter
from support.tflite_writer import Array

TYPES = (
    "float32", "float16", "float64", "int8", "uint8", "int16", "int32", "int64", "bool", "uint32",
)  # fmt: skip
_QUANTIZED = {"int8": (0.05, 3), "uint8": (0.05, 128), "int16": (1e-3, 0)}
_SHAPE = (1, 4, 4, 4)
_SAME = schema.Padding.SAME


@dataclass
class Site:
    """Where an operator is written."""

    file: FileWriter
    dtype: str
    """Of what the operator reads."""
    scaled: bool = True
    """Whether integers of 8 and 16 bits are quantised, and not plain numbers."""

    def value(
        self,
        shape: tuple[int, ...] = _SHAPE,
        dtype: str = "",
        scale: float = 0,
        zero_point: int | None = None,
    ) -> int:
        """A tensor that is computed or given, with a scale where its type is quantised."""
        dtype = dtype or self.dtype
        if dtype not in _QUANTIZED or not self.scaled:
            return self.file.tensor(shape, dtype)
        usual, usual_zero = _QUANTIZED[dtype]
        zero_point = usual_zero if zero_point is None else zero_point
        return self.file.tensor(shape, dtype, scales=scale or usual, zero_point=zero_point)

    def constant(self, shape: tuple[int, ...] = _SHAPE, dtype: str = "", scale: float = 0) -> int:
        """A tensor of ones."""
        dtype = dtype or self.dtype
        data = np.ones(shape, dtype).tobytes()
        if not self.scaled:
            return self.file.tensor(shape, dtype, data=data)
        if dtype not in _QUANTIZED:
            return self.file.tensor(shape, dtype, scales=scale or None, data=data)
        return self.file.tensor(shape, dtype, scales=scale or _QUANTIZED[dtype][0], data=data)

    def integers(self, values: Any, dtype: str = "int32") -> int:
        """A constant of indices, sizes or axes."""
        array: Array = np.asarray(values, dtype)
        return self.file.tensor(array.shape, dtype, data=array.tobytes())


@dataclass(frozen=True)
class Example:
    """One operator, and the type of its inputs."""

    op: str
    variant: str
    dtype: str
    build: Callable[[Site], tuple[list[int], list[int], list[int]]]
    """Gives the operator's inputs, its outputs, and those of its inputs that the file is given."""
    options: str = ""
    fields: tuple[tuple[str, Any], ...] = ()
    scaled: bool = True
    version: int = 1

    def __str__(self) -> str:
        plain = "" if self.scaled else "unscaled"
        return "-".join(filter(None, (self.op, self.variant, self.dtype, plain)))

    def write(self, path: Path) -> Path:
        """Write the file."""
        file, chosen = FileWriter(), None
        inputs, outputs, given = self.build(Site(file, self.dtype, self.scaled))
        if self.options:
            chosen = getattr(schema, f"{self.options}T")()
            for field, value in self.fields:
                assert hasattr(chosen, field), field
                setattr(chosen, field, value)
        file.operator(self.op, inputs, outputs, self.options or None, chosen, version=self.version)
        return file.write(path, given, outputs)


def all_examples() -> Iterator[Example]:
    """Every operator in each of ``TYPES``; most are files that no runtime runs."""
    for family in (_elementwise, _binary, _reductions, _copies, _layers, _conversions):
        yield from family()


_NEEDS_SCALES = (
    "CONV_2D",
    "DEPTHWISE_CONV_2D",
    "TRANSPOSE_CONV",
    "FULLY_CONNECTED",
    "BATCH_MATMUL",
)
"""Operators that are not written with plain numbers of 8 or 16 bits."""

Made = tuple[list[int], list[int], list[int]]


def _each(
    op: str,
    build: Callable[[Site], Made],
    options: str = "",
    variant: str = "",
    types: tuple[str, ...] = TYPES,
    version: int = 1,
    **fields: Any,
) -> Iterator[Example]:
    for dtype in types:
        for scaled in (True, False):
            plain = op not in _NEEDS_SCALES and "scale" not in variant
            if scaled or (dtype in _QUANTIZED and plain):
                yield Example(
                    op, variant, dtype, build, options, tuple(fields.items()), scaled, version
                )


def _unary(
    shape: tuple[int, ...] = _SHAPE,
    result: tuple[int, ...] | None = None,
    out: str = "",
    fixed: dict[str, tuple[float, int]] | None = None,
    lowest: dict[str, int] | None = None,
) -> Callable[[Site], Made]:
    def build(site: Site) -> Made:
        x = site.value(shape, zero_point=(lowest or {}).get(site.dtype))
        scale, zero = (fixed or {}).get(site.dtype, (0, None))
        y = site.value(shape if result is None else result, out, scale, zero)
        return [x], [y], [x]

    return build


_HALVES = {"int8": (1 / 128, 0), "uint8": (1 / 128, 128), "int16": (1 / 32768, 0)}
_UNIT = {"int8": (1 / 256, -128), "uint8": (1 / 256, 0), "int16": (1 / 32768, 0)}
_LOGS = {"int8": (16 / 256, 127), "uint8": (16 / 256, 255), "int16": (16 / 65536, 32767)}


def _elementwise() -> Iterator[Example]:
    plain = """
        ABS CEIL COS ELU EXP FLOOR HARD_SWISH LOG LOGICAL_NOT NEG RELU RELU6 RELU_N1_TO_1
        RELU_0_TO_1 ROUND RSQRT SIGN SIN SQRT SQUARE ZEROS_LIKE
    """
    for op in plain.split():
        # Of negative numbers these two make none: integers begin at zero.
        lowest = {"int8": -128, "uint8": 0, "int16": 0} if op in ("RSQRT", "SQRT") else {}
        yield from _each(op, _unary(lowest=lowest))
    yield from _each("GELU", _unary(), "GeluOptions")
    yield from _each("GELU", _unary(), "GeluOptions", "approximate", approximate=True)
    yield from _each("LEAKY_RELU", _unary(), "LeakyReluOptions", alpha=0.1)
    yield from _each("TANH", _unary(fixed=_HALVES))
    yield from _each("LOGISTIC", _unary(fixed=_UNIT))
    for variant, shape in (("", _SHAPE), ("2d", (2, 5))):
        yield from _each("SOFTMAX", _unary(shape, fixed=_UNIT), "SoftmaxOptions", variant, beta=1.0)
        yield from _each("LOG_SOFTMAX", _unary(shape, fixed=_LOGS), "LogSoftmaxOptions", variant)
    yield from _each("L2_NORMALIZATION", _unary(fixed=_HALVES), "L2NormOptions")
    yield from _each(
        "LOCAL_RESPONSE_NORMALIZATION", _unary(), "LocalResponseNormalizationOptions",
        radius=1, bias=1.0, alpha=1.0, beta=0.5,
    )  # fmt: skip
    yield from _each("PRELU", _with((1, 1, 4)))
    for op in ("RANK", "SHAPE"):
        result = () if op == "RANK" else (4,)
        options = "ShapeOptions" if op == "SHAPE" else ""
        fields = {"outType": schema.TensorType.INT32} if op == "SHAPE" else {}
        yield from _each(op, _unary(result=result, out="int32"), options, **fields)


def _with(
    other: tuple[int, ...] = _SHAPE, out: str = "", *, scale: float = 0
) -> Callable[[Site], Made]:
    def build(site: Site) -> Made:
        x = site.value()
        return [x, site.constant(other)], [site.value(_SHAPE, out, scale)], [x]

    return build


def _binary() -> Iterator[Example]:
    arithmetic = {
        "ADD": "AddOptions", "SUB": "SubOptions", "MUL": "MulOptions", "DIV": "DivOptions",
        "MAXIMUM": "MaximumMinimumOptions", "MINIMUM": "MaximumMinimumOptions", "POW": "PowOptions",
        "SQUARED_DIFFERENCE": "SquaredDifferenceOptions", "FLOOR_DIV": "FloorDivOptions",
        "FLOOR_MOD": "FloorModOptions", "ATAN2": "", "BITWISE_XOR": "BitwiseXorOptions",
        "RIGHT_SHIFT": "RightShiftOptions", "LOGICAL_AND": "LogicalAndOptions",
        "LOGICAL_OR": "LogicalOrOptions",
    }  # fmt: skip
    for op, options in arithmetic.items():
        yield from _each(op, _with(), options)
        yield from _each(op, _with((1, 1, 1, 4)), options, "broadcast")
        if op in ("ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE"):
            scaled = _with(scale=0.02)
            yield from _each(op, scaled, options, "other_scale", tuple(_QUANTIZED))
    comparisons = {
        "EQUAL": "EqualOptions", "NOT_EQUAL": "NotEqualOptions", "LESS": "LessOptions",
        "LESS_EQUAL": "LessEqualOptions", "GREATER": "GreaterOptions",
        "GREATER_EQUAL": "GreaterEqualOptions",
    }  # fmt: skip
    for op, options in comparisons.items():
        yield from _each(op, _with(out="bool"), options)
        yield from _each(op, _with((1, 1, 1, 4), out="bool"), options, "broadcast")
    for op, options in (("SELECT", "SelectOptions"), ("SELECT_V2", "SelectV2Options")):

        def select(site: Site) -> Made:
            condition, x, other = site.value(dtype="bool"), site.value(), site.constant()
            return [condition, x, other], [site.value()], [condition, x]

        yield from _each(op, select, options)

    def add_n(site: Site) -> Made:
        x, other = site.value(), site.value()
        return [x, other], [site.value()], [x, other]

    yield from _each("ADD_N", add_n, "AddNOptions")


def _reductions() -> Iterator[Example]:
    def over(axes: Any, result: tuple[int, ...], scale: float = 0) -> Callable[[Site], Made]:
        def build(site: Site) -> Made:
            x = site.value()
            return [x, site.integers(axes)], [site.value(result, "", scale)], [x]

        return build

    names = "SUM MEAN REDUCE_PROD REDUCE_MAX REDUCE_MIN REDUCE_ANY REDUCE_ALL"
    for op in names.split():
        for variant, axes, result in (
            ("pixels", [1, 2], (1, 1, 1, 4)), ("channels", [3], (1, 4, 4, 1)),
            ("rows", [1], (1, 1, 4, 4)),
        ):  # fmt: skip
            for name, scale in (("", 0.0), ("_other_scale", 0.02)):
                types = tuple(_QUANTIZED) if scale else TYPES
                build = over(axes, result, scale)
                yield from _each(op, build, "ReducerOptions", variant + name, types, keepDims=True)
    for op, options in (("ARG_MAX", "ArgMaxOptions"), ("ARG_MIN", "ArgMinOptions")):

        def place(site: Site) -> Made:
            x = site.value()
            return [x, site.integers(3)], [site.value((1, 4, 4), "int32")], [x]

        yield from _each(op, place, options, outputType=schema.TensorType.INT32)

    def cumulated(site: Site) -> Made:
        x = site.value()
        return [x, site.integers(3)], [site.value()], [x]

    yield from _each("CUMSUM", cumulated, "CumsumOptions")


def _copies() -> Iterator[Example]:
    """Operators that move elements."""

    def moved(
        result: tuple[int, ...],
        *more: Any,
        source: tuple[int, ...] = _SHAPE,
        axis_first: bool = False,
    ) -> Callable[[Site], Made]:
        def build(site: Site) -> Made:
            x, others = site.value(source), [site.integers(values) for values in more]
            inputs = [*others, x] if axis_first else [x, *others]
            return inputs, [site.value(result)], [x]

        return build

    pads = [[0, 0], [1, 1], [1, 1], [0, 0]]
    padded, zeros = (1, 6, 6, 4), [0, 0, 0, 0]
    yield from _each("RESHAPE", moved((4, 16), [4, 16]), "ReshapeOptions", newShape=[4, 16])
    yield from _each("TRANSPOSE", moved(_SHAPE, [0, 3, 1, 2]), "TransposeOptions")
    yield from _each(
        "TRANSPOSE",
        moved((4, 1, 4, 4, 1, 1), [3, 0, 1, 2, 4, 5], source=(1, 4, 4, 4, 1, 1)),
        "TransposeOptions",
        "6d",
    )
    yield from _each("SQUEEZE", moved((4, 4, 4)), "SqueezeOptions", squeezeDims=[0])
    yield from _each("EXPAND_DIMS", moved((1, 1, 4, 4, 4), 0), "ExpandDimsOptions")
    yield from _each("SLICE", moved((1, 2, 2, 4), zeros, [1, 2, 2, 4]), "SliceOptions")
    yield from _each(
        "STRIDED_SLICE", moved((1, 2, 2, 4), zeros, [1, 4, 4, 4], [1, 2, 2, 1]),
        "StridedSliceOptions",
    )  # fmt: skip
    yield from _each("GATHER", moved((1, 4, 4, 2), [0, 2]), "GatherOptions", axis=3)
    yield from _each("GATHER_ND", moved((1, 4, 4), [[0, 1]]), "GatherNdOptions")
    yield from _each("PAD", moved(padded, pads), "PadOptions")
    yield from _each(
        "MIRROR_PAD", moved(padded, pads), "MirrorPadOptions", mode=schema.MirrorPadMode.REFLECT
    )
    yield from _each("TILE", moved((1, 8, 4, 4), [1, 2, 1, 1]), "TileOptions")
    yield from _each(
        "BROADCAST_TO", moved((3, 4, 4, 4), [3, 4, 4, 4]), "BroadcastToOptions", version=2
    )
    yield from _each("REVERSE_V2", moved(_SHAPE, [1]), "ReverseV2Options")
    yield from _each(
        "REVERSE_SEQUENCE", moved(_SHAPE, [2]), "ReverseSequenceOptions", seqDim=1, batchDim=0
    )
    yield from _each("SPACE_TO_DEPTH", moved((1, 2, 2, 16)), "SpaceToDepthOptions", blockSize=2)
    yield from _each("DEPTH_TO_SPACE", moved((1, 8, 8, 1)), "DepthToSpaceOptions", blockSize=2)
    yield from _each(
        "SPACE_TO_BATCH_ND", moved((4, 2, 2, 4), [2, 2], [[0, 0], [0, 0]]),
        "SpaceToBatchNDOptions",
    )  # fmt: skip
    yield from _each(
        "BATCH_TO_SPACE_ND", moved((1, 8, 8, 4), [2, 2], [[0, 0], [0, 0]], source=(4, 4, 4, 4)),
        "BatchToSpaceNDOptions",
    )  # fmt: skip
    yield from _each("MATRIX_DIAG", moved((1, 4, 4, 4, 4)), "MatrixDiagOptions")
    for name in ("MAX", "MIN", "PROD", "SUM"):
        yield from _each(
            f"UNSORTED_SEGMENT_{name}", moved((2, 4), [0, 0, 1, 1], 2, source=(4, 4)),
            f"UnsortedSegment{name.title()}Options",
        )  # fmt: skip
    for op, options in (("RESIZE_BILINEAR", "ResizeBilinearOptions"),
                        ("RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions")):  # fmt: skip
        yield from _each(op, moved((1, 8, 8, 4), [8, 8]), options, halfPixelCenters=True)

    def pad_v2(scale: float = 0) -> Callable[[Site], Made]:
        def build(site: Site) -> Made:
            x, data = site.value(), np.ones((1,), site.dtype).tobytes()
            usual, zero = _QUANTIZED.get(site.dtype, (0.0, 0)) if site.scaled else (0.0, 0)
            value = site.file.tensor(
                (1,), site.dtype, scales=usual or None, zero_point=zero, data=data
            )
            return [x, site.integers(pads), value], [site.value(padded, "", scale)], [x]

        return build

    yield from _each("PADV2", pad_v2(), "PadV2Options")
    yield from _each("PADV2", pad_v2(0.02), "PadV2Options", "other_scale", tuple(_QUANTIZED))

    def split(site: Site) -> Made:
        x = site.value()
        return [site.integers(3), x], [site.value((1, 4, 4, 2)) for _ in range(2)], [x]

    yield from _each("SPLIT", split, "SplitOptions", numSplits=2)

    def split_v(site: Site) -> Made:
        x = site.value()
        outputs = [site.value((1, 4, 4, 1)), site.value((1, 4, 4, 3))]
        return [x, site.integers([1, 3]), site.integers(3)], outputs, [x]

    yield from _each("SPLIT_V", split_v, "SplitVOptions", numSplits=2)

    def unpack(site: Site) -> Made:
        x = site.value()
        return [x], [site.value((1, 4, 4)) for _ in range(4)], [x]

    yield from _each("UNPACK", unpack, "UnpackOptions", num=4, axis=3)

    def joined(result: tuple[int, ...], scale: float = 0) -> Callable[[Site], Made]:
        def build(site: Site) -> Made:
            x, other = site.value(), site.value()
            return [x, other], [site.value(result, "", scale)], [x, other]

        return build

    yield from _each("PACK", joined((2, *_SHAPE)), "PackOptions", valuesCount=2, axis=0)
    yield from _each("CONCATENATION", joined((1, 4, 4, 8)), "ConcatenationOptions", axis=3)
    yield from _each(
        "CONCATENATION",
        joined((1, 4, 4, 8), 0.02),
        "ConcatenationOptions",
        "other_scale",
        tuple(_QUANTIZED),
        axis=3,
    )

    def updated(site: Site) -> Made:
        x = site.value()
        return [x, site.constant((1, 2, 2, 4)), site.integers(zeros)], [site.value()], [x]

    yield from _each("DYNAMIC_UPDATE_SLICE", updated, "DynamicUpdateSliceOptions")

    def scattered(site: Site) -> Made:
        x = site.value((2, 4))
        return [site.integers([[0], [3]]), x, site.integers([4, 4])], [site.value((4, 4))], [x]

    yield from _each("SCATTER_ND", scattered, "ScatterNdOptions")

    def filled(site: Site) -> Made:
        x = site.value(())
        return [site.integers([2, 3]), x], [site.value((2, 3))], [x]

    yield from _each("FILL", filled, "FillOptions")

    def hot(site: Site) -> Made:
        on, off = site.value(()), site.constant(())
        return [site.integers([0, 2]), site.integers(3), on, off], [site.value((2, 3))], [on]

    yield from _each("ONE_HOT", hot, "OneHotOptions", axis=-1)

    def best(site: Site) -> Made:
        x = site.value((2, 5))
        return [x, site.integers(2)], [site.value((2, 2)), site.value((2, 2), "int32")], [x]

    yield from _each("TOPK_V2", best, "TopKV2Options")

    def rows(site: Site) -> Made:
        ids = site.file.tensor((2,), "int32")
        return [ids, site.constant((5, 4))], [site.value((2, 4))], [ids]

    yield from _each("EMBEDDING_LOOKUP", rows)

    def diagonal(site: Site) -> Made:
        x = site.value()
        return [x, site.constant((1, 4, 4))], [site.value()], [x]

    yield from _each("MATRIX_SET_DIAG", diagonal, "MatrixSetDiagOptions")


_LAYERS = {
    "float32": ("float32 float32", "int8 float32", "float16 float32", "float16 float16",
                "int16 float32", "uint8 float32"),
    "float16": ("float16 float32", "float16 float16", "int8 float32"),
    "int8": ("int8 int32", "int16 int32", "uint8 int32", "float32 float32"),
    "uint8": ("uint8 int32", "int8 int32", "int16 int32"),
    "int16": ("int8 int64", "int8 int32", "int16 int64", "int16 int32", "uint8 int64"),
}  # fmt: skip
"""Type of activations -> types of weights and of a bias."""


def _layer(
    op: str,
    kind: str,
    bias: str,
    weights: tuple[int, ...],
    shape: tuple[int, ...],
    result: tuple[int, ...],
) -> Callable[[Site], Made]:
    def build(site: Site) -> Made:
        x, y = site.value(shape), site.value(result)
        filters = site.constant(weights, kind, 0.01 if kind in _QUANTIZED else 0)
        of_product = 0.01 * _QUANTIZED.get(site.dtype, (0, 0))[0]
        scale = 0 if bias.startswith("float") else of_product
        added = [site.constant(result[-1:], bias, scale)] if bias else []
        if "TRANSPOSE" in op:
            return [site.integers(result), filters, x, *added], [y], [x]
        if op == "DEPTHWISE_CONV_2D" and not bias:
            added = [-1]
        return [x, filters, *added], [y], [x]

    return build


def _layers() -> Iterator[Example]:
    conv = {"padding": _SAME, "strideH": 1, "strideW": 1}
    dilated = {**conv, "dilationHFactor": 1, "dilationWFactor": 1}
    pool = {**conv, "filterHeight": 2, "filterWidth": 2}
    for op in ("AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D"):
        yield from _each(op, _unary(), "Pool2DOptions", **pool)
    of: dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], str, dict[str, Any]]] = {
        "CONV_2D": ((3, 3, 3, 4), _SHAPE, (1, 4, 4, 3), "Conv2DOptions", dilated),
        "DEPTHWISE_CONV_2D": ((1, 3, 3, 4), _SHAPE, _SHAPE, "DepthwiseConv2DOptions",
                              {**dilated, "depthMultiplier": 1}),
        "TRANSPOSE_CONV": ((3, 2, 2, 4), _SHAPE, (1, 8, 8, 3), "TransposeConvOptions",
                           {**conv, "strideH": 2, "strideW": 2}),
        "FULLY_CONNECTED": ((3, 4), (2, 4), (2, 3), "FullyConnectedOptions", {}),
        "CONV_3D": ((1, 1, 1, 4, 3), (1, 2, 2, 2, 4), (1, 2, 2, 2, 3), "Conv3DOptions",
                    {**dilated, "strideD": 1, "dilationDFactor": 1}),
        "CONV_3D_TRANSPOSE": ((1, 1, 1, 3, 4), (1, 2, 2, 2, 4), (1, 2, 2, 2, 3), "Conv3DOptions",
                              {**dilated, "strideD": 1, "dilationDFactor": 1}),
    }  # fmt: skip
    for op, (weights, shape, result, options, fields) in of.items():
        for dtype in TYPES:
            for pair in _LAYERS.get(dtype, (f"{dtype} {dtype}",)):
                kind, bias = pair.split()
                for added in (bias,) if op == "CONV_2D" else ("", bias):
                    build = _layer(op, kind, added, weights, shape, result)
                    name = f"{kind}_weights" + f"_{added}_bias" * bool(added)
                    yield from _each(op, build, options, name, (dtype,), **fields)
    for kind in ("same", "int8", "int16", "uint8"):
        for constant in (True, False) if kind == "same" else (True,):

            def product(site: Site, kind: str = kind, constant: bool = constant) -> Made:
                dtype = site.dtype if kind == "same" else kind
                x = site.value((2, 3, 4))
                make = site.constant if constant else site.value
                other = make((2, 4, 5), dtype)
                given = [x] if constant else [x, other]
                return [x, other], [site.value((2, 3, 5))], given

            name = f"{kind}_constant" if constant else f"{kind}_computed"
            yield from _each("BATCH_MATMUL", product, "BatchMatMulOptions", name)


def _conversions() -> Iterator[Example]:
    for other in TYPES:
        yield from _each("CAST", _unary(out=other), "CastOptions", f"to_{other}")
        yield from _each("QUANTIZE", _unary(out=other), "QuantizeOptions", f"to_{other}")
    for other in ("float32", "float16"):
        yield from _each("DEQUANTIZE", _unary(out=other), "DequantizeOptions", f"to_{other}")
