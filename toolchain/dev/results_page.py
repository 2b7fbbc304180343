"""A page of results, and beside it the document that it is made of."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict

from toolchain.errors import DeployError
from toolchain.formats.json_text import parse_json
from toolchain.formats.text_file import read_text
from toolchain.storage.files import write_into

_Results = TypeVar("_Results", bound=BaseModel)


class Part(BaseModel):
    """A part of such a document, or the whole."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def read_results(kind: type[_Results], path: Path, fault: type[DeployError]) -> _Results:
    """A document that was written before.

    Raises:
        DeployError: of class ``fault``: it cannot be read, or is another.
    """
    return parse_json(kind, read_text(path, fault), fault, f"{path}: is no such result")


def write_results(name: str, page: str, results: BaseModel, out: Path) -> list[Path]:
    """Write ``<name>.md`` and ``<name>.json``; returns their paths.

    Args:
        name: of both.
        page: in Markdown.
        results: the document.
        out: folder, made if it is not there.

    Raises:
        OutputError: the folder cannot be written.
    """
    document = results.model_dump_json(indent=1).encode() + b"\n"
    return write_into(out, {f"{name}.md": page.encode(), f"{name}.json": document})
