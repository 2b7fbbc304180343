"""Parts of Markdown pages that are written by a command.

A block stands between two comments, which no renderer shows::

    <!-- figures: gains -->
    | network | ...
    <!-- end of figures -->

``figures`` come from results that were measured, ``reference`` from the code itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from toolchain.errors import OutputError, failure
from toolchain.storage.files import write_whole

Writer = Callable[[], str]
"""Gives the lines of a block, without its comments."""

Kind = Literal["figures", "reference"]


def _begin(kind: Kind) -> re.Pattern[str]:
    return re.compile(rf"<!-- {kind}: ([a-z0-9-]+) -->")


def _end(kind: Kind) -> str:
    return f"<!-- end of {kind} -->"


def rendered(text: str, writers: Mapping[str, Writer], *, page: str, kind: Kind = "figures") -> str:
    """A page with each of its blocks written anew.

    Args:
        text: of the page.
        writers: block to what writes it.
        page: what the page is called in an error.
        kind: of the blocks; others are left as they are.

    Raises:
        OutputError: a block is not closed, nothing writes it, or the results lack what it shows;
            names its line.
    """
    lines: list[str] = []
    first, last = _begin(kind), _end(kind)
    inside: str | None = None
    for number, line in enumerate(text.splitlines(), 1):
        begin = first.fullmatch(line.strip())
        if begin:
            if inside is not None:
                raise OutputError(f"{page}:{number}: block '{inside}' is not closed before this")
            inside = begin[1]
            if inside not in writers:
                raise OutputError(f"{page}:{number}: nothing writes a block '{inside}'")
            where = f"{page}:{number}: block '{inside}'"
            lines += [line, _written(writers[inside], where), last]
        elif line.strip() == last:
            if inside is None:
                raise OutputError(f"{page}:{number}: no block begins before this end")
            inside = None
        elif inside is None:
            lines.append(line)
    if inside is not None:
        raise OutputError(f"{page}: block '{inside}' is not closed", hint=f"end it with {last}")
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


def names(text: str, kind: Kind = "figures") -> list[str]:
    """The blocks of a page, in order."""
    return _begin(kind).findall(text)


def write_pages(
    pages: list[Path], writers: Mapping[str, Writer], *, check: bool, kind: Kind = "figures"
) -> list[Path]:
    """Write the blocks of each page; returns the pages that change by it.

    Args:
        pages: Markdown files.
        writers: block to what writes it.
        check: only tell which pages would change.
        kind: of the blocks.

    Raises:
        OutputError: a block is wrong, or a page cannot be written.
    """
    changed = []
    for page in pages:
        before = page.read_text(encoding="utf-8")
        after = rendered(before, writers, page=str(page), kind=kind)
        if after != before:
            changed.append(page)
            if not check:
                write_whole(page, after.encode())
    return changed
