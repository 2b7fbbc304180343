"""Documents as JSON: written so that every reader takes them, read into typed models."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError

from toolchain.errors import DeployError
from toolchain.formats.validation import faults

_Document = TypeVar("_Document", bound=BaseModel)
_LARGEST = 1 << 64


def to_json(document: BaseModel | Mapping[str, Any] | list[Any], *, indent: int = 2) -> str:
    r"""A document's text. What is infinite or no number is ``null``.

    A byte of a file's name that is not UTF-8 is written as ``\xff``, since JSON has no way to
    hold it.
    """
    if isinstance(document, BaseModel):
        try:
            return document.model_dump_json(by_alias=True, indent=indent)
        except PydanticSerializationError:
            document = document.model_dump(mode="json", by_alias=True)
    return json.dumps(_plain(document), indent=indent, ensure_ascii=False)


def parse_json(
    kind: type[_Document],
    text: str | bytes,
    fault: type[DeployError],
    said: str,
    *,
    hint: str | None = None,
) -> _Document:
    """The typed model of a JSON text.

    Args:
        kind: the model.
        text: the JSON.
        fault: the error to raise.
        said: how its message begins, such as ``p.json: is no profile``.
        hint: what to do about it.

    Raises:
        DeployError: ``fault``: the text is no such document; names the first fault and its place.
    """
    try:
        found = kind.model_validate_json(text)
    except ValidationError as error:
        raise fault(f"{said}: {faults(error, kind)[0]}", hint=hint) from error
    for where, number in _numbers(found.model_dump(), ""):
        # What is computed from the one has no float, from the other no sense.
        if abs(number) >= _LARGEST or not math.isfinite(number):
            raise fault(f"{said}: {where}: is too large a number, or none", hint=hint)
    return found


def _numbers(value: Any, where: str) -> Iterator[tuple[str, int | float]]:
    if isinstance(value, int | float):
        yield where, value
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _numbers(part, f"{where}.{key}" if where else str(key))
    elif isinstance(value, list | tuple):
        for index, part in enumerate(value):
            yield from _numbers(part, f"{where}.{index}")


def loads(text: str | bytes) -> Any:
    """What a JSON text of anybody's holds.

    Raises:
        ValueError: it is no JSON, or one that is nested too deeply to be read.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("arrays or objects in too many others") from error


def without_lone_bytes(text: str) -> str:
    r"""A text in which bytes of a file's name that are not UTF-8 are written as ``\xff``."""
    return "".join(
        f"\\x{ord(letter) - 0xDC00:02x}" if 0xDC80 <= ord(letter) <= 0xDCFF else letter
        for letter in text
    )


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return without_lone_bytes(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {_plain(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value
