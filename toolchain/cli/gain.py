"""``deploy gain`` and ``deploy mask``: masks on a copy of any model, and what they would save."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated

import typer

from toolchain.cli import bars
from toolchain.cli.command_help import App
from toolchain.cli.options import (
    BoardOption,
    BundleOption,
    JsonOption,
    ThreadsOption,
    check_alone,
    wrong_use,
)
from toolchain.cli.output import say, show

commands = App()

ModelArgument = Annotated[
    Path, typer.Argument(metavar="MODEL", help="A .tflite file, whoever made it.")
]
PolicyOption = Annotated[
    str,
    typer.Option("--policy", help="How masks are drawn: pooled (the paper's), lattice, random."),
]
LayersOption = Annotated[
    list[str] | None,
    typer.Option(
        "--layers",
        metavar="PATTERN",
        help="Mask only layers of such a name or kind (3x3, 1x1, 'dw *'); may be repeated.",
    ),
]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Of the masks.")]


@commands.example(
    "deploy gain model.tflite --board rpi4",
    "deploy gain model.tflite --board rpi4 --sparsity 0.2 --layers 3x3 --per-op",
)
def gain(
    model: ModelArgument,
    board: BoardOption = "rpi4",
    sparsity: Annotated[
        list[float] | None,
        typer.Option(
            "--sparsity",
            "-s",
            metavar="SHARE",
            help="Of pixels to mask; may be repeated.",
            show_default="0.1, 0.2, 0.3",
        ),
    ] = None,
    policy: PolicyOption = "pooled",
    layers: LayersOption = None,
    seed: SeedOption = 0,
    bundle: BundleOption = None,
    threads: ThreadsOption = None,
    per_op: Annotated[
        bool, typer.Option("--per-op", help="Every operator, beside the model without masks.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write it as JSON; - for standard output."),
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Estimate what masks would gain on a model, before anything is trained.

    Masks are laid on copies of the file. The board's own program runs them under QEMU's user mode,
    and its core and caches are simulated. What accuracy it costs is not told: train for that.
    """
    from toolchain.board.invoke import load_bundle
    from toolchain.formats.json_text import to_json
    from toolchain.hardware.board_file import known_clock, load_board
    from toolchain.profile.estimator import Estimator, timed_core
    from toolchain.profile.gain import Maskable, Settings, write_copies
    from toolchain.report import estimate_table, gain_table
    from toolchain.storage.files import check_writable, write_or_keep
    from toolchain.storage.scratch import temporary_folder
    from toolchain.tflite_file.support import read_supported

    check_alone(output, json_output)
    chosen = load_board(board)
    timed_core(chosen)
    known_clock(chosen)
    if output:
        check_writable(output, inputs=[model])
    masks = [
        Settings(_share(one), policy, seed, tuple(layers or ()))
        for one in sparsity or (0.1, 0.2, 0.3)
    ]
    read_supported(model)
    source = Maskable(model, layers or ())
    estimator = Estimator(load_bundle(chosen, bundle), chosen, threads=threads or chosen.threads)
    with temporary_folder() as folder:
        copies = write_copies(source, masks, folder)
        estimate = estimator.models([model, *copies], None, bars.progress())
    document = source.document(masks, estimate)
    if output:
        write_or_keep(output, to_json(document).encode() + b"\n")
    tables = [functools.partial(gain_table.gain_table, document)]
    if per_op and estimate is not None:
        tables.append(functools.partial(estimate_table.estimated_operators, estimate))
    show(document, *tables, json_output=json_output, output=output)


@commands.example(
    "deploy mask model.tflite --sparsity 0.2 --output s20.tflite",
    "deploy mask model.tflite --sparsity 0.3 --layers 3x3 --output s30.tflite",
)
def mask(
    model: ModelArgument,
    sparsity: Annotated[
        float, typer.Option("--sparsity", "-s", metavar="SHARE", help="Of pixels to mask.")
    ] = 0.2,
    policy: PolicyOption = "pooled",
    layers: LayersOption = None,
    seed: SeedOption = 0,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="File to write; - for standard output.",
            show_default="NAME_sPERCENT.tflite",
        ),
    ] = None,
) -> None:
    """Lay masks on a copy of a model, to measure what they save.

    The copy is a standard file: a SELECT_V2 behind each convolution that can carry a mask. Its
    metadata says that no training knew of them.
    """
    from toolchain.profile.gain import Maskable, Settings
    from toolchain.storage.files import check_writable, write_or_keep

    share = _share(sparsity)
    target = output or Path(f"{model.stem}_s{100 * share:g}.tflite")
    check_writable(target, inputs=[model])
    source = Maskable(model, layers or ())
    write_or_keep(target, source.copy(Settings(share, policy, seed, tuple(layers or ()))))
    if str(target) != "-":
        say(
            f"{target}: masks on {len(source.chosen)} layers, {share:.0%} of their pixels; for "
            "measuring: not trained"
        )


def _share(value: float) -> float:
    if not 0 < value < 1:
        raise wrong_use("--sparsity", f"{value:g} is not above 0 and below 1")
    return value
