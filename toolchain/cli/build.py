"""``deploy build``, and the networks that are known by name: ``deploy models``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from toolchain.cli import bars
from toolchain.cli.command_help import App
from toolchain.cli.options import BoardOption, JsonOption, wrong_use
from toolchain.cli.output import say, show

commands = App()


@commands.example(
    "deploy build --board rpi4",
    "deploy build --board my_board.toml --stock",
)
def build(
    board: BoardOption = "qemu",
    stock: Annotated[bool, typer.Option("--stock", help="Leave the patches out.")] = False,
    out_dir: Annotated[
        Path | None, typer.Option("--out", help="Bundle folder.", show_default="build/BOARD")
    ] = None,
    jobs: Annotated[int | None, typer.Option("--jobs", "-j", min=1, help="Compilers.")] = None,
    sources: Annotated[
        Path | None,
        typer.Option(
            "--sources", exists=True, file_okay=False, help="Folder of source archives at hand."
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Compile and link the programs again.")
    ] = False,
    json_output: JsonOption = False,
) -> None:
    """Fetch, patch, cross-compile: leave a board's runner and libraries in build/BOARD."""
    from toolchain.build import bundle
    from toolchain.hardware.board_file import load_board
    from toolchain.report.listing_tables import bundle_table

    made = bundle.build(
        load_board(board),
        stock=stock,
        out=out_dir,
        sources=sources,
        jobs=jobs,
        force=force,
        progress=bars.progress(),
    )
    manifest = made.manifest
    show(
        {"path": str(made.path), **manifest.model_dump(mode="json", by_alias=True)},
        lambda width: bundle_table(made, width),
        json_output=json_output,
    )
    if not json_output:
        patched = "stock" if manifest.stock else "patched"
        say(f"{manifest.isa}, {manifest.march}, {patched}; {manifest.compiler}")


@commands.example(
    "deploy models",
    "deploy models 'timm:mobilenetv3*'",
    "deploy convert --model resnet18_s20",
)
def models(
    pattern: Annotated[
        str | None,
        typer.Argument(
            metavar="LIBRARY:PATTERN",
            help="List networks of timm or torchvision instead: 'timm:resnet*'.",
        ),
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """List the networks that `convert --model`, and recipes, know by name."""
    from toolchain.report.listing_tables import library_table, networks_table
    from toolchain.zoo.catalog import ZOO

    if pattern is not None:
        found = _of_a_library(pattern)
        show(found, lambda width: library_table(found, width), json_output=json_output)
        return
    known = list(ZOO.values())
    show(
        [entry.facts() for entry in known],
        lambda width: networks_table(known, width),
        json_output=json_output,
    )
    if not json_output:
        say("and networks of timm and torchvision: deploy models 'timm:*' lists them")


def _of_a_library(pattern: str) -> list[dict[str, Any]]:
    """Names and input shapes of the networks of a library that fit ``timm:resnet*``.

    Raises:
        ModelError: none does.
    """
    from toolchain.errors import ModelError
    from toolchain.zoo import libraries

    library, _, rest = pattern.partition(":")
    if library not in libraries.LIBRARIES:
        raise wrong_use("LIBRARY:PATTERN", f"'{pattern}' is none; write 'timm:resnet*'")
    names = libraries.names(library, rest or "*")
    if not names:
        raise ModelError(
            f"{library} has no network called '{rest}'", hint="'*' stands for any letters"
        )
    return [
        {"name": str(named), "input_shape": shape and list(shape)}
        for named in (libraries.Named(library, name, pretrained=False) for name in names)
        for shape in [libraries.input_shape(named)]
    ]
