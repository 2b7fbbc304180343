"""Read a TOML file into a typed model, with every fault in the user's own words."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from toolchain.errors import DeployError
from toolchain.formats.text_file import read_text
from toolchain.hints import did_you_mean

_Model = TypeVar("_Model", bound=BaseModel)
_SAID = {"extra_forbidden": "is not a known key", "missing": "is missing"}


def read_toml(path: Path, fault: type[DeployError]) -> dict[str, Any]:
    """The tables of a file.

    Raises:
        DeployError: ``fault``: the file cannot be read, or is not TOML.
    """
    text = read_text(path, fault, kind="TOML")
    try:
        tables = tomllib.loads(text)
    except RecursionError as error:
        raise fault(f"{path}: cannot be read: arrays or tables in too many others") from error
    except ValueError as error:  # not all are TOMLDecodeError: a number of 5,000 digits is none
        raise fault(f"{path}: is not TOML: {str(error).partition(';')[0]}") from error
    if key := _too_large(tables):
        raise fault(f"{path}: {key}: is a number of more than 64 bits")
    return tables


def _too_large(tables: dict[str, Any]) -> str | None:
    """The key of an integer that TOML does not have."""
    waiting: list[tuple[str, Any]] = list(tables.items())  # no recursion: they may be deep
    while waiting:
        key, value = waiting.pop()
        if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
            return key
        if isinstance(value, dict):
            waiting += [(f"{key}.{name}", part) for name, part in value.items()]
        elif isinstance(value, list):
            waiting += [(key, part) for part in value]
    return None


def validate(
    model: type[_Model], data: dict[str, Any], path: Path, fault: type[DeployError], *, hint: str
) -> _Model:
    """The typed model of a file's tables.

    Raises:
        DeployError: ``fault``: each wrong key and value on a line of its own.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        lines = []
        for item in error.errors():
            key = ".".join(str(part) for part in item["loc"]) or "(whole file)"
            said = _SAID.get(item["type"], item["msg"].removeprefix("Value error, "))
            meant = _meant(model, item)
            lines.append(f"{path}: {key}: {said}" + (f"; {meant}" if meant else ""))
        raise fault("\n".join(lines), hint=hint) from error


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
        field = model.model_fields.get(str(part))
        kinds = [] if field is None else [field.annotation, *get_args(field.annotation)]
        tables = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if not tables:
            return []
        model = tables[0]
    return list(model.model_fields)
