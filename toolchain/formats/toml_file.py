"""Read a TOML file into a typed model, with every fault in the user's own words."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from toolchain.errors import DeployError
from toolchain.formats.text_file import read_text
from toolchain.formats.validation import faults

_Model = TypeVar("_Model", bound=BaseModel)
_PART = r"""\s*("[^"]*"|'[^']*'|[A-Za-z0-9_-]+)\s*"""
_HEADER = re.compile(rf"\s*(\[\[?)((?:{_PART}\.)*{_PART})\]")
_KEY = re.compile(rf"((?:{_PART}\.)*{_PART})=")


def read_toml(path: Path, fault: type[DeployError]) -> dict[str, Any]:
    """The tables of a file.

    Raises:
        DeployError: ``fault``: the file cannot be read, or is not TOML.
    """
    return parse_toml(read_text(path, fault, kind="TOML"), path, fault)


def parse_toml(text: str, path: Path, fault: type[DeployError]) -> dict[str, Any]:
    """The tables of a file's text.

    Raises:
        DeployError: ``fault``: it is not TOML.
    """
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
    model: type[_Model],
    data: dict[str, Any],
    path: Path | str,
    fault: type[DeployError],
    *,
    hint: str,
    text: str | None = None,
) -> _Model:
    """The typed model of a file's tables.

    Args:
        model: its type.
        data: the tables.
        path: of the file; or more, where it is not the whole of it.
        fault: the class of the error.
        hint: what to do about it.
        text: of the file; with it, the line of each fault is told.

    Raises:
        DeployError: ``fault``: each wrong key and value on a line of its own.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        places = [line_of(text, item["loc"]) if text else None for item in error.errors()]
        lines = [
            f"{path}{f', line {line}' if line else ''}: {found.key or '(whole file)'}: {found.said}"
            for line, found in zip(places, faults(error, model), strict=True)
        ]
        raise fault("\n".join(lines), hint=hint) from error


def toml_lines(text: str) -> list[str]:
    """The lines of a TOML text, with their ends: what else Python takes for one ends none."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def line_of(text: str, location: Sequence[str | int]) -> int | None:
    """The line of a TOML text that says something, from 1; ``None`` where none does.

    Args:
        text: which can be read as TOML.
        location: keys, and numbers of what stands in arrays, from the outermost on. Where a value
            has no line of its own, it is that of what it stands in.
    """
    tables: dict[tuple[str, ...], int] = {}
    within: tuple[str | int, ...] = ()
    best, found = 0, None
    for number, line in enumerate(toml_lines(text), 1):
        if header := _HEADER.match(line):
            names = _parts(header[2])
            tables[names] = tables.get(names, -1) + (header[1] == "[[")
            within = here = tuple(_numbered(names, tables))
        elif key := _KEY.match(line):
            here = (*within, *_parts(key[1]))
        else:
            continue
        if best < len(here) <= len(location) and tuple(location[: len(here)]) == here:
            best, found = len(here), number
    return found


def _parts(key: str) -> tuple[str, ...]:
    """``a."b.c"`` as its names."""
    return tuple(part.strip("\"'") for part in re.findall(_PART, key))


def _numbered(names: Sequence[str], tables: dict[tuple[str, ...], int]) -> list[str | int]:
    """Names of tables, each array of tables followed by the number of its last one."""
    found: list[str | int] = []
    for index, name in enumerate(names):
        found.append(name)
        if (number := tables.get(tuple(names[: index + 1]), -1)) >= 0:
            found.append(number)
    return found
