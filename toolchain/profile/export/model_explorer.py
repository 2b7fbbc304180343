"""Times on the nodes of a model's graph, for Google's Model Explorer.

A file of node data gives values to the nodes of a graph; the format is that of ``ModelNodeData`` in
Model Explorer's ``node_data_builder.py``. Its "TFLite adapter (Flatbuffer)", which it takes for
``.tflite`` files, calls the first graph ``main``, and a node by its operator's index in the file.

What XNNPACK runs is told by layers: a layer is a node, and a mask or a padding that is fused into
it is no operator that runs. What runs between two layers is laid on what stands between them in the
file, where numbers of a kind tell which is which: the sum and the activation of an ``ADD`` with
``RELU`` are both its node's. What cannot be told apart, and what no operator of the file stands for
(a change of layout), is on no node; the name of the data says how much that is.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from toolchain.foreign_text import harmless
from toolchain.formats.json_text import without_lone_bytes
from toolchain.profile.operators import is_layer
from toolchain.profile.runner_output import REMAINDER, Op
from toolchain.tflite_file.graph import ACTIVATIONS, Graph, Model, Operator
from toolchain.tflite_file.layers import find_layers

GRAPH = "main"
"""What Model Explorer calls the first graph of a ``.tflite`` file."""
_COLOURS = ("#ffffff", "#ffe0b2", "#e65100")
"""From the shortest time to the longest."""
_UNARY, _BINARY, _COPY = "Unary Elementwise", "Binary Elementwise", "Copy"
# XNNPACK's names for operators begin with these, as the delegate of TensorFlow 2.14 makes them.
_KINDS = {
    **dict.fromkeys(
        (
            *("RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "LOGISTIC", "TANH", "HARD_SWISH"),
            *("ELU", "GELU", "LEAKY_RELU", "ABS", "NEG", "SQUARE", "SQRT", "RSQRT", "FLOOR"),
            *("CEIL", "ROUND", "EXP", "LOG", "SIN", "COS", "QUANTIZE", "DEQUANTIZE"),
        ),
        _UNARY,
    ),
    **dict.fromkeys(
        ("ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE", "PRELU"), _BINARY
    ),
    **dict.fromkeys(("CONCATENATION", "RESHAPE", "EXPAND_DIMS", "SQUEEZE"), _COPY),
    "MAX_POOL_2D": "Max Pooling",
    "AVERAGE_POOL_2D": "Average Pooling",
    "MEAN": "Mean",
    "SUM": "Sum",
    "PAD": "Constant Pad",
    "PADV2": "Constant Pad",
    "SLICE": "Slice",
    "STRIDED_SLICE": "Slice",
    "TRANSPOSE": "Transpose",
    "SOFTMAX": "Softmax",
    "RESIZE_BILINEAR": "Resize Bilinear",
    "SPACE_TO_DEPTH": "Space To Depth",
    "DEPTH_TO_SPACE": "Depth To Space",
}
_XNNPACK = tuple(dict.fromkeys(_KINDS.values()))


def node_data(name: str, model: Model, ops: Sequence[Op], *, emulated: bool = False) -> str | None:
    """The times of a model's operators as node data, in milliseconds, as JSON.

    Args:
        name: of the model.
        model: the file.
        ops: what the runner says of its operators, the remainder at their end.
        emulated: whether times mean nothing, which the name of the data then says.

    Returns:
        ``None`` where other layers ran than the file has.
    """
    nodes = nodes_of(ops, model)
    if nodes is None:
        return None
    times_us: dict[int, float] = defaultdict(float)
    outside_us = 0.0
    for op, node in zip(ops, nodes, strict=True):
        if node is None:
            outside_us += op.median_us or 0.0
        else:
            times_us[node] += op.median_us or 0.0
    title = f"{name}: ms ({outside_us / 1000:.3g} ms more is on no node)"
    if emulated:
        title += ", emulated: times mean nothing"
    stops = [index / (len(_COLOURS) - 1) for index in range(len(_COLOURS))]
    data: dict[str, Any] = {
        "name": harmless(without_lone_bytes(title)),
        "results": {str(node): {"value": us / 1000} for node, us in sorted(times_us.items())},
        "gradient": [
            {"stop": stop, "bgColor": colour} for stop, colour in zip(stops, _COLOURS, strict=True)
        ],
    }
    return json.dumps({GRAPH: data}, indent=1) + "\n"


def nodes_of(ops: Sequence[Op], model: Model) -> list[int | None] | None:
    """The operator of the file that each operator which ran belongs to.

    Args:
        ops: what the runner says of them, the remainder at their end.
        model: the file.

    Returns:
        Indices in the file's first graph, ``None`` for what is on no node; or ``None`` where other
        layers ran than the file has.
    """
    ran = [index for index, op in enumerate(ops) if is_layer(op.type)]
    layers = [layer.index for layer in find_layers(model)]
    if len(ran) != len(layers):
        return None
    found: list[int | None] = [None] * len(ops)
    for index, node in zip(ran, layers, strict=True):
        found[index] = node
    ends_ran = [-1, *ran, len(ops)]
    ends_file = [-1, *layers, len(model.graph.operators)]
    for place in range(len(ran) + 1):
        between = range(ends_ran[place] + 1, ends_ran[place + 1])
        region = model.graph.operators[ends_file[place] + 1 : ends_file[place + 1]]
        for index, node in _matched([(i, ops[i]) for i in between], region, model.graph):
            found[index] = node
    return found


def _matched(
    ran: Sequence[tuple[int, Op]], region: Sequence[Operator], graph: Graph
) -> Iterator[tuple[int, int]]:
    """Operators between two layers: the index of one that ran, and of the file's."""
    kernels: dict[str, list[int]] = defaultdict(list)
    of_xnnpack: dict[str, list[int]] = defaultdict(list)
    for index, op in ran:
        if op.type == REMAINDER:
            continue
        if not op.delegated:
            kernels[op.type].append(index)
        elif kind := next(filter(op.type.startswith, _XNNPACK), None):
            of_xnnpack[kind].append(index)
    left = list(region)
    for kind, indices in kernels.items():
        same = [op for op in left if op.op == kind]
        if len(same) == len(indices):
            yield from zip(indices, (op.index for op in same), strict=True)
            left = [op for op in left if op.op != kind]
    for kind, indices in of_xnnpack.items():
        nodes = [op.index for op in left for each in _parts(op, graph) if each == kind]
        if len(nodes) == len(indices):
            yield from zip(indices, nodes, strict=True)
        elif len(set(nodes)) == 1:
            yield from ((index, nodes[0]) for index in indices)


def _parts(op: Operator, graph: Graph) -> Iterator[str]:
    """The kinds of operators that XNNPACK makes of one of the file's, if none is fused away."""
    if op.op == "DEQUANTIZE" and all(graph.tensors[i].constant for i in op.inputs if i >= 0):
        return  # weights that are unpacked once
    if kind := _KINDS.get(op.op):
        yield kind
        fused = ACTIVATIONS.get(op.options.get("FusedActivationFunction", 0), "NONE")
        if kind == _BINARY and fused != "NONE":
            yield _UNARY
