"""The keys of board files and recipes, from the models that read them."""

from __future__ import annotations

import json
import types
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from toolchain.dev.reference.attributes import attribute_docs
from toolchain.dev.reference.tables import table
from toolchain.hardware.board_file import Board
from toolchain.sparsity.policies import POLICIES
from toolchain.sweep.spec import Sweep
from toolchain.train.recipe import Masks, Recipe

_HEADINGS = ("key", "type", "default", "meaning")
_SIMPLE = {"string": "text", "boolean": "true or false", "number": "number", "integer": "number"}


def board_keys() -> str:
    """A table of every key of a board file; ``name`` is the file's own name, and no key."""
    return table(_HEADINGS, [row for row in _rows(Board, "") if row[0] != "`name`"])


def recipe_keys() -> str:
    """A table for each table of a recipe."""
    parts = []
    for name, field in Recipe.model_fields.items():
        kind = _model(field.annotation)
        assert kind is not None  # noqa: S101 - a recipe holds tables alone
        said = (kind.__doc__ or "").partition(": ")[2].strip()
        needed = " Required." if field.is_required() else ""
        text = f"{said[:1].upper()}{said[1:]}{needed}".replace("``", "`")
        parts += [f"### `[{name}]`", text, table(_HEADINGS, _rows(kind, ""))]
    return "\n\n".join(filter(None, parts))


def sweep_keys() -> str:
    """A table of the keys outside of tables, then one for each table of a sweep."""
    docs, properties = attribute_docs(Sweep), Sweep.model_json_schema()["properties"]
    outside, parts = [], []
    for name, field in Sweep.model_fields.items():
        found = [item for item in get_args(field.annotation) if _model(item)]
        kind = _model(field.annotation) or (_model(found[0]) if found else None)
        if kind is None:
            outside.append((f"`{name}`", _type(properties[name]), _default(field), docs[name]))
            continue
        text = (kind.__doc__ or "").strip().replace("``", "`")
        said, _, meaning = text.partition(": ")
        needed = " At least one." if field.is_required() else ""
        parts += [f"### {said}", f"{meaning[:1].upper()}{meaning[1:]}{needed}"]
        parts.append(table(_HEADINGS, _rows(kind, "")))
    return "\n\n".join([table(_HEADINGS, outside), *parts])


def _rows(kind: type[BaseModel], before: str) -> list[tuple[str, str, str, str]]:
    docs, properties = attribute_docs(kind), kind.model_json_schema()["properties"]
    rows = []
    for name, field in kind.model_fields.items():
        inner = _model(field.annotation)
        if inner is not None and issubclass(kind, inner):
            # A type's tile has the keys of the table that it stands in.
            rows.append((f"`{before}{name}`", f"table like `[{before[:-1]}]`", "", docs[name]))
            continue
        if inner is not None:
            rows += _rows(inner, f"{before}{name}.")
            continue
        said = properties[name]
        if kind is Masks and name == "policy":
            said = {"enum": list(POLICIES)}
        rows.append((f"`{before}{name}`", _type(said), _default(field), docs.get(name, "")))
    return rows


def _model(annotation: Any) -> type[BaseModel] | None:
    """The table that a key holds; ``None`` where it holds a value."""
    if get_origin(annotation) in (Union, types.UnionType):
        kinds = [item for item in get_args(annotation) if item is not type(None)]
        return _model(kinds[0]) if len(kinds) == 1 else None
    return (
        annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None
    )


def _type(said: dict[str, Any]) -> str:
    if "$ref" in said:
        return "table"
    if "anyOf" in said:
        kinds = [item for item in said["anyOf"] if item.get("type") != "null"]
        return " or ".join(dict.fromkeys(_type(item) for item in kinds))
    if "enum" in said:
        return ", ".join(f"`{json.dumps(item)}`" for item in said["enum"])
    kind = said.get("type")
    if kind == "array":
        return f"list of {_type(said['items'])}"
    if kind == "object":
        values = said["additionalProperties"]
        return "table" if "anyOf" in values else f"table of {_type(values)}"
    if said.get("format") == "path":
        return "path"
    if kind in ("integer", "number"):
        return _range(said)
    return _SIMPLE[str(kind)]


def _range(said: dict[str, Any]) -> str:
    kind = "whole number" if said["type"] == "integer" else "number"
    low, high = said.get("minimum"), said.get("maximum")
    if low is not None and high is not None:
        return f"{low:g} to {high:g}"
    limits = [
        f"{word} {said[key]:g}"
        for key, word in (("minimum", "from"), ("exclusiveMinimum", "above"),
                          ("maximum", "up to"), ("exclusiveMaximum", "below"))
        if key in said
    ]  # fmt: skip
    if said["type"] == "integer" and limits == ["from 1"]:
        return kind
    if said.get("exclusiveMaximum", 0) >= 1 << 31:
        limits = limits[:-1]
    return f"{kind} {', '.join(limits)}".strip()


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.default
    if value is None or value is PydanticUndefined:
        return ""
    if isinstance(value, tuple):
        value = list(value)
    return f"`{json.dumps(value)}`" if not isinstance(value, float) else f"`{value:g}`"
