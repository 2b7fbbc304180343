"""A page of results, and beside it the document that it is made of."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from toolchain.storage.files import write_into


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
