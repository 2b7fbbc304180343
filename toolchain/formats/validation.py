"""What pydantic finds wrong with a document, in the user's own words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from toolchain.hints import did_you_mean

_SAID = {"extra_forbidden": "is not a known key", "missing": "is missing"}
_OF_PYTHON = {
    "Input should be a valid tuple": "must be a list",
    "Input should be a valid dictionary or instance of ": "must be a table",
}
"""How pydantic begins where it calls something by Python's name, and TOML's words for it; of JSON
it speaks as JSON does."""


@dataclass(frozen=True)
class Fault:
    """One wrong key or value."""

    key: str
    """With those of the tables or objects around it: ``masks.sparsity``; empty: all of it."""
    said: str
    """What is wrong, with ``did you mean ...?`` where a name is near."""

    def __str__(self) -> str:
        """``masks.sparsity: is missing``."""
        return f"{self.key}: {self.said}" if self.key else self.said


def faults(error: ValidationError, model: type[BaseModel]) -> list[Fault]:
    """Every fault of a document, in its order; there is one at least.

    Args:
        error: what pydantic raised.
        model: what the document should be, whose keys may have been meant.
    """
    return [_fault(item, model) for item in error.errors()]


def _fault(item: ErrorDetails, model: type[BaseModel]) -> Fault:
    told = item["msg"].removeprefix("Value error, ")
    told = next((words for begin, words in _OF_PYTHON.items() if told.startswith(begin)), told)
    said = _SAID.get(item["type"], told)
    meant = _meant(model, item)
    return Fault(
        ".".join(str(part) for part in item["loc"]), said + (f"; {meant}" if meant else "")
    )


def _meant(model: type[BaseModel], item: ErrorDetails) -> str:
    """``did you mean ...?`` for a wrong key, or for a word that is none of a few."""
    loc = item["loc"]
    if item["type"] == "extra_forbidden":
        return did_you_mean(str(loc[-1]), _keys(model, loc[:-1]))
    if item["type"] == "literal_error" and isinstance(item["input"], str):
        return did_you_mean(item["input"], re.findall(r"'([^']*)'", item["ctx"]["expected"]))
    return ""


def _keys(model: type[BaseModel], loc: Sequence[int | str]) -> list[str]:
    """The keys of the table at ``loc``; none where it is not a table of its own."""
    for part in loc:
        if isinstance(part, int):  # one of several tables
            continue
        field = model.model_fields.get(str(part))
        kinds = [] if field is None else [field.annotation, *get_args(field.annotation)]
        tables = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if not tables:
            return []
        model = tables[0]
    return list(model.model_fields)
