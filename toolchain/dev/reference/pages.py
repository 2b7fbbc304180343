"""Writes everything in ``docs/`` that follows from the code."""

from __future__ import annotations

from pathlib import Path

from toolchain.dev.blocks import Writer, names, write_pages
from toolchain.dev.reference.commands import commands
from toolchain.dev.reference.drawing import room_table, rooms_svg
from toolchain.dev.reference.exit_codes import exit_codes
from toolchain.dev.reference.keys import board_keys, recipe_keys, sweep_keys
from toolchain.dev.reference.python import python_names
from toolchain.dev.reference.schemas import DOCUMENTS, documents, schema
from toolchain.storage.files import write_whole


def writers(root: Path) -> dict[str, Writer]:
    """Block of a page to what writes it.

    Args:
        root: folder of ``pyproject.toml``.
    """
    return {
        "commands": commands,
        "exit-codes": exit_codes,
        "board-keys": board_keys,
        "recipe-keys": recipe_keys,
        "sweep-keys": sweep_keys,
        "documents": documents,
        "python": python_names,
        "rooms": lambda: room_table(root),
    }


def write_reference(root: Path, *, check: bool) -> list[Path]:
    """Write blocks, schemas and the drawing; returns the files that change by it.

    Args:
        root: folder of ``docs``.
        check: only tell which files would change.

    Raises:
        OutputError: a block is wrong, or a file cannot be written.
    """
    pages = [
        page
        for page in sorted((root / "docs").rglob("*.md"))
        if names(page.read_text(encoding="utf-8"), "reference")
    ]
    changed = write_pages(pages, writers(root), check=check, kind="reference")
    files = {f"reference/schemas/{item.name}.json": schema(item) for item in DOCUMENTS}
    files["development/rooms.svg"] = rooms_svg(root)
    for name, text in files.items():
        path = root / "docs" / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            changed.append(path)
            if not check:
                path.parent.mkdir(exist_ok=True)
                write_whole(path, text.encode())
    return changed
