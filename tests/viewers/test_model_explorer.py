"""Node data of a saved run beside the graphs that Model Explorer makes of the models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.viewers import NETWORKS, Script
from toolchain.profile.document import Profile
from toolchain.profile.export.model_explorer import GRAPH
from toolchain.profile.runner_output import REMAINDER
from toolchain.tflite_file.graph import read_model
from toolchain.tflite_file.layers import find_layers


@pytest.fixture(scope="module", params=NETWORKS)
def name(request: pytest.FixtureRequest) -> str:
    """Of a network."""
    chosen: str = request.param
    return chosen


@pytest.fixture(scope="module")
def shown(name: str, saved: Path, models: dict[str, Path], script: Script) -> Any:
    """What Model Explorer makes of the file and of the data."""
    return script("show_graph.py", models[name], saved / f"model-explorer/{name}.json")


def test_every_node_of_the_data_is_in_the_graph(shown: Any) -> None:
    assert shown["adapter"] == "builtin_tflite_flatbuffer", "the one that it takes by itself"
    assert set(shown["values"]) == {GRAPH} <= set(shown["graphs"])
    assert shown["values"][GRAPH]
    assert set(shown["values"][GRAPH]) <= set(shown["graphs"][GRAPH])


def test_nodes_are_operators_of_their_kind(shown: Any, name: str, models: dict[str, Path]) -> None:
    model = read_model(models[name])
    labels = shown["graphs"][GRAPH]
    for op in model.graph.operators:
        assert labels[str(op.index)] == op.op.lower()
    layers = {str(layer.index) for layer in find_layers(model)}
    assert layers <= set(shown["values"][GRAPH])
    others = {labels[node] for node in set(shown["values"][GRAPH]) - layers}
    assert others == {"add", "mean"}, "masks and paddings are fused, and take no time of their own"


def test_times_add_up_to_those_of_the_operators(shown: Any, name: str, profile: Profile) -> None:
    (item,) = (one for one in profile.measurements if one.name == name)
    assert item.output.ops is not None
    total_us = sum(op.median_us or 0.0 for op in item.output.ops if op.type != REMAINDER)
    assert sum(shown["values"][GRAPH].values()) == pytest.approx(total_us / 1000)
