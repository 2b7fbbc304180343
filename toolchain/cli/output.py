"""What commands print: results as tables or as JSON, lines, notes, and questions."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import RenderableType

from toolchain.console import err, out

if TYPE_CHECKING:  # pydantic is slow to import, and help needs none of it
    from pydantic import BaseModel

Table = Callable[[int], RenderableType]
"""A function that gives a table for a number of columns."""


def show(
    document: BaseModel | Mapping[str, Any] | list[Any],
    *tables: Table,
    json_output: bool,
    output: Path | None = None,
    fold: bool = True,
) -> None:
    """Print a result on standard output.

    Args:
        document: all of it, which is printed where ``json_output`` is set.
        tables: what is printed else; none is made before it is needed.
        json_output: whether ``--json`` was given.
        output: where the command writes a file to. Where that is standard output, tables go to
            standard error.
        fold: whether text outside of tables' cells is folded at the width.
    """
    if json_output:
        print_json(document)
        return
    with _apart_from(output):
        for table in tables:
            out.print(table(out.width), soft_wrap=not fold)


def print_json(document: BaseModel | Mapping[str, Any] | list[Any]) -> None:
    """Print a document on standard output as JSON, in ASCII where that is no UTF-8."""
    from toolchain.foreign_text import harmless_json
    from toolchain.formats.json_text import to_json

    text = harmless_json(to_json(document))
    if not (sys.stdout.encoding or "utf-8").lower().startswith("utf"):
        text = json.dumps(json.loads(text), indent=2)
    print(text)


def say(line: str, *, fold: bool = True) -> None:
    """Print a line on standard output, to the letter."""
    out.print(line, highlight=False, markup=False, soft_wrap=not fold)


def note(line: str, *, style: str | None = None) -> None:
    """Print a line on standard error, to the letter and unfolded."""
    err.print(line, style=style, markup=False, highlight=False, soft_wrap=True)


def confirm(question: str, *, said: str | None = None) -> bool | None:
    """Ask something on the terminal.

    Args:
        question: what can be answered with yes or no.
        said: a line that stands before it.

    Returns:
        The answer; ``None`` where there is nobody to ask.
    """
    if not can_ask():
        return None
    if said is not None:
        note(said)
    return typer.confirm(question, err=True)


def can_ask() -> bool:
    """Whether there is somebody on a terminal to ask."""
    return sys.stdin is not None and sys.stdin.isatty() and err.is_terminal


def ask(question: str, *, default: str, check: Callable[[str], str | None]) -> str:
    """Ask for a line on the terminal, again and again until it will do.

    Args:
        question: what stands before the default.
        default: what an empty line means.
        check: what is wrong with an answer; ``None`` if nothing is.
    """
    while True:
        answer = str(typer.prompt(question, default=default, err=True)).strip()
        fault = check(answer)
        if fault is None:
            return answer
        note(fault)


@contextmanager
def _apart_from(output: Path | None) -> Iterator[None]:
    """Let :data:`out` be standard error where a result itself goes to standard output, ``-``."""
    from toolchain.storage.files import STDOUT

    if output != STDOUT:
        yield
        return
    out.stderr = True
    try:
        yield
    finally:
        out.stderr = False
