"""Options that several commands have, what completes them, and how their wrong use is told."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toolchain.cli.command_help import complete

if TYPE_CHECKING:
    from toolchain.failures import Failures
    from toolchain.profile.power_sources import PowerSource
    from toolchain.tflite_file.graph import Model
    from toolchain.tflite_file.image_metadata import Normalization


def wrong_use(option: str, what: str) -> typer.BadParameter:
    """The error for an option that cannot be taken: exit code 2.

    Args:
        option: its name, such as ``--json``.
        what: goes on from the name: ``is for --quantize int8``.
    """
    return typer.BadParameter(what, param_hint=option)


def check_alone(output: Path | None, json_output: bool) -> None:
    """Check that not both a result and JSON are to go to standard output.

    Raises:
        typer.BadParameter: both are.
    """
    from toolchain.storage.files import STDOUT

    if output == STDOUT and json_output:
        raise wrong_use(
            "--json",
            "is on standard output, as is what --output - writes; leave one of the two away",
        )


def normalization(mean: str | None, std: str | None) -> Normalization | None:
    """What ``--mean`` and ``--std`` say; ``None`` where neither is given.

    Raises:
        typer.BadParameter: one is missing, or they are no figures that go together.
    """
    if mean is None and std is None:
        return None
    from toolchain.tflite_file.image_metadata import Normalization

    figures = []
    for option, other, text in (("--mean", "--std", mean), ("--std", "--mean", std)):
        if text is None:
            raise wrong_use(option, f"has to be given with {other}")
        try:
            figures.append([float(part) for part in text.split(",")])
        except ValueError as error:
            said = f"'{text}' is no figures; write 0.5, or one a channel: 0.485,0.456,0.406"
            raise wrong_use(option, said) from error
    try:
        return Normalization.of_unit(*figures)
    except ValueError as error:
        raise wrong_use("--mean", f"and --std do not go together: {error}") from error


_MAX_THREADS = 64


def thread_counts(text: str | None) -> list[int]:
    """The numbers of ``1,2,4`` or ``1-4``, each once, in their order; none of ``None``.

    Raises:
        typer.BadParameter: it is neither.
    """
    counts: list[int] = []
    for part in (text or "").split(",") if text is not None else []:
        found = re.fullmatch(r"\s*([0-9]{1,2})(?:-([0-9]{1,2}))?\s*", part)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
        if not 1 <= first <= last <= _MAX_THREADS:
            raise wrong_use(
                "--threads",
                f"takes numbers from 1 to {_MAX_THREADS}, as 2 or 1,2,4 or 1-4, not '{part}'",
            )
        counts += range(first, last + 1)
    return list(dict.fromkeys(counts))


def power_source(meter: str | None, *, energy: bool) -> PowerSource | None:
    """What reads a board's power: the program of ``--meter``, else with ``--energy`` its PMIC.

    Raises:
        typer.BadParameter: ``--meter`` names no program.
    """
    if meter is None and not energy:
        return None
    from toolchain.profile.power_sources import MeterSource, Pmic

    if meter is None:
        return Pmic()
    try:
        words = shlex.split(meter)
    except ValueError as error:
        raise wrong_use("--meter", f"is no command line: {error}") from error
    if not words or not words[0]:
        raise wrong_use("--meter", "names no program")
    return MeterSource(words)


def readable_models(models: Sequence[Path], failures: Failures) -> tuple[Path, ...]:
    """Those of the models that can be read and that the runtime can run; an error if none can.

    Of those whose masks are for measuring it is said.

    Raises:
        ModelError: none can.
    """
    from toolchain.operations.models import runnable_ones

    return runnable_ones(models, failures, warn)


def warn(line: str) -> None:
    """Say on standard error what is to be borne in mind."""
    from toolchain.cli.output import note
    from toolchain.foreign_text import harmless

    note(harmless(line), style="yellow")


def tell_untrained(model: Model) -> None:
    """Say where a file's masks are for measuring, on standard error."""
    from toolchain.tflite_file.untrained import is_untrained, warning

    if is_untrained(model):
        warn(warning(model.path))


# --- completion ------------------------------------------------------------------------------


def board_names(incomplete: str) -> Iterator[tuple[str, str]]:
    """Boards by name, and files of boards where the path that is typed leads."""
    from toolchain.errors import BoardConfigError
    from toolchain.formats.input_file import read_limited
    from toolchain.hardware import emulated, inventory
    from toolchain.resources import boards_dir

    for path in sorted(boards_dir().glob("*.toml")):
        yield path.stem, "a board that ships"
    with suppress(BoardConfigError):  # a command that needs it says what is wrong with it
        for name in inventory.tables():
            yield name, "a board of yours"
    for name in emulated.tables():
        if not (boards_dir() / f"{name}.toml").exists():
            yield name, "an emulated board"
    head = incomplete[: incomplete.rfind("/") + 1]  # as it was typed: the shell goes on from there
    for path in sorted(Path(os.path.expanduser(head)).glob("*.toml")):  # noqa: PTH111 (never fails)
        with suppress(OSError):
            # No other TOML file has such a key.
            if b"march" in read_limited(path):
                yield head + path.name, "a file"


