"""Accuracies of models, from files that people and other commands write.

Taken are ``{"s20": 0.919}``, a CSV of ``model,accuracy``, ``demo.json`` of ``deploy demo`` and what
``deploy train --json`` prints. A model goes by its file's name without suffix.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from toolchain.errors import ModelError
from toolchain.formats.json_text import loads
from toolchain.formats.text_file import read_text

_HINT = (
    'a file of accuracies is {"MODEL": 0.919}, a CSV of model,accuracy, demo.json of deploy demo, '
    "or what deploy train --json prints; shares of 1, not percent"
)
_Share = Annotated[float, Field(ge=0, le=1)]


class _Network(BaseModel):
    model_config = ConfigDict(extra="ignore")

    name: str
    accuracy_board: _Share


class _Demo(BaseModel):
    model_config = ConfigDict(extra="ignore")

    networks: list[_Network]


class _Training(BaseModel):
    model_config = ConfigDict(extra="ignore")

    path: str
    accuracy: _Share


_PLAIN = TypeAdapter(dict[str, _Share])


def load_accuracies(path: Path) -> dict[str, float]:
    """Read a file of accuracies.

    Returns:
        The share of right answers, 0 to 1, by the name of the model.

    Raises:
        ModelError: the file cannot be read or holds no such thing; names the first fault.
    """
    text = read_text(path, ModelError)
    try:
        found = dict(_pairs(text, path))
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"])
        raise ModelError(
            f"{path}: {where}: {fault['msg'].removeprefix('Value error, ')}", hint=_HINT
        ) from error
    except (ValueError, csv.Error) as error:
        raise ModelError(f"{path}: holds no accuracies: {error}", hint=_HINT) from error
    if not found:
        raise ModelError(f"{path}: holds no accuracies", hint=_HINT)
    return found


def model_name(name: str) -> str:
    """The name that a model goes by: that of its file without folder and suffix."""
    return PurePath(name).stem if name.endswith((".tflite", ".safetensors")) else name


def _pairs(text: str, path: Path) -> Iterator[tuple[str, float]]:
    if path.suffix.lower() == ".csv":
        yield from _of_csv(text)
        return
    content = loads(text)
    if not isinstance(content, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004 (told as the others)
    if "networks" in content:
        yield from ((one.name, one.accuracy_board) for one in _Demo(**content).networks)
    elif isinstance(content.get("path"), str) and "accuracy" in content:
        done = _Training(**content)
        yield model_name(done.path), done.accuracy
    else:
        for name, accuracy in _PLAIN.validate_python(content).items():
            yield model_name(name), accuracy


def _of_csv(text: str) -> Iterator[tuple[str, float]]:
    rows: Any = csv.DictReader(io.StringIO(text), strict=True)
    names = [name.strip() for name in rows.fieldnames or []]
    rows.fieldnames = names
    if missing := {"model", "accuracy"} - set(names):
        raise ValueError(f"its first line names no column {', '.join(sorted(missing))}")
    for row in rows:
        share = _PLAIN.validate_python({row["model"] or "": (row["accuracy"] or "").strip()})
        for name, accuracy in share.items():
            yield model_name(name.strip()), accuracy
