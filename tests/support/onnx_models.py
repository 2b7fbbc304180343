"""Small ONNX files, written node by node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def write(
    path: Path,
    nodes: Sequence[Any],
    shape: Sequence[int | str] = (1, 3, 8, 8),
    constants: Mapping[str, Array] | None = None,
    *,
    outputs: Sequence[str] = ("y",),
    opset: int = 17,
    kind: int = 1,
) -> Path:
    """A model of one input ``x``.

    Args:
        path: the file.
        nodes: of ``onnx.helper.make_node``.
        shape: of the input.
        constants: initializers.
        outputs: their names.
        opset: of the operators.
        kind: ONNX's number of the input's type; 1 is float32.
    """
    import onnx
    from onnx import helper, numpy_helper

    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info("x", kind, list(shape))],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)],
        ir_version=8,
    )
    inferred = onnx.shape_inference.infer_shapes(model).graph.output
    for output, known in zip(model.graph.output, inferred, strict=True):
        output.CopyFrom(known)
        output.type.tensor_type.elem_type = known.type.tensor_type.elem_type or kind
        output.type.tensor_type.shape.SetInParent()
    onnx.save(model, path)
    return path


def conv_net(path: Path, **options: Any) -> Path:
    """A convolution with its weights in ``features.0``, and a ReLU."""
    from onnx import helper

    weights = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)
    return write(
        path,
        [
            helper.make_node(
                "Conv", ["x", "features.0.weight"], ["c"], "/features/0/Conv", pads=[1] * 4
            ),
            helper.make_node("Relu", ["c"], ["y"], "/features/1/Relu"),
        ],
        constants={"features.0.weight": weights},
        **options,
    )


def shaped_net(path: Path) -> Path:
    """What exporters write to flatten an image: its shape is computed."""
    from onnx import helper

    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Slice", ["s", "zero", "one"], ["n"]),
        helper.make_node("Concat", ["n", "rest"], ["t"], axis=0),
        helper.make_node("Reshape", ["x", "t"], ["f"]),
        helper.make_node("Pad", ["f", "pads"], ["p"]),
        helper.make_node("Gemm", ["p", "fc.weight"], ["y"]),
    ]
    numbers = {"zero": [0], "one": [1], "rest": [-1], "pads": [0, 1, 0, 1]}
    constants: dict[str, Array] = {k: np.array(v, np.int64) for k, v in numbers.items()}
    constants["fc.weight"] = np.ones((50, 2), np.float32)
    return write(path, nodes, (1, 3, 4, 4), constants)