def board_words(incomplete: str) -> Iterator[tuple[str, str]]:
    """What stands for boards where there may be several: also tags, ``all``, and lists of these."""
    from toolchain.errors import BoardConfigError
    from toolchain.hardware import emulated, inventory

    head = incomplete[: incomplete.rfind(",") + 1]
    last = incomplete[len(head) :]
    for name, text in board_names(last):
        yield head + name, text
    with suppress(BoardConfigError):
        tables = inventory.tables()
        if tables:
            yield head + inventory.ALL, f"all boards of yours: {', '.join(tables)}"
        for tag, names in inventory.tagged(tables).items():
            yield head + tag, f"a tag: {', '.join(names)}"
    if started := emulated.tables():
        yield head + emulated.TAG, f"all emulated boards: {', '.join(started)}"


def network_names(_incomplete: str) -> Iterator[tuple[str, str]]:
    """Networks of the zoo."""
    from toolchain.zoo.catalog import ZOO

    return ((entry.name, entry.description) for entry in ZOO.values())


def cache_kinds(_incomplete: str) -> Iterator[tuple[str, str]]:
    """Kinds of what the cache holds."""
    from toolchain.storage import cache_content

    return ((kind, "a folder of the cache") for kind in cache_content.kinds())


# --- options ---------------------------------------------------------------------------------


def board_option(
    text: str,
    show_default: str | None = None,
    names: Callable[[str], Iterator[tuple[str, str]]] = board_names,
    metavar: str | None = None,
) -> Any:
    """``--board``, as a command has it.

    Args:
        text: of its help.
        show_default: what is done without it, where that is to be said.
        names: what completes it.
        metavar: what stands for its value in help.
    """
    return typer.Option(
        "--board",
        "-b",
        help=text,
        metavar=metavar,
        show_default=show_default or True,
        autocompletion=complete(names),
    )


def boards_option(show_default: str) -> Any:
    """``--board`` of commands that work on several at once.

    Args:
        show_default: the board that is taken without it.
    """
    text = "Board name or file. Several: with commas, a tag of yours, or all; may be repeated."
    return board_option(text, show_default, board_words, "BOARD")


JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
BoardOption = Annotated[str, board_option("Board name or file.")]
BoardsOption = Annotated[list[str] | None, boards_option("qemu")]
HostOption = Annotated[
    str | None,
    typer.Option("--host", "-H", help="A real board: what you give to ssh.", metavar="HOST"),
]
IdentityOption = Annotated[
    Path | None,
    typer.Option("--identity", "-i", help="Private key to log in with.", dir_okay=False),
]
BundleOption = Annotated[
    Path | None, typer.Option("--bundle", help="Bundle folder.", show_default="build/BOARD")
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(
        "--threads", "-t", min=1, max=64, help="Threads.", show_default="as the board's file says"
    ),
]
ThreadCountsOption = Annotated[
    str | None,
    typer.Option(
        "--threads",
        "-t",
        metavar="N",
        help="Threads; several numbers as 1,2,4 or 1-4.",
        show_default="as the board's file says",
    ),
]
TimeoutOption = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        min=0.1,
        metavar="SECONDS",
        help="That one run of the runner may take.",
        show_default="3600",
    ),
]
MeanOption = Annotated[
    str | None,
    typer.Option(
        "--mean",
        metavar="FIGURES",
        help="Mean of the images that the network was trained on, of pixels from 0 to 1: one "
        "figure, or one a channel as 0.485,0.456,0.406.",
    ),
]
StdOption = Annotated[
    str | None,
    typer.Option(
        "--std",
        metavar="FIGURES",
        help="Likewise the standard deviation: 0.5, or 0.229,0.224,0.225.",
    ),
]
QueueOption = Annotated[
    float | None,
    typer.Option(
        "--queue",
        min=0.0,
        metavar="SECONDS",
        help="Wait so long for others who use the board.",
        show_default="3600",
    ),
]
ForceOption = Annotated[
    bool,
    typer.Option("--force", help="End what you do there in other commands, rather than wait."),
]
ModelArgument = Annotated[Path, typer.Argument(help="A .tflite file.", metavar="MODEL")]
ModelsArgument = Annotated[list[Path], typer.Argument(help=".tflite files.", metavar="MODEL")]
KindOption = Annotated[
    list[str] | None,
    typer.Option(
        "--kind",
        metavar="KIND",
        help="Only of this kind, as the table has it; may be repeated.",
        autocompletion=complete(cache_kinds),
    ),
]
