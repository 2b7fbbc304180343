"""What the runtime cannot run of a file, told before the file is sent anywhere.

``runtime_patch/operators`` says the same on the board, operator by operator, when a model is
loaded there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from toolchain.errors import ModelError
from toolchain.hints import command
from toolchain.tflite_file.graph import Graph, Model, Operator, OperatorCode, Tensor, read_model
from toolchain.tflite_file.kernel_types import missing_kernel

RUNTIME = "TensorFlow Lite 2.14.1"
_VERSIONS = {
    1: """
        ADD_N ASSIGN_VARIABLE ATAN2 BITCAST BITWISE_XOR BROADCAST_ARGS BUCKETIZE CALL_ONCE CEIL
        COMPLEX_ABS CONV_3D CONV_3D_TRANSPOSE COS CUMSUM DENSIFY DYNAMIC_UPDATE_SLICE ELU
        EMBEDDING_LOOKUP_SPARSE EXPAND_DIMS FLOOR HARD_SWISH HASHTABLE HASHTABLE_FIND
        HASHTABLE_IMPORT HASHTABLE_LOOKUP HASHTABLE_SIZE IF IMAG L2_POOL_2D
        LOCAL_RESPONSE_NORMALIZATION LOG LOGICAL_AND LOGICAL_NOT LOGICAL_OR LSH_PROJECTION
        MATRIX_DIAG MATRIX_SET_DIAG MULTINOMIAL NEG NON_MAX_SUPPRESSION_V4
        NON_MAX_SUPPRESSION_V5 ONE_HOT POW PRELU RANDOM_STANDARD_NORMAL RANDOM_UNIFORM RANK
        READ_VARIABLE REAL REDUCE_ALL REDUCE_ANY RELU_0_TO_1 RELU_N1_TO_1 RESHAPE
        REVERSE_SEQUENCE RFFT2D RIGHT_SHIFT ROUND SCATTER_ND SEGMENT_SUM SHAPE SIN SKIP_GRAM
        SQRT SQUARE UNIQUE UNSORTED_SEGMENT_MAX UNSORTED_SEGMENT_MIN UNSORTED_SEGMENT_PROD
        UNSORTED_SEGMENT_SUM VAR_HANDLE WHILE ZEROS_LIKE
    """,
    2: """
        DEPTH_TO_SPACE DIV EXP FAKE_QUANT FLOOR_MOD GELU GREATER L2_NORMALIZATION LEAKY_RELU
        LESS_EQUAL LOG_SOFTMAX RANGE REDUCE_PROD RSQRT SELECT_V2 SIGN SPACE_TO_DEPTH SPLIT_V
        SQUARED_DIFFERENCE SQUEEZE SUM WHERE
    """,
    3: """
        ARG_MAX ARG_MIN AVERAGE_POOL_2D BIDIRECTIONAL_SEQUENCE_LSTM BIDIRECTIONAL_SEQUENCE_RNN
        BROADCAST_TO FLOOR_DIV GREATER_EQUAL LESS LOGISTIC MAX_POOL_2D MEAN MIRROR_PAD NOT_EQUAL
        QUANTIZE REDUCE_MAX REDUCE_MIN RELU RELU6 REVERSE_V2 RNN SOFTMAX SPARSE_TO_DENSE TANH
        TILE TOPK_V2 UNIDIRECTIONAL_SEQUENCE_RNN
    """,
    4: """
        BATCH_MATMUL BATCH_TO_SPACE_ND CONCATENATION EMBEDDING_LOOKUP EQUAL FILL GATHER_ND LSTM
        MAXIMUM MINIMUM PACK PAD PADV2 RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR SELECT
        SPACE_TO_BATCH_ND SPLIT SVDF UNIDIRECTIONAL_SEQUENCE_LSTM UNPACK
    """,
    5: """
        ABS ADD CAST SUB TRANSPOSE_CONV
    """,
    6: """
        DEQUANTIZE GATHER SLICE TRANSPOSE
    """,
    7: """
        DEPTHWISE_CONV_2D MUL
    """,
    8: """
        CONV_2D STRIDED_SLICE
    """,
    13: """
        FULLY_CONNECTED
    """,
}
VERSIONS: dict[str, int] = {
    name: version for version, names in _VERSIONS.items() for name in names.split()
}
"""Every builtin operator of the runtime, and the highest version of it that it has."""
CUSTOM = frozenset(
    {
        "AudioSpectrogram",
        "Convolution2DTransposeBias",
        "MaxPoolingWithArgmax2D",
        "MaxUnpooling2D",
        "Mfcc",
        "NumericVerify",
        "TFLite_Detection_PostProcess",
    }
)
"""The custom operators of the runtime."""

_TYPES = frozenset(
    {
        "bool",
        "complex128",
        "complex64",
        "float16",
        "float32",
        "float64",
        "int16",
        "int32",
        "int4",
        "int64",
        "int8",
        "resource",
        "string",
        "uint16",
        "uint32",
        "uint64",
        "uint8",
        "variant",
    }
)
_INTEGERS = ("int4", "int8", "uint8", "int16")
_READS_MANY_SCALES = {
    "CONV_2D": 1,
    "DEPTHWISE_CONV_2D": 1,
    "FULLY_CONNECTED": 1,
    "TRANSPOSE_CONV": 1,
    "BATCH_MATMUL": 1,
    "EMBEDDING_LOOKUP": 1,
    "DEQUANTIZE": 0,
}
_COPIES = frozenset(
    {
        "CALL_ONCE",
        "DENSIFY",
        "EXPAND_DIMS",
        "IF",
        "RANK",
        "RESHAPE",
        "SHAPE",
        "SQUEEZE",
        "TRANSPOSE",
        "WHILE",
    }
)
_TAKES_QUANTIZED_WEIGHTS = frozenset(
    {
        "BATCH_MATMUL",
        "BIDIRECTIONAL_SEQUENCE_LSTM",
        "BIDIRECTIONAL_SEQUENCE_RNN",
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "EMBEDDING_LOOKUP",
        "FULLY_CONNECTED",
        "LSTM",
        "RNN",
        "SVDF",
        "TRANSPOSE_CONV",
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        "UNIDIRECTIONAL_SEQUENCE_RNN",
    }
)
_READS_SPARSE = {"FULLY_CONNECTED": 1, "DENSIFY": 0}
"""The input of an operator that may hold only the values that are not 0."""


@dataclass(frozen=True)
class Unsupported:
    """An operator that the runtime does not run, or not as the file means it."""

    op: str
    reason: str
    """Why, for all operators of this kind with the same fault."""
    operators: tuple[int, ...]
    """Their places in the main graph; empty where they stand in another one."""

    @property
    def text(self) -> str:
        """``SVDF (operator 3): ...``."""
        if not self.operators:
            return f"{self.op}: {self.reason}"
        first, *others = self.operators
        more = f" and {len(others)} more" if others else ""
        return f"{self.op} (operator {first}{more}): {self.reason}"


def find_unsupported(model: Model) -> list[Unsupported]:
    """What of a file the runtime cannot run, in the file's order; empty if it can run it all."""
    found: dict[tuple[str, str], list[int]] = {}
    for op in model.graph.operators:
        for reason in _faults(model.graph, op):
            found.setdefault((op.op, reason), []).append(op.index)
    used = {op.code for op in model.graph.operators}
    for code in model.codes:
        # All builtin operators that a file names are looked up there; custom ones as they are used.
        elsewhere = code not in used and (not code.custom or model.subgraphs > 1)
        fault = _fault_of_code(code) if elsewhere else None
        if fault is not None:
            found.setdefault((code.name, fault), [])
    return [Unsupported(op, reason, tuple(at)) for (op, reason), at in found.items()]


