"""What commands that remove things have in common: their limits, and the question before it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from toolchain.cli.options import wrong_use
from toolchain.cli.output import confirm

OlderThanOption = Annotated[
    str | None,
    typer.Option(
        "--older-than",
        metavar="TIME",
        help="What was not used for so long: 30d; or m, h, w for other units.",
    ),
]
MaxSizeOption = Annotated[
    str | None,
    typer.Option(
        "--max-size",
        metavar="SIZE",
        help="What was used least recently, until no more is left: 5GB; or kB, MB, GiB.",
    ),
]
AllOption = Annotated[bool, typer.Option("--all", help="All of it.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Remove without a question.")]


def limits(
    older_than: str | None, max_size: str | None, *, everything: bool
) -> tuple[float | None, int | None]:
    """Seconds and bytes that ``--older-than`` and ``--max-size`` say.

    Raises:
        typer.BadParameter: one is no time or no size, or beside ``--all``.
    """
    from toolchain.quantities import byte_count, seconds

    age = None if older_than is None else _quantity(seconds, older_than, "--older-than")
    most = None if max_size is None else int(_quantity(byte_count, max_size, "--max-size"))
    if everything and (age is not None or most is not None):
        raise wrong_use("--all", "leaves nothing to limit")
    return age, most


def ask_for_removal(question: str, *, can_ask: bool) -> None:
    """Ask before something is removed.

    Raises:
        typer.Exit: the answer is no.
        typer.BadParameter: there is nobody to ask.
    """
    answer = confirm(question) if can_ask else None
    if answer is None:
        raise wrong_use(
            "--yes",
            "nobody can be asked here; to remove without a question give --yes, to see what would "
            "be removed --dry-run",
        )
    if not answer:
        raise typer.Exit(1)


def _quantity(parse: Callable[[str], float], text: str, option: str) -> float:
    try:
        return parse(text)
    except ValueError as error:
        raise wrong_use(option, str(error)) from error
