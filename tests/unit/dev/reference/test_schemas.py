"""Schemas say what the source says, and a document of ours fits its schema's outermost keys."""

from __future__ import annotations

import json
import tomllib

import pytest

from support.places import REPOSITORY
from toolchain.dev.reference.schemas import DOCUMENTS, Document, schema

BOARD = next(item for item in DOCUMENTS if item.name == "board")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda item: item.name)
def test_a_schema_names_the_keys_of_its_document(document: Document) -> None:
    made = json.loads(schema(document))
    assert made["properties"]
    assert set(made.get("required", [])) <= set(made["properties"])


def test_a_property_says_what_the_source_says() -> None:
    properties = json.loads(schema(BOARD))["properties"]
    assert properties["cpu"]["description"].startswith("The core, as Arm")
    assert "name" not in properties, "the file's own name"


@pytest.mark.parametrize("path", sorted((REPOSITORY / "boards").glob("*.toml")))
def test_boards_that_ship_have_keys_of_the_schema(path: object) -> None:
    keys = tomllib.loads((REPOSITORY / str(path)).read_text())
    assert set(keys) <= set(json.loads(schema(BOARD))["properties"])