def read_supported(path: str | os.PathLike[str]) -> Model:
    """Read a file that is to be run on a board.

    Raises:
        ModelError: as :func:`toolchain.tflite_file.graph.read_model`; or the runtime cannot run the
            file: names every operator, and why.
    """
    model = read_model(path)
    require_supported(
        model,
        hint="convert the network with other operators, or quantize it in another way; to see all "
        f"of the file, run: {command('inspect', model.path)}",
    )
    return model


def require_supported(model: Model, *, hint: str) -> None:
    """Refuse a file that the runtime cannot run.

    Args:
        model: the file.
        hint: what to do about it.

    Raises:
        ModelError: names every operator, and why.
    """
    if found := find_unsupported(model):
        faults = "; ".join(item.text for item in found)
        raise ModelError(f"{model.path}: the runtime cannot run it: {faults}", hint=hint)


def _faults(graph: Graph, op: Operator) -> Iterator[str]:
    fault = _fault_of_code(op.code)
    if fault is not None:
        yield fault
        return
    for tensor in _tensors(graph, (*op.inputs, *op.outputs)):
        if tensor.dtype not in _TYPES:
            yield f"a tensor is of type {tensor.dtype}, which {RUNTIME} does not have"
            return
    if op.code.custom:
        return
    yield from _storage_faults(graph, op)
    inputs = [graph.tensors[index] if index >= 0 else None for index in op.inputs]
    missing = missing_kernel(op.op, inputs, [graph.tensors[index] for index in op.outputs])
    if missing is not None:
        yield f"{RUNTIME} has no kernel of it {missing}"


def _storage_faults(graph: Graph, op: Operator) -> Iterator[str]:
    """Of scales that a kernel does not read, and of values that it does not find."""
    weights_alone = op.op in _TAKES_QUANTIZED_WEIGHTS and any(
        tensor.dtype == "float32" for tensor in _tensors(graph, op.outputs[:1])
    )
    for position, index in enumerate(op.inputs):
        if index < 0:
            continue
        tensor = graph.tensors[index]
        if tensor.sparse and _READS_SPARSE.get(op.op) != position:
            yield f"input {position} is stored sparsely, which this operator does not read"
        if tensor.dtype not in _INTEGERS:
            continue
        scales = 0 if tensor.quantization is None else tensor.quantization.scale.size
        many = _READS_MANY_SCALES.get(op.op) == position or op.op in _COPIES
        if scales > 1 and not many:
            yield (
                f"input {position} has {scales} scales, one a channel; this operator's kernel "
                "reads a single one"
            )
        if weights_alone and scales == 0:
            yield (
                f"input {position} is of type {tensor.dtype} and has no scales that can be read "
                "(is it quantized by block?)"
            )


def _fault_of_code(code: OperatorCode) -> str | None:
    if code.custom:
        return None if code.name in CUSTOM else "a custom operator that the runtime does not have"
    newest = VERSIONS.get(code.name)
    if newest is None:
        return f"{RUNTIME} does not have this operator"
    if code.version > newest:
        return f"version {code.version} of it; {RUNTIME} has versions up to {newest}"
    return None


def _tensors(graph: Graph, indices: tuple[int, ...]) -> Iterator[Tensor]:
    return (graph.tensors[index] for index in indices if index >= 0)
