"""The types that the runtime's kernels are written for, operator by operator.

Measured with a file of each operator in each type; ``tests/native/test_kernel_types.py`` holds the
tables against the runner. ``runtime_patch/operators/kernel_types.cc`` has the same tables.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toolchain.tflite_file.graph import Tensor

JUDGED = frozenset(
    {
        "bool",
        "float16",
        "float32",
        "float64",
        "int16",
        "int32",
        "int64",
        "int8",
        "uint32",
        "uint8",
    }
)
"""The types that were measured; nothing is said of others."""

_KERNELS = {
    "bool": """
        LOGICAL_AND LOGICAL_NOT LOGICAL_OR REDUCE_ALL REDUCE_ANY
    """,
    "float32": """
        CEIL CONV_3D CONV_3D_TRANSPOSE COS FLOOR L2_POOL_2D LOCAL_RESPONSE_NORMALIZATION LOG ROUND
        SIN SQRT SQUARE
    """,
    "float32 float64": """
        ATAN2
    """,
    "float32 int32": """
        ADD_N POW UNSORTED_SEGMENT_MAX UNSORTED_SEGMENT_MIN UNSORTED_SEGMENT_PROD
        UNSORTED_SEGMENT_SUM
    """,
    "float32 int8": """
        ELU RSQRT
    """,
    "float32 float64 int32": """
        SIGN
    """,
    "float32 int32 int64": """
        CUMSUM NEG ZEROS_LIKE
    """,
    "float32 int8 int16": """
        BATCH_MATMUL EXP
    """,
    "float32 int8 int32": """
        SQUARED_DIFFERENCE
    """,
    "float32 int8 uint8": """
        EMBEDDING_LOOKUP GELU HARD_SWISH L2_NORMALIZATION LOG_SOFTMAX PRELU RELU_0_TO_1 RELU_N1_TO_1
    """,
    "float32 uint8 int32": """
        DIV
    """,
    "float16 int8 uint8 int16": """
        DEQUANTIZE
    """,
    "float32 int8 int16 int32": """
        ABS FLOOR_DIV
    """,
    "float32 int8 uint8 int16": """
        AVERAGE_POOL_2D CONV_2D DEPTHWISE_CONV_2D FULLY_CONNECTED LEAKY_RELU LOGISTIC MAX_POOL_2D
        RELU RELU6 RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR SOFTMAX TANH TRANSPOSE_CONV
    """,
    "float32 int8 int16 int32 int64": """
        FLOOR_MOD
    """,
    "float32 int8 int32 int64 bool": """
        DYNAMIC_UPDATE_SLICE
    """,
    "float32 int8 uint8 int16 int32": """
        QUANTIZE SPLIT
    """,
    "float32 int8 uint8 int32 bool": """
        ARG_MAX ARG_MIN
    """,
    "float32 int8 uint8 int32 int64": """
        DEPTH_TO_SPACE GREATER LESS_EQUAL SPACE_TO_DEPTH
    """,
    "float32 uint8 int16 int32 int64": """
        REVERSE_SEQUENCE
    """,
    "int8 uint8 int16 int32 uint32": """
        BITWISE_XOR RIGHT_SHIFT
    """,
    "float32 int8 uint8 int16 int32 bool": """
        UNPACK
    """,
    "float32 int8 uint8 int16 int32 int64": """
        ADD BATCH_TO_SPACE_ND GATHER_ND GREATER_EQUAL LESS MAXIMUM MEAN MINIMUM MIRROR_PAD PAD PADV2
        REDUCE_MAX REDUCE_MIN REDUCE_PROD SPACE_TO_BATCH_ND SPLIT_V SUB SUM TOPK_V2
    """,
    "float32 int8 uint8 int32 int64 bool": """
        NOT_EQUAL ONE_HOT SCATTER_ND TILE
    """,
    "float32 float16 int8 int16 int32 int64 bool": """
        FILL
    """,
    "float32 int8 uint8 int16 int32 int64 bool": """
        EQUAL GATHER REVERSE_V2 TRANSPOSE
    """,
    "float32 int8 uint8 int16 int32 int64 uint32": """
        MATRIX_DIAG MATRIX_SET_DIAG MUL PACK
    """,
    "float32 int8 uint8 int16 int32 int64 bool uint32": """
        CONCATENATION SELECT SELECT_V2 SLICE STRIDED_SLICE
    """,
}
_TYPES = {name: set(types.split()) for types, names in _KERNELS.items() for name in names.split()}
_DATA = {
    "CONV_3D_TRANSPOSE": 2,
    "EMBEDDING_LOOKUP": 1,
    "FILL": 1,
    "ONE_HOT": 2,
    "SCATTER_ND": 1,
    "SELECT": 1,
    "SELECT_V2": 1,
    "SPLIT": 1,
    "TRANSPOSE_CONV": 2,
}
"""Which input's type chooses the kernel, where it is not the first."""
_WEIGHTS = {
    "CONV_2D": 1,
    "CONV_3D": 1,
    "CONV_3D_TRANSPOSE": 1,
    "DEPTHWISE_CONV_2D": 1,
    "FULLY_CONNECTED": 1,
    "TRANSPOSE_CONV": 1,
}
"""Which input holds the weights."""
_NO_PAIRS = {
    "CONV_2D": """
        float32:float16 float32:int16 int8:float32 int8:uint8 int8:int16 uint8:int8 uint8:int16
        int16:uint8 int16:int16
    """,
    "DEPTHWISE_CONV_2D": """
        float32:float16 float32:uint8 float32:int16 int8:float32 int8:uint8 int8:int16 uint8:int8
        uint8:int16 int16:uint8 int16:int16
    """,
    "TRANSPOSE_CONV": """
        float32:float16 float32:uint8 float32:int16 int8:float32 int8:uint8 int8:int16 uint8:int8
        uint8:int16 int16:uint8 int16:int16
    """,
    "FULLY_CONNECTED": """
        float32:float16 float32:int16 int8:float32 int8:uint8 int8:int16 uint8:int8 uint8:int16
        int16:uint8 int16:int16
    """,
    "CONV_3D": """
        float32:float16 float32:int8 float32:uint8 float32:int16
    """,
    "CONV_3D_TRANSPOSE": """
        float32:float16 float32:int8 float32:uint8 float32:int16
    """,
    "BATCH_MATMUL": """
        float32:uint8 float32:int16 int8:uint8 int8:int16 int16:int8 int16:uint8
    """,
    "QUANTIZE": """
        float32:float32 float32:float16 int8:float32 int8:float16 int8:int16 uint8:float32
        uint8:float16 uint8:int16 int16:float32 int16:float16 int16:uint8 int32:float32
        int32:float16 int32:uint8
    """,
}
"""Two types that have a kernel each and none together: of inputs and weights, of both factors of a
product, of what is read and what is written."""
_ONE_SCALE = {
    "PADV2": (2, ("int8", "uint8", "int16")),
    "REDUCE_MAX": (0, ("int8", "uint8", "int16")),
    "REDUCE_MIN": (0, ("int8", "uint8", "int16")),
    "SUM": (0, ("int16",)),
}
"""Which input has to have the output's scale, and for which types."""


