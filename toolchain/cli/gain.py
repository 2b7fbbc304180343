"""``deploy gain`` and ``deploy mask``: masks on a copy of any model, and what they would save."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolchain.cli import bars
from toolchain.cli.command_help import App, complete
from toolchain.cli.options import (
    BoardOption,
    BundleOption,
    ForceOption,
    HostOption,
    IdentityOption,
    JsonOption,
    QueueOption,
    ThreadsOption,
    TimeoutOption,
    check_alone,
    tell_untrained,
    wrong_use,
)
from toolchain.cli.output import note, print_json, say, show

if TYPE_CHECKING:  # pydantic is slow to import, and help needs none of it
    from toolchain.profile.gain import Settings

commands = App()
_DEFAULT = ("0.1", "0.2", "0.3")


def policy_names(_incomplete: str) -> Iterator[tuple[str, str]]:
    """Ways to draw masks without data."""
    from toolchain.tflite_file.mask_planes import POLICIES

    return ((name, "a policy") for name in POLICIES)


MaskableArgument = Annotated[
    Path, typer.Argument(metavar="MODEL", help="A .tflite file, whoever made it.")
]
SparsityOption = Annotated[
    list[str] | None,
    typer.Option(
        "--sparsity",
        "-s",
        metavar="SHARE",
        help="Of pixels to mask, above 0 and below 1; several as 0.1,0.2, or given again.",
        show_default="0.1,0.2,0.3",
    ),
]
PolicyOption = Annotated[
    str,
    typer.Option(
        "--policy",
        metavar="NAME",
        help="How masks are drawn: pooled (the paper's), lattice or random.",
        autocompletion=complete(policy_names),
    ),
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
    "deploy gain model.tflite --board rpi4 --sparsity 0.1,0.2,0.3 --layers 3x3 --per-op",
    "deploy gain model.tflite --board rpi4 --host pi@raspberrypi --measure --plot gain.png",
)
def gain(
    model: MaskableArgument,
    board: BoardOption = "rpi4",
    sparsity: SparsityOption = None,
    policy: PolicyOption = "pooled",
    layers: LayersOption = None,
    seed: SeedOption = 0,
    measure: Annotated[
        bool, typer.Option("--measure", help="Measure on the board, instead of an estimate.")
    ] = False,
    host: HostOption = None,
    identity: IdentityOption = None,
    bundle: BundleOption = None,
    threads: ThreadsOption = None,
    max_time: Annotated[
        float | None,
        typer.Option(
            "--max-time",
            min=0.0,
            metavar="SECONDS",
            help="With --measure: no longer, each copy.",
            show_default="60",
        ),
    ] = None,
    timeout: TimeoutOption = None,
    queue: QueueOption = None,
    force: ForceOption = False,
    per_op: Annotated[
        bool, typer.Option("--per-op", help="Every operator: what saves most comes first.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write it as JSON; - for standard output."),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="Draw it: .png, .svg or .pdf.")
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Tell what masks would gain on a model, before anything is trained.

    Masks are laid on copies of the file. The board's own program runs them under QEMU's user mode,
    and its core and caches are simulated; with `--measure` they run on the board itself, in turns.
    What accuracy masks cost is not told: train for that.
    """
    from toolchain.failures import Failures
    from toolchain.formats.json_text import to_json
    from toolchain.hardware.board_file import load_board
    from toolchain.hints import command
    from toolchain.operations.gain import GainOptions
    from toolchain.operations.gain import gain as gain_of
    from toolchain.operations.session import Access, BoardSession
    from toolchain.profile.gain import Maskable
    from toolchain.report import gain_plot, gain_table
    from toolchain.report.profile_plot import check_plot_path
    from toolchain.storage.files import check_writable, write_or_keep
    from toolchain.tflite_file.support import require_supported

    check_alone(output, json_output)
    given = {"--host": host, "--identity": identity, "--timeout": timeout, "--max-time": max_time}
    given["--force"] = force or None
    for option in (name for name, value in given.items() if value is not None and not measure):
        raise wrong_use(option, "is for --measure")
    masks = _settings(sparsity, policy, seed, layers)
    chosen, failures = load_board(board), Failures()
    if output:
        check_writable(output, inputs=[model])
    if plot:
        check_plot_path(plot, [output] if output else [], inputs=[model])
    source = Maskable(model, masks[0].layers)
    tell_untrained(source.model)
    require_supported(source.model, hint=f"to see all of it, run: {command('inspect', model)}")
    session = BoardSession(
        chosen, Access(host, identity, bundle, timeout, queue, force), bars.progress()
    )
    options = GainOptions(tuple(masks), measure, threads, max_time, per_op)
    document = gain_of(session, source, options, failures)
    if document is None:
        failures.require()
        return
    if output:
        with failures.of_output(output):
            write_or_keep(output, to_json(document).encode() + b"\n")
    if plot:
        with failures.of_output(plot):
            gain_plot.plot_gain(document, plot)
    tables = [gain_table.gain_table, gain_table.gain_by_layer][: 1 + per_op]
    show(
        document,
        *(functools.partial(table, document) for table in tables),
        json_output=json_output,
        output=output,
    )
    failures.require()


