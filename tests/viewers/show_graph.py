"""A model and its node data as Model Explorer has them; run by the environment that has it.

``python show_graph.py MODEL NODE_DATA`` prints the graphs that Model Explorer makes of a file, with
the label of each node by its id, and the node data as it would hand it to the page. It is its own
server that does both, asked as its page asks it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import dacite
import model_explorer
from model_explorer.extension_manager import ExtensionManager
from model_explorer.node_data_builder import GraphNodeData, ModelNodeData


def graphs(model: str, adapter: str) -> dict[str, dict[str, str]]:
    """Node ids and labels of each graph, by an adapter of Model Explorer's."""
    manager = ExtensionManager()
    manager.load_extensions()
    answer = manager.run_cmd(
        {"cmdId": "convert", "extensionId": adapter, "modelPath": model, "settings": {},
         "deleteAfterConversion": False}
    )  # fmt: skip
    found: list[Any] = [graph for one in answer["graphCollections"] for graph in one["graphs"]]
    return {graph["id"]: {node["id"]: node["label"] for node in graph["nodes"]} for graph in found}


def default_adapter(model: str) -> str:
    """The first one that says that it takes such files, which is the one that the page takes."""
    manager = ExtensionManager()
    manager.load_extensions()
    suffix = model.rpartition(".")[2]
    return next(
        str(one["id"]) for one in manager.get_extensions_metadata() if suffix in one["fileExts"]
    )


def node_data(path: str) -> dict[str, dict[str, float]]:
    """The values of a file of node data by graph and node, read by Model Explorer's own classes."""
    content = json.loads(Path(path).read_text(encoding="utf-8"))
    strict = dacite.Config(strict=True)
    found = {
        graph: dacite.from_dict(GraphNodeData, values, strict) for graph, values in content.items()
    }
    written = json.loads(ModelNodeData(found).to_json_string())
    assert {graph: one["results"] for graph, one in written.items()} == {
        graph: one["results"] for graph, one in content.items()
    }
    return {
        graph: {node: result.value for node, result in one.results.items()}
        for graph, one in found.items()
    }


def main() -> None:
    """Print all of it."""
    config = model_explorer.config()
    config.add_model_from_path(sys.argv[1]).add_node_data_from_path(sys.argv[2])
    page = json.loads(unquote(config.to_url_param_value()))  # what its page is told to open
    (model,), (data,) = page["models"], page["nodeData"]
    adapter = default_adapter(model["url"])
    found = {
        "adapter": adapter,
        "graphs": graphs(model["url"], adapter),
        "values": node_data(data),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
