"""JSON that every reader takes, and faults of a document that name their place."""

from __future__ import annotations

import json

import pytest
from pydantic import BaseModel

from toolchain.errors import ModelError
from toolchain.formats.json_text import loads, parse_json, to_json


class Layer(BaseModel):
    """One entry of a document."""

    macs: int


class Document(BaseModel):
    """A document of the tests' own."""

    layers: list[Layer]


def test_what_was_written_is_read_again() -> None:
    document = Document(layers=[Layer(macs=3)])
    assert parse_json(Document, to_json(document), ModelError, "p.json: is none") == document


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('{"layers": [{"macs": 1}, {"macs": "many"}]}', "layers.1.macs: Input should be"),
        ('{"layers": [{}, {}]}', "layers.0.macs: is missing"),
        ("{", "Invalid JSON"),
        ("", "Invalid JSON"),
        (b"\xff\xfe", "Invalid JSON"),
        ('{"layers": ' + "[" * 100_000, "Invalid JSON: recursion limit"),
        ('{"layers": [{"macs": ' + "9" * 5_000 + "}]}", "Invalid JSON: number"),
    ],
)
def test_the_first_fault_is_told_with_its_place(text: str | bytes, fault: str) -> None:
    with pytest.raises(ModelError) as caught:
        parse_json(Document, text, ModelError, "p.json: is none", hint="deploy writes it")
    assert caught.value.what.startswith(f"p.json: is none: {fault}")
    assert caught.value.hint == "deploy writes it"


def test_what_is_no_number_and_what_is_no_character_have_a_form_in_json() -> None:
    text = to_json({"ratio": float("nan"), "file": "a\udcff", "rows": [float("inf"), 1.5]})
    assert json.loads(text) == {"ratio": None, "file": "a\\xff", "rows": [None, 1.5]}


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"a":' * 100_000, "9" * 5_000, b"\xff"])
def test_what_cannot_be_read_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        loads(text)