def has_kernel(op: str, dtype: str) -> bool:
    """Whether a builtin operator has a kernel for a type, or nothing was measured."""
    return op not in _TYPES or dtype not in JUDGED or dtype in _TYPES[op]


def missing_kernel(
    op: str, inputs: Sequence[Tensor | None], outputs: Sequence[Tensor]
) -> str | None:
    """What an operator would need a kernel for that the runtime does not have.

    Args:
        op: a builtin operator's name.
        inputs: what it reads; ``None`` where an optional input is absent.
        outputs: what it writes.

    Returns:
        ``for int16``, ``for int16 with weights of int16`` ...; ``None`` where there is a kernel, or
        nothing was measured.
    """
    data = _at(inputs, _DATA.get(op, 0))
    if data is None:
        return None
    first = data.dtype
    if not has_kernel(op, first):
        return f"for {first}"
    second = outputs if op == "QUANTIZE" else inputs
    other = _at(second, 0 if op == "QUANTIZE" else _WEIGHTS.get(op, 1))
    if other is not None and f"{first}:{other.dtype}" in _NO_PAIRS.get(op, "").split():
        if op == "QUANTIZE":
            return f"from {first} to {other.dtype}"
        by = "with weights of" if op in _WEIGHTS else "by"
        return f"for {first} {by} {other.dtype}"
    position, types = _ONE_SCALE.get(op, (0, ()))
    source, result = _at(inputs, position), _at(outputs, 0)
    if first in types and source and result and not _same_scale(source, result):
        return f"for {first} with an output of another scale"
    return None


def _at(tensors: Sequence[Tensor | None], position: int) -> Tensor | None:
    return tensors[position] if position < len(tensors) else None


def _same_scale(left: Tensor, right: Tensor) -> bool:
    one, other = left.quantization, right.quantization
    if one is None or other is None:
        return one is other
    return np.array_equal(one.scale, other.scale) and np.array_equal(
        one.zero_point, other.zero_point
    )
