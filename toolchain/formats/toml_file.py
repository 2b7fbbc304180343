"""Read a TOML file into a typed model, with every fault in the user's own words."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from toolchain.errors import DeployError
from toolchain.formats.text_file import read_text
from toolchain.formats.validation import faults

_Model = TypeVar("_Model", bound=BaseModel)


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
        lines = [
            f"{path}: {found.key or '(whole file)'}: {found.said}" for found in faults(error, model)
        ]
        raise fault("\n".join(lines), hint=hint) from error
