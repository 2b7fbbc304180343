"""Each operator gives what onnxruntime gives: :func:`load` compares the two."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.onnx_models import Array, write
from toolchain import extras
from toolchain.convert.from_onnx.operators import OPERATORS, REFUSED
from toolchain.convert.from_onnx.source import load
from toolchain.errors import ModelError

if extras.missing_modules("onnx"):
    pytest.skip("the extra onnx is not installed", allow_module_level=True)


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


def floats(*shape: int) -> Array:
    return np.random.default_rng(1).uniform(0.5, 1.5, shape).astype(np.float32)


@dataclass(frozen=True)
class Case:
    """One operator on ``x``."""

    op: str
    constants: Mapping[str, Array] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    shape: tuple[int, ...] = (1, 4, 6, 8)
    opset: int = 17
    inputs: str = ""
    """Their names, ``x`` and the constants by default; ``-`` for one that is left away."""
    outputs: int = 1

    def __str__(self) -> str:
        said = [f"{name}={value}" for name, value in self.attributes.items()]
        shapes = ["x".join(map(str, value.shape)) for value in self.constants.values()]
        return " ".join([self.op, f"opset{self.opset}", *shapes, *said]).replace("\n", "")


def of(op: str, *constants: Any, **attributes: Any) -> Case:
    return Case(op, {f"c{n}": np.asarray(value) for n, value in enumerate(constants)}, attributes)


def at(case: Case, **changes: Any) -> Case:
    return Case(**{**case.__dict__, **changes})


PLAIN = [
    *("Relu", "Sigmoid", "Tanh", "Erf", "Exp", "Neg", "Abs", "Floor", "Ceil", "Round", "Sign"),
    *("Sin", "Cos", "Softplus", "Softsign", "HardSwish", "Identity", "Elu", "Celu", "Selu"),
    *("LeakyRelu", "HardSigmoid", "Softmax", "LogSoftmax", "GlobalAveragePool", "GlobalMaxPool"),
    *("Flatten", "Transpose", "ThresholdedRelu", "ReduceMean", "ReduceMax", "ReduceMin"),
    *("ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp", "LpNormalization", "Atan"),
]
WINDOWS = [
    of("Conv", floats(6, 4, 3, 3)),
    of("Conv", floats(6, 4, 3, 3), floats(6), pads=[1, 1, 1, 1], strides=[2, 2]),
    of("Conv", floats(6, 4, 3, 3), pads=[0, 0, 1, 1], strides=[2, 2]),
    of("Conv", floats(6, 4, 3, 3), auto_pad="SAME_UPPER", strides=[2, 2]),
    of("Conv", floats(6, 4, 3, 3), auto_pad="SAME_LOWER", strides=[2, 2]),
    of("Conv", floats(8, 2, 3, 3), group=2, dilations=[2, 2]),
    at(of("Conv", floats(6, 4, 3), pads=[1, 1]), shape=(1, 4, 9)),
    of("ConvTranspose", floats(4, 6, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1]),
    of("ConvTranspose", floats(4, 6, 3, 3), strides=[2, 2], pads=[0, 1, 1, 0]),
    of("ConvTranspose", floats(4, 6, 3, 3), strides=[2, 2], output_padding=[1, 1]),
    of("ConvTranspose", floats(4, 6, 3, 3), strides=[2, 2], auto_pad="SAME_UPPER"),
    of("ConvTranspose", floats(4, 3, 3, 3), floats(6), group=2, strides=[2, 2]),
    of("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    of("MaxPool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
    of("MaxPool", kernel_shape=[2, 2], strides=[2, 2], pads=[0, 0, 1, 1]),
    of("MaxPool", kernel_shape=[3, 3], auto_pad="SAME_UPPER", strides=[2, 2]),
    of("AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    of("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
    of("AveragePool", kernel_shape=[3, 3], pads=[0, 0, 1, 1]),
    of("AveragePool", kernel_shape=[3, 3], auto_pad="SAME_UPPER", strides=[2, 2]),
]
LAYERS = [
    at(of("Gemm", floats(8, 5), floats(5)), shape=(2, 8)),
    at(of("Gemm", floats(5, 8), floats(5), transB=1), shape=(2, 8)),
    at(of("Gemm", floats(2, 5), floats(8, 5), transA=1, alpha=0.5, beta=2.0), shape=(2, 8)),
    of("MatMul", floats(8, 5)),
    of("MatMul", floats(4, 8, 5)),
    at(of("MatMul", floats(3, 6)), inputs="c0 x"),
    of("BatchNormalization", floats(4), floats(4), floats(4), floats(4), epsilon=1e-3),
    at(of("BatchNormalization", floats(8), floats(8), floats(8), floats(8)), shape=(3, 8)),
    of("LayerNormalization", floats(8), floats(8)),
    of("LayerNormalization", floats(6, 8), floats(6, 8), axis=2, epsilon=1e-3),
    of("InstanceNormalization", floats(4), floats(4)),
    at(of("GroupNormalization", floats(4), floats(4), num_groups=2), opset=21),
    of("LRN", size=3),
    of("PRelu", floats(4, 1, 1)),
    of("PRelu", floats(1)),
    of("PRelu", floats(6, 8)),
    at(of("Gelu"), opset=20),
    at(of("Gelu", approximate="tanh"), opset=20),
    at(of("Mish"), opset=18),
]
NUMBERS = [
    *(of(op, floats(4, 1, 1)) for op in ("Add", "Sub", "Mul", "Div", "Min", "Max", "Sum")),
    of("Pow", np.array([[[1]], [[2]], [[3]], [[4]]], np.float32)),
    of("Mean", floats(4, 1, 1), floats(8)),
    of("Mod", floats(1), fmod=1),
    at(of("Sub", floats(4, 1, 1)), inputs="c0 x"),
    of("Pow", np.float32(2)),
    of("Clip", np.float32(0), np.float32(6)),
    of("Clip", np.float32(-1), np.float32(1)),
    at(of("Clip", np.float32(0.5)), inputs="x - c0"),
    at(of("Clip", max=0.5), opset=9),
    at(of("Softmax", axis=2), opset=11),
    at(of("Softmax", axis=1), opset=9),
    of("Softmax", axis=1),
    of("ReduceMean", axes=[2, 3]),
    of("ReduceMean", axes=[-1], keepdims=0),
    of("ReduceSum", ints(1)),
    of("ReduceProd", axes=[1, 3], keepdims=0),
    at(of("ReduceMax", ints(1, 2)), opset=18),
    at(of("ReduceSum", noop_with_empty_axes=1), opset=13),
    of("CumSum", np.int64(2)),
    of("CumSum", np.int64(2), reverse=1),
    of("Einsum", floats(8, 5), equation="bchw,wk->bchk"),
    at(of("Einsum", equation="bchw->bhwc"), inputs="x"),
]
MOVED = [
    of("Reshape", ints(0, -1)),
    of("Reshape", ints(2, 2, 0, -1)),
    of("Flatten", axis=2),
    of("Flatten", axis=-1),
    of("Transpose", perm=[0, 2, 3, 1]),
    at(of("Squeeze", ints(0)), shape=(1, 4, 6)),
    at(of("Squeeze"), shape=(1, 4, 6)),
    at(of("Squeeze", axes=[0]), shape=(1, 4, 6), opset=11),
    of("Unsqueeze", ints(0, 3)),
    at(of("Unsqueeze", axes=[-1]), opset=11),
    of("Concat", floats(1, 2, 6, 8), axis=1),
    at(of("Split", axis=1), outputs=2),
    at(of("Split", ints(1, 3), axis=1), outputs=2),
    of("Slice", ints(1), ints(-1), ints(2)),
    of("Slice", ints(1, 7), ints(100, -100), ints(2, 3), ints(2, -2)),
    of("Slice", ints(-3), ints(2**62), ints(-1)),
    at(of("Slice", starts=[1], ends=[3], axes=[1]), opset=9),
    of("Gather", ints(3, -1, 0), axis=1),
    of("Gather", np.int64(2), axis=-1),
    of("Gather", np.array([[0, 1], [2, 3]]), axis=2),
    of("GatherElements", np.zeros((1, 4, 2, 8), np.int64), axis=2),
    of("GatherND", np.array([[0, 1], [0, 3]])),
    of("ScatterND", np.array([[0, 1], [0, 3]]), floats(2, 6, 8)),
    of("Expand", ints(2, 4, 6, 8)),
    of("Tile", ints(1, 2, 1, 3)),
    of("Pad", ints(0, 0, 1, 2, 0, 0, 3, 0)),
    of("Pad", ints(0, 0, 1, 2, 0, 0, 3, 0), np.float32(0.5)),
    of("Pad", ints(0, 0, 1, 2, 0, 0, 3, 0), mode="reflect"),
    of("Pad", ints(0, 0, 1, 2, 0, 0, 3, 0), mode="edge"),
    of("Pad", ints(0, 1, 0, 0, 0, 2, 0, 0)),
    of("DepthToSpace", blocksize=2),
    of("DepthToSpace", blocksize=2, mode="CRD"),
    of("SpaceToDepth", blocksize=2),
    of("Where", np.ones((6, 1), bool), floats(1)),
    of("Trilu", upper=0),
    at(of("Where", np.arange(8) > 3, floats(1)), inputs="c0 x c1"),
    of("Dropout"),
    of("Cast", to=1),
    at(of("TopK", ints(3), axis=2), outputs=2),
]
SIZES = {"sizes": ints(1, 4, 12, 16), "odd": ints(1, 4, 9, 13)}
RESIZED = [
    Case("Resize", constants, attributes, inputs=f"x - - {next(iter(constants))}")
    for constants in ({name: value} for name, value in SIZES.items())
    for attributes in (
        {
            "mode": "nearest",
            "coordinate_transformation_mode": "asymmetric",
            "nearest_mode": "floor",
        },
        {"mode": "linear", "coordinate_transformation_mode": "half_pixel"},
        {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
        {"mode": "cubic", "coordinate_transformation_mode": "half_pixel"},
        {"mode": "nearest", "nearest_mode": "round_prefer_ceil"},
    )
] + [
    Case("Resize", {"s": SIZES["sizes"]}, {"mode": "nearest"}, inputs="x - - s"),
    Case("Resize", {"s": np.array([1, 1, 2, 2], np.float32)}, {}, inputs="x - s"),
    Case("Upsample", {"s": np.array([1, 1, 2, 2], np.float32)}, {}, inputs="x s", opset=9),
]
# Pixels lie where the scale says, also where it leaves a rest: 6 x 8 pixels become 9 x 11 ...
SCALED = [
    Case("Resize", {"s": np.array([1, 1, *scales], np.float32)}, attributes, inputs="x - s")
    for scales in ((1.5, 1.45), (0.7, 0.7), (1.2, 2), (5 / 3, 1 / 3))
    for attributes in (
        {
            "mode": "nearest",
            "coordinate_transformation_mode": "asymmetric",
            "nearest_mode": "floor",
        },
        {"mode": "nearest", "nearest_mode": "round_prefer_ceil"},
        {"mode": "linear", "coordinate_transformation_mode": "half_pixel"},
        {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
        {"mode": "cubic", "coordinate_transformation_mode": "half_pixel"},
    )
]
CASES = [*map(of, PLAIN), *WINDOWS, *LAYERS, *NUMBERS, *MOVED, *RESIZED, *SCALED]


def model_of(case: Case, path: Path) -> Path:
    from onnx import helper

    words = case.inputs.split() or ["x", *case.constants]
    if case.op == "Where" and not case.inputs:
        words = ["c0", "x", "c1"]
    outputs = [f"y{n}" for n in range(case.outputs)]
    names = ["" if word == "-" else word for word in words]
    node = helper.make_node(case.op, names, outputs, **case.attributes)
    return write(path, [node], case.shape, case.constants, outputs=outputs, opset=case.opset)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_an_operator_gives_what_onnxruntime_gives(case: Case, tmp_path: Path) -> None:
    _, _, notes = load(model_of(case, tmp_path / "model.onnx"), None)
    assert "as onnxruntime" in notes[0]


@pytest.mark.parametrize(
    ("op", "attributes"),
    [
        ("Conv", {"pads": [1, 1, 1, 1]}),
        ("Conv", {"pads": [0, 0, 2, 2]}),
        ("ConvTranspose", {"pads": [1, 1, 1, 1]}),
        ("ConvTranspose", {"pads": [0, 2, 2, 0]}),
        ("MaxPool", {"pads": [1, 1, 1, 1], "kernel_shape": [3, 3]}),
    ],
)
def test_a_window_over_constants_gives_what_onnxruntime_gives(
    op: str, attributes: Mapping[str, Any], tmp_path: Path
) -> None:
    from onnx import helper

    weights = ["w", "b"] if op != "MaxPool" else []
    constants = {"c": floats(1, 4, 6, 8), "w": floats(4, 4, 3, 3), "b": floats(4)}
    nodes = [
        helper.make_node(op, ["c", *weights], ["p"], **attributes),
        helper.make_node("Mul", ["x", "p"], ["y"]),
    ]
    _, _, notes = load(write(tmp_path / "model.onnx", nodes, (1, 4, 6, 8), constants), None)
    assert "as onnxruntime" in notes[0]


@pytest.mark.parametrize("op", ["Conv", "ConvTranspose"])
def test_weights_that_depend_on_the_input_are_refused_over_constants_too(
    op: str, tmp_path: Path
) -> None:
    from onnx import helper

    node = helper.make_node(op, ["c", "x"], ["y"], kernel_shape=[3, 3])
    path = write(tmp_path / "model.onnx", [node], (4, 4, 3, 3), {"c": floats(1, 4, 6, 8)})
    with pytest.raises(ModelError, match="its weights depend on the network's input"):
        load(path, None)


REFUSALS = [
    (of("Conv"), "its input 1 is missing|not as the standard"),
    (of("AveragePool", kernel_shape=[3, 3], dilations=[2, 2]), "is dilated|not as the standard"),
    (of("CumSum", np.int64(2), exclusive=1), "leaves out the element itself"),
    (of("ArgMax", select_last_index=1), "takes the last of several"),
    (at(of("Resize", SIZES["odd"]), inputs="x - - c0"), "resizes by 'half_pixel'"),
    (
        Case(
            "Resize",
            {"s": np.array([1, 1, 1.1, 2], np.float32)},
            {"mode": "linear"},
            inputs="x - s",
        ),
        "resizes 6 pixels by 1.1 to as many",
    ),
    (of("Hardmax"), "the operator Hardmax 'y0' is not known here"),
]


@pytest.mark.parametrize(("case", "message"), REFUSALS, ids=str)
def test_what_torch_has_no_counterpart_of_is_refused(
    case: Case, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=message):
        load(model_of(case, tmp_path / "model.onnx"), None)


def test_an_operator_of_boxes_says_where_it_belongs() -> None:
    assert "behind the network" in REFUSED["NonMaxSuppression"]
    assert not REFUSED.keys() & OPERATORS.keys()
