"""What the functions that :mod:`toolchain` has by name do, and what their results hold."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from typing import Any

import toolchain
from toolchain.api.board import Board, ConnectedBoard
from toolchain.board.verify import Verification
from toolchain.dev.reference.attributes import attribute_docs, markdown
from toolchain.dev.reference.tables import table
from toolchain.operations.push import PushedFile, PushResult
from toolchain.operations.result import FailedModel
from toolchain.operations.run import RunOutput, RunResult
from toolchain.operations.verify import VerifyResult

_RESULTS = (
    PushResult, PushedFile, RunResult, RunOutput, VerifyResult, Verification, FailedModel,
)  # fmt: skip
"""Those that stand on no other page."""
_ELSEWHERE = {
    "Bundle": "bundle.md",
    "Conversion": "json.md#conversion",
    "Estimate": "json.md#estimate",
    "Gain": "json.md#gain",
    "Inspection": "json.md#inspection",
    "Profile": "json.md#profile",
}


def python_names() -> str:
    """A row for each function, and a table of the fields of each result."""
    rows = [
        (f"`{name}`", _result(function), markdown((function.__doc__ or "").split("\n\n")[0]))
        for name, function in functions().items()
    ]
    parts = [table(("name", "result", "what it does"), rows)]
    for kind in _RESULTS:
        parts.append(f"**{kind.__name__}**: {markdown((kind.__doc__ or '').split(chr(10) * 2)[0])}")
        parts.append(table(("field", "what it is"), _fields(kind)))
    return "\n\n".join(parts)


def functions() -> dict[str, Any]:
    """What can be called, by the name that a program has for it."""
    found = {}
    for name in sorted(toolchain._PLACES):
        value = getattr(importlib.import_module(toolchain._PLACES[name]), name)
        if inspect.isfunction(value):
            found[name] = value
    for kind in (Board, ConnectedBoard):
        for name, value in vars(kind).items():
            if inspect.isfunction(value) and not name.startswith("_"):
                found[f"{kind.__name__}.{name}"] = value
    return found


def _result(function: Any) -> str:
    name = str(inspect.signature(function).return_annotation)
    return f"[`{name}`]({_ELSEWHERE[name]})" if name in _ELSEWHERE else f"`{name}`"


def _fields(kind: type[Any]) -> list[tuple[str, str]]:
    docs = attribute_docs(kind)
    rows = [(f"`{one.name}`", docs.get(one.name, "")) for one in dataclasses.fields(kind)]
    for name, value in vars(kind).items():
        if isinstance(value, property):
            rows.append((f"`{name}`", markdown((value.__doc__ or "").split("\n\n")[0])))
    return rows
