"""Read a TOML file into a typed model, with every fault in the user's own words."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from toolchain.errors import DeployError

_Model = TypeVar("_Model", bound=BaseModel)
_SAID = {"extra_forbidden": "is not a known key", "missing": "is missing"}


def read_toml(path: Path, fault: type[DeployError]) -> dict[str, Any]:
    """The tables of a file.

    Raises:
        DeployError: ``fault``: the file cannot be read, or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise fault(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise fault(f"{path}: is not TOML: {error}") from error


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
            lines.append(f"{path}: {key}: {said}")
        raise fault("\n".join(lines), hint=hint) from error
