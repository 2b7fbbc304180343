"""How commands explain themselves: help texts to the letter, an example each, what was meant.

Typer shows help as Markdown, which takes ``<i>`` for HTML and drops it, and ``*`` or ``_`` for
emphasis. A command's own text is Markdown here, without HTML; options' are plain text.

All speak alike: a command's text begins with a sentence that says what it does; an option's is one
sentence or more, with a capital letter and a full stop. A default that is worked out later is no
part of the text but ``show_default``.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeVar

import typer
import typer.core

from toolchain import console
from toolchain.hints import command, did_you_mean

_Function = TypeVar("_Function", bound=Callable[..., Any])
_NOT_ONE_OF = re.compile(r"(?:Value error, )?'(?P<given>.*)' is not one of (?P<known>'.*')\.")

_BOARD = ("--board", "-b")
_KINDS = {
    "<str>": "<text>", "<path>": "<path>",
    "<int>": "<number>", "<int range>": "<number>",
    "<float>": "<number>", "<float range>": "<number>",
}  # fmt: skip
"""What options take, by Typer's words for it."""


class App(typer.Typer):
    """Commands that explain themselves as this module says."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(cls=Group, **settings)

    def example(self, *lines: str, **settings: Any) -> Callable[[_Function], _Function]:
        """Register a command, as ``command`` does.

        Args:
            lines: commands that run, shown below its options, each on a line of its own.
            settings: of :meth:`typer.Typer.command`.
        """
        return self.command(cls=Command, epilog="\n".join(lines), **settings)


class _Explained:
    """What commands and groups of them share: their text to the letter, then their examples."""

    def __init__(self, *arguments: Any, epilog: str | None = None, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.examples = (epilog or "").splitlines()
        _to_the_letter(self)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help text."""
        _set_width()
        for parameter in self.get_params(ctx):  # type: ignore[attr-defined]
            parameter.display_type_rich = partial(_kind, parameter, parameter.display_type_rich)
        super().format_help(ctx, formatter)  # type: ignore[misc]  # of the class it is mixed into
        _print_examples(self.examples)


class Command(_Explained, typer.core.TyperCommand):
    """One command."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command line; a word that is none of a few is told with the nearest.

        Most commands take ``--board``. Those about boards do not: a board is their argument.
        """
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            if found := _NOT_ONE_OF.fullmatch(error.message):
                known = re.findall(r"'([^']*)'", found["known"])
                meant = did_you_mean(found["given"], known)
                error.message = f"'{found['given']}' is not one of {found['known']}. {meant}"
            raise
        except typer.TyperException as error:
            if getattr(error, "option_name", None) in _BOARD and self._is_about_boards(ctx):
                words = [word for word in given if word not in _BOARD]
                path = ctx.command_path.split()[1:]
                line = command(*path, *(word.removeprefix("--board=") for word in words))
                ctx.fail(f"A board is given as it is here. Run: {line}")
            raise

    def _is_about_boards(self, ctx: Any) -> bool:
        takes = any(parameter.param_type_name == "argument" for parameter in self.params)
        return takes and ctx.command_path.split()[1:2] == ["boards"]


class Group(_Explained, typer.core.TyperGroup):
    """Several commands under one name."""

    def main(self, *arguments: Any, **settings: Any) -> Any:
        """Read the command line and run it."""
        # Typer reads this when it imports rich to show an error; importing rich here would be slow.
        if not sys.stderr.isatty():
            os.environ["TERMINAL_WIDTH"] = str(console.width(sys.stderr))
        return super().main(*arguments, **settings)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command line."""
        # Typer asks pydantic, which is slow to import, what a flag without a default is; --help
        # and --install-completion are such, and are looked at before any command's help.
        for flag in self.get_params(ctx):
            if getattr(flag, "is_bool_flag", False) and flag.default is None:
                flag.default = False
        return super().parse_args(ctx, args)


def complete(names: Callable[[str], Iterable[tuple[str, str]]]) -> Callable[[str], list[Any]]:
    """A completion callback of an option.

    Args:
        names: gives each name with what it is; is told what was typed so far.
    """

    def completed(incomplete: str) -> list[Any]:
        return [(name, text) for name, text in names(incomplete) if name.startswith(incomplete)]

    return completed


def _kind(parameter: Any, of_typer: Callable[[Any], str | None], ctx: Any) -> str | None:
    """What a parameter takes, in words of people: Typer says ``<list[Path]>``, also ``<bool>``.

    A flag takes nothing, and an argument's name says what it is.
    """
    if parameter.param_type_name == "argument" or getattr(parameter, "is_bool_flag", False):
        return ""
    shown = of_typer(ctx)
    return _KINDS.get(re.sub(r"list\[(\w+)\]", r"\1", shown or "").lower(), shown)


def _to_the_letter(command: Any) -> None:
    command.help = _without_html(command.help)
    for parameter in command.params:
        if getattr(parameter, "help", None):
            parameter.help = re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", parameter.help)


def _without_html(text: str | None) -> str | None:
    # In code, between backticks, nothing needs to be escaped.
    if text is None:
        return None
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(
        part if part.startswith("`") else re.sub(r"([<&])", r"\\\1", part) for part in parts
    )


def _print_examples(lines: list[str]) -> None:
    """Lines are not folded: they are there to be copied."""
    if lines:
        console.out.print(" Example:" if len(lines) == 1 else " Examples:")
        for line in lines:
            console.out.print(f"   {line}", soft_wrap=True, markup=False, highlight=False)


def _set_width() -> None:
    import rich.columns
    import rich.table
    from typer import rich_utils

    def fold(table: object) -> None:
        for column in table.columns if isinstance(table, rich.table.Table) else ():
            column.overflow = "fold"

    class Columns(rich.columns.Columns):
        """What is said of an option; a word too long for its column goes on in the next line."""

        def __rich_console__(self, *arguments: Any) -> Any:
            for part in super().__rich_console__(*arguments):
                fold(part)
                yield part

    class Table(rich.table.Table):
        """All options; likewise."""

        def __rich_console__(self, *arguments: Any) -> Any:
            fold(self)
            yield from super().__rich_console__(*arguments)

    rich_utils.MAX_WIDTH = console.width(sys.stdout)
    for kind in (Columns, Table):
        setattr(rich_utils, kind.__name__, kind)
