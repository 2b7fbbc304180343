"""Parts of Markdown pages that are written by a command.

A block stands between two comments, which no renderer shows::

    <!-- figures: gains -->
    | network | ...
    <!-- end of figures -->
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from toolchain.errors import OutputError, failure
from toolchain.storage.files import write_whole

Writer = Callable[[], str]
"""Gives the lines of a block, without its comments."""

_END = "<!-- end of figures -->"
_BEGIN = re.compile(r"<!-- figures: ([a-z0-9-]+) -->")


def rendered(text: str, writers: Mapping[str, Writer], *, page: str) -> str:
    """A page with each of its blocks written anew.

    Args:
        text: of the page.
        writers: block to what writes it.
        page: what the page is called in an error.

    Raises:
        OutputError: a block is not closed, nothing writes it, or the results lack what it shows;
            names its line.
    """
    lines: list[str] = []
    inside: str | None = None
    for number, line in enumerate(text.splitlines(), 1):
        begin = _BEGIN.fullmatch(line.strip())
        if begin:
            if inside is not None:
                raise OutputError(f"{page}:{number}: block '{inside}' is not closed before this")
            inside = begin[1]
            if inside not in writers:
                raise OutputError(f"{page}:{number}: nothing writes a block '{inside}'")
            lines += [line, _written(writers[inside], f"{page}:{number}: block '{inside}'"), _END]
        elif line.strip() == _END:
            if inside is None:
                raise OutputError(f"{page}:{number}: no block begins before this end")
            inside = None
        elif inside is None:
            lines.append(line)
    if inside is not None:
        raise OutputError(f"{page}: block '{inside}' is not closed", hint=f"end it with {_END}")
    return "\n".join(lines) + "\n"


def _written(writer: Writer, block: str) -> str:
    try:
        return writer().rstrip("\n")
    except (ArithmeticError, AssertionError, LookupError, TypeError, ValueError) as error:
        # The results are read as they should be; what a table takes of them may still be absent.
        raise failure(
            OutputError, f"{block}: writing it from the kept results", error,
            hint="measure them again: make figures, make bench, make experiment",
        ) from error  # fmt: skip


def names(text: str) -> list[str]:
    """The blocks of a page, in order."""
    return _BEGIN.findall(text)


def write_pages(pages: list[Path], writers: Mapping[str, Writer], *, check: bool) -> list[Path]:
    """Write the blocks of each page; returns the pages that change by it.

    Args:
        pages: Markdown files.
        writers: block to what writes it.
        check: only tell which pages would change.

    Raises:
        OutputError: a block is wrong, or a page cannot be written.
    """
    changed = []
    for page in pages:
        before = page.read_text(encoding="utf-8")
        after = rendered(before, writers, page=str(page))
        if after != before:
            changed.append(page)
            if not check:
                write_whole(page, after.encode())
    return changed