@commands.example(
    "deploy mask model.tflite --sparsity 0.2 --output s20.tflite",
    "deploy mask model.tflite --sparsity 0.1,0.2,0.3",
)
def mask(
    model: MaskableArgument,
    sparsity: SparsityOption = None,
    policy: PolicyOption = "pooled",
    layers: LayersOption = None,
    seed: SeedOption = 0,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="File to write, for one sparsity; - for standard output.",
            show_default="NAME_sPERCENT.tflite",
        ),
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Lay masks on copies of a model, to measure what they save.

    A copy is a standard file: a SELECT_V2 behind each convolution that can carry one, nothing else
    is touched. Its metadata says that its masks are for measuring, and every command repeats it:
    not trained.
    """
    from toolchain.profile.gain import Maskable
    from toolchain.report.gain_table import left_out_lines
    from toolchain.storage.files import STDOUT, check_writable, write_or_keep

    check_alone(output, json_output)
    masks = _settings(sparsity, policy, seed, layers)
    if output is not None and len(masks) > 1:
        raise wrong_use("--output", "is for one sparsity; several copies are named after theirs")
    targets = [output or Path(f"{one.name(model.stem)}.tflite") for one in masks]
    for target in targets:
        check_writable(target, inputs=[model])
    source = Maskable(model, masks[0].layers)
    tell_untrained(source.model)
    copies = [source.copy(one) for one in masks]
    rows = []
    for target, copy in zip(targets, copies, strict=True):
        write_or_keep(target, copy.raw)
        rows.append({"file": str(target), "untrained": True, **copy.record.model_dump()})
    left_out = [one.model_dump() for one in source.left_out]
    if json_output:
        names = [layer.name for layer in source.chosen]
        print_json({"copies": rows, "masked": names, "left_out": left_out})
        return
    if output == STDOUT:
        return
    for target, copy in zip(targets, copies, strict=True):
        say(
            f"{target}: masks on {len(source.chosen)} layers, {copy.record.share:.0%} of their "
            "pixels; for measuring: not trained",
            fold=False,
        )
    for line in left_out_lines(source.left_out):
        note(line)


def _settings(
    sparsity: list[str] | None, policy: str, seed: int, layers: list[str] | None
) -> list[Settings]:
    """A setting a sparsity.

    Raises:
        typer.BadParameter: an option is none.
    """
    from toolchain.hints import did_you_mean
    from toolchain.profile.gain import Settings
    from toolchain.tflite_file.mask_planes import POLICIES

    if policy not in POLICIES:
        there = did_you_mean(policy, POLICIES, f"there are {', '.join(POLICIES)}")
        raise wrong_use("--policy", f"there is no policy '{policy}': {there}")
    return [Settings(one, policy, seed, tuple(layers or ())) for one in sparsities(sparsity)]


def sparsities(given: Sequence[str] | None) -> list[float]:
    """The shares of ``0.1,0.2`` and of options that were given again, each once, in their order.

    Args:
        given: values of the option; ``None`` where it was not given.

    Raises:
        typer.BadParameter: one is no share.
    """
    found = []
    for part in ",".join(given or _DEFAULT).split(","):
        try:
            share = float(part)
        except ValueError:
            share = math.nan
        if not 0 < share < 1:
            raise wrong_use(
                "--sparsity", f"takes shares above 0 and below 1, as 0.2 or 0.1,0.2, not '{part}'"
            )
        found.append(share)
    return list(dict.fromkeys(found))
