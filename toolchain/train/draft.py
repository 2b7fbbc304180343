"""The text of a new recipe: TOML with the reason behind each choice."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from toolchain.errors import RecipeError
from toolchain.formats.toml_file import validate
from toolchain.train.recipe import Recipe

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_LINE = 100


@dataclass(frozen=True)
class Choice:
    """One key of a recipe."""

    key: str
    value: Any
    why: str = ""
    """Goes into a comment; of one line."""


@dataclass
class Draft:
    """A recipe that is being written."""

    title: Sequence[str]
    """Lines of a comment at its top."""
    tables: dict[str, list[Choice]] = field(default_factory=dict)
    """Name of a table to its keys, in the order of the file."""

    def recipe(self) -> Recipe:
        """What the text says.

        Raises:
            RecipeError: a value cannot be written into a TOML file.
        """
        text = self.text()
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise RecipeError(
                "a name with bytes that are not UTF-8 cannot stand in a recipe",
                hint="rename the file or folder",
            ) from error
        hint = "docs/reference/recipes.md lists every key of a recipe"
        return validate(Recipe, tomllib.loads(text), Path("recipe"), RecipeError, hint=hint)

    def text(self) -> str:
        """The file: a comment, then the tables."""
        parts = ["".join(f"# {_comment(line)}\n" for line in self.title)]
        for name, choices in self.tables.items():
            parts.append(f"[{name}]\n" + "".join(map(_line, choices)))
        return "\n".join(parts)


def _line(choice: Choice) -> str:
    """A key; its comment stands behind it, or above it where the line would be too long."""
    said = f"{choice.key} = {toml(choice.value)}"
    if not choice.why:
        return said + "\n"
    why = f"# {_comment(choice.why)}"
    both = f"{said}  {why}"
    return f"{both}\n" if len(both) <= _LINE else f"{why}\n{said}\n"


def _comment(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def toml(value: Any) -> str:
    """A value as TOML has it: texts, numbers, truths, and lists and tables of them on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        pairs = (f"{_key(str(key))} = {toml(one)}" for key, one in value.items())
        return "{ " + ", ".join(pairs) + " }" if value else "{}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, str):
        return _text(value)
    return str(value)


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _text(name)


def _text(value: str) -> str:
    # A JSON text is a TOML text, but that TOML has no DEL as it is.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
