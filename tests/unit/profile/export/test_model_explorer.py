"""Times on the nodes of a graph: which operator of the file each one that ran belongs to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.bundles import write_masked_model
from support.tflite_writer import GraphWriter
from support.timed_ops import conv, listed, other
from toolchain.profile.export.model_explorer import GRAPH, node_data, nodes_of
from toolchain.profile.runner_output import Op
from toolchain.tflite_file.graph import Model, read_model

UNARY, BINARY = "Unary Elementwise (NC)", "Binary Elementwise (ND)"
SHAPE = (1, 4, 4, 2)


def layer(graph: GraphWriter, source: int) -> int:
    filters, bias = np.ones((2, 1, 1, 2), np.float32), np.zeros(2, np.float32)
    return graph.conv_2d(source, filters, bias, SHAPE)


def between(path: Path, *names: str) -> Model:
    """Two layers with operators of one or two equal inputs between them, and one behind."""
    graph = GraphWriter()
    source = graph.tensor(SHAPE)
    value = layer(graph, source)
    for name in names:
        if name == "ADD+":
            value = graph.add(value, value, SHAPE, activation="relu")
        elif name in ("ADD", "MUL", "SUB"):
            value = graph.operator(name, [value, value], SHAPE)
        else:
            value = graph.operator(name, [value], SHAPE)
    return read_model(graph.write(path, [source], [layer(graph, value)]))


def ran(*kinds: str, delegated: bool = True) -> list[Op]:
    """Operators between two layers."""
    inner = [other(float(i), kind, delegated=delegated) for i, kind in enumerate(kinds, 1)]
    return listed(conv(10.0), *inner, conv(20.0))


def test_a_layer_is_the_node_of_its_operator_and_its_mask_is_none(tmp_path: Path) -> None:
    model = read_model(write_masked_model(tmp_path / "m.tflite"))
    assert [op.op for op in model.graph.operators] == ["CONV_2D", "SELECT_V2"] * 2
    assert nodes_of(listed(conv(1.0), conv(2.0)), model) == [0, 2, None]


def test_where_other_layers_ran_nothing_is_told(tmp_path: Path) -> None:
    model = read_model(write_masked_model(tmp_path / "m.tflite"))
    assert nodes_of(listed(conv(1.0)), model) is None
    assert node_data("m", model, listed(conv(1.0))) is None


@pytest.mark.parametrize(
    ("names", "kinds", "nodes"),
    [
        (["RELU"], [UNARY], [1]),
        (["LOGISTIC", "MUL"], [UNARY, BINARY], [1, 2]),
        (["ADD", "RELU", "MUL"], [BINARY, UNARY, BINARY], [1, 2, 3]),
        (["ADD+"], [BINARY, UNARY], [1, 1]),
        (["ADD+", "TANH"], [BINARY, UNARY, UNARY], [1, 1, 2]),
        (["RELU", "TANH"], [UNARY, UNARY], [1, 2]),
        (["RELU"], ["Expand Pixels (NHWC)", UNARY], [None, 1]),
        (["RELU"], [], []),
    ],
)
def test_what_runs_between_layers_is_laid_on_what_stands_between_them(
    tmp_path: Path, names: list[str], kinds: list[str], nodes: list[int | None]
) -> None:
    model = between(tmp_path / "m.tflite", *names)
    last = 1 + len(names)
    assert nodes_of(ran(*kinds), model) == [0, *nodes, last, None]


def test_what_cannot_be_told_apart_is_on_no_node(tmp_path: Path) -> None:
    """One of the two was fused into the layer before; nothing says which."""
    model = between(tmp_path / "m.tflite", "RELU", "TANH")
    assert nodes_of(ran(UNARY), model) == [0, None, 3, None]


def test_parts_of_the_only_operator_of_a_kind_are_all_its_own(tmp_path: Path) -> None:
    model = between(tmp_path / "m.tflite", "RELU")
    assert nodes_of(ran(UNARY, UNARY), model) == [0, 1, 1, 2, None]


def test_operators_of_other_kernels_are_told_by_their_own_names(tmp_path: Path) -> None:
    model = between(tmp_path / "m.tflite", "RELU", "TANH")
    ops = listed(conv(1.0), other(1.0, "TANH", delegated=False), other(1.0, UNARY), conv(1.0))
    assert nodes_of(ops, model) == [0, 2, 1, 3, None]


def test_weights_that_are_unpacked_once_are_no_operator_that_runs(tmp_path: Path) -> None:
    graph = GraphWriter()
    source = graph.tensor(SHAPE)
    value = graph.operator("RELU", [layer(graph, source)], SHAPE)
    filters = graph.dequantize(graph.constant(np.ones((2, 1, 1, 2), np.float16)))
    output = graph.conv_2d(value, filters, np.zeros(2, np.float32), SHAPE)
    path = graph.write(tmp_path / "m.tflite", [source], [output])
    model = read_model(path)
    assert [op.op for op in model.graph.operators] == ["CONV_2D", "RELU", "DEQUANTIZE", "CONV_2D"]
    ops = listed(conv(1.0), other(1.0, UNARY), conv(1.0))
    assert nodes_of(ops, model) == [0, 1, 3, None]


# --- the document ----------------------------------------------------------------------------


def document(text: str | None) -> Any:
    assert text is not None
    return json.loads(text)[GRAPH]


def test_times_are_in_milliseconds_and_add_up_on_a_node(tmp_path: Path) -> None:
    model = between(tmp_path / "m.tflite", "ADD+")
    found = document(node_data("m", model, ran(BINARY, UNARY)))
    assert found["results"] == {
        "0": {"value": 0.01}, "1": {"value": 0.003}, "2": {"value": 0.02},
    }  # fmt: skip
    assert [one["stop"] for one in found["gradient"]] == [0, 0.5, 1]


def test_the_name_says_what_is_on_no_node(tmp_path: Path) -> None:
    model = between(tmp_path / "m.tflite", "RELU", "TANH")
    found = document(node_data("m", model, ran(UNARY)))
    assert found["name"] == "m: ms (0.006 ms more is on no node)", "1 µs, and 5 outside"
    emulated = document(node_data("m", model, ran(UNARY), emulated=True))
    assert "times mean nothing" in emulated["name"]


def test_an_operator_without_a_time_counts_as_none(tmp_path: Path) -> None:
    model = read_model(write_masked_model(tmp_path / "m.tflite"))
    ops = listed(conv(1.0).model_copy(update={"median_us": None}), conv(2.0))
    found = document(node_data("m", model, ops))
    assert found["results"] == {"0": {"value": 0.0}, "2": {"value": 0.002}}


def test_no_control_character_of_a_name_is_left(tmp_path: Path) -> None:
    model = read_model(write_masked_model(tmp_path / "m.tflite"))
    text = node_data("\x1b[2J\udcff", model, listed(conv(1.0), conv(2.0)))
    assert text is not None
    assert text.isascii()
    assert document(text)["name"].startswith("\\x1b[2J\\xff: ms")
