"""The command line: parse, call, print.

Every command lives here and does three things: it reads its options, calls the toolchain, and
prints what came back, as a table or with ``--json`` as one JSON document on standard output.
Progress, notes and errors go to standard error.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolchain import console, progress
from toolchain.command_help import App, complete
from toolchain.console import TerminalProgress, err, out, print_json
from toolchain.convert.kinds import Boundary, Kind, is_program
from toolchain.errors import ModelError, OutputError, RecipeError
from toolchain.formats.input_file import check_readable, read_limited
from toolchain.hints import command
from toolchain.signals import sigterm_exits
from toolchain.storage.files import STDOUT, check_folder, check_name, check_writable

if TYPE_CHECKING:
    from toolchain.board.connection import Connection
    from toolchain.board.emulator import State as EmulatorState
    from toolchain.board.invoke import BoardRunner
    from toolchain.board.verify import Verification
    from toolchain.failures import Failures
    from toolchain.hardware.board_file import Board

app = App(
    name="deploy",
    help="Take a network with spatial masks from PyTorch to a small ARM board; measure it there.",
    epilog="deploy demo",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command line; :mod:`toolchain.console` says how it ends."""

    def command() -> None:
        with sigterm_exits():
            app()

    console.run(command)


def _version(asked: bool) -> None:
    if asked:
        import toolchain

        print(toolchain.__version__)
        raise typer.Exit


def _check_alone(output: Path | None, json_output: bool) -> None:
    if output == STDOUT and json_output:
        raise typer.BadParameter(
            "is on standard output, as is what --output - writes; leave one of the two away",
            param_hint="--json",
        )


def _boards(incomplete: str) -> Iterator[tuple[str, str]]:
    from toolchain.resources import boards_dir

    for path in sorted(boards_dir().glob("*.toml")):
        yield path.stem, "a board that ships"
    head = incomplete[: incomplete.rfind("/") + 1]  # as it was typed: the shell goes on from there
    for path in sorted(Path(os.path.expanduser(head)).glob("*.toml")):  # noqa: PTH111 (never fails)
        with suppress(OSError):
            # No other TOML file has such a key.
            if b"march" in read_limited(path):
                yield head + path.name, "a file"


def _networks(_incomplete: str) -> Iterator[tuple[str, str]]:
    from toolchain.zoo.catalog import ZOO

    return ((entry.name, entry.description) for entry in ZOO.values())


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    pass


# --- train -----------------------------------------------------------------------------------


@app.example(
    "deploy train toolchain/train/recipes/quick.toml",
    "deploy train recipe.toml --output net.safetensors --run-dir runs/net",
)
def train(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE.toml", help="see docs/train.md")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="checkpoint to write, - for standard output; default: RECIPE.safetensors",
        ),
    ] = None,
    run_dir: Annotated[
        Path | None,
        typer.Option(help="folder of the saved state and the TensorBoard log; default: RECIPE.run"),
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="forget what an earlier call has trained")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="try everything but the training, and stop")
    ] = False,
    json_: Annotated[
        bool, typer.Option("--json", help="one JSON document instead of text")
    ] = False,
) -> None:
    """Train a network with masks, as a recipe says; `deploy convert` takes the result as it is.

    A run that was stopped, with **Ctrl-C** or by force, goes on when the same command is given
    again, and ends with the same weights as one that was not.

    A recipe may name Python code of yours (`package.module:function`), which is run.
    """
    _check_alone(output, json_)
    check_readable(recipe, RecipeError)
    check_name(recipe, RecipeError)
    for path in (output, run_dir):
        check_name(path or recipe, OutputError)
    from toolchain.report.training_table import plan_table, training_table
    from toolchain.train.interrupt import Stopped
    from toolchain.train.recipe import load_recipe
    from toolchain.train.run import plan_recipe, train_recipe

    loaded, base = load_recipe(recipe), recipe.resolve().parent
    output = output or Path(f"{recipe.stem}.safetensors")
    if not check:
        check_writable(output, inputs=[recipe])
    shown: progress.Progress = progress.Silent()
    if not json_:  # a training takes long: a log wants lines meanwhile, not one at the end
        shown = TerminalProgress() if err.is_terminal else progress.Lines(interval_s=30)
    if check:
        plan = plan_recipe(loaded, base=base, progress=shown)
        if json_:
            print_json(plan)
        else:
            out.print(plan_table(plan, out.width), soft_wrap=True)
        return
    try:
        done = train_recipe(
            loaded,
            output,
            run_dir or Path(f"{recipe.stem}.run"),
            base=base,
            name=recipe.name,
            restart=restart,
            progress=shown,
        )
    except Stopped as stopped:
        again = "the same command" + (" without --restart" if restart else "")
        err.print(f"{stopped}; saved: {again} goes on from there", markup=False)
        raise typer.Exit(128 + stopped.signal_number) from None
    if json_:
        print_json(done)
    else:
        with console.apart_from(output):
            out.print(training_table(done, out.width), soft_wrap=True)


# --- convert, inspect ------------------------------------------------------------------------


@app.example(
    "deploy convert toolchain/zoo/checkpoints/fashion_resnet_s20.safetensors -o s20.tflite",
    "deploy convert weights.pt --model my_nets:flowers --input-shape 1,3,224,224",
    "deploy convert --model resnet18_s20 --quantize int8 --calibration images",
)
def convert(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="CHECKPOINT|PROGRAM.pt2",
            help="weights (safetensors or a PyTorch state_dict), or an exported program",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="package.module:factory, or a network of the zoo, such as resnet18_s20",
            autocompletion=complete(_networks),
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="file to write, - for standard output; default: NAME.tflite",
        ),
    ] = None,
    input_shape: Annotated[
        list[str] | None,
        typer.Option(help="as torch has it: 1,3,224,224 (N,C,H,W); once an input"),
    ] = None,
    masks: Annotated[
        Path | None,
        typer.Option(
            metavar="bin_mask.h",
            help="header of masks by the paper's training code, for a checkpoint without masks; "
            "where the checkpoint has its own, they are taken and the differences told",
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="KEY",
            help="which weights of a checkpoint that holds several: their key in it, or ema for "
            "averaged ones",
        ),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="of the check, as a part of each output's and channel's scale [default: 1e-5]",
        ),
    ] = None,
    quantize: Annotated[
        Kind | None,
        typer.Option(
            help="int8: weights and activations; fp16: weights; dynamic: int8 weights, float "
            "activations"
        ),
    ] = None,
    calibration: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="for int8: a folder of images, an .npz file, package.module:function, "
            "fashion-mnist; or random, which is for measuring time only",
        ),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(min=1, help="inferences to calibrate with, at most [default: 100]"),
    ] = None,
    io: Annotated[
        Boundary, typer.Option(help="what inputs and outputs of an int8 file are")
    ] = "float32",
    min_sqnr: Annotated[
        float | None,
        typer.Option(
            metavar="DB",
            help="least signal-to-quantization-noise ratio of a quantized file "
            "[default: 10; fp16: 30]",
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="of the check's random inputs [default: a fresh one]")
    ] = None,
    trust: Annotated[
        bool,
        typer.Option(
            "--trust", help="load a .pt2 file without a question: it can run code of its maker's"
        ),
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option("--verbose", help="every output on every runtime, and what was not tried"),
    ] = False,
    json_: Annotated[
        bool, typer.Option("--json", help="one JSON document instead of text")
    ] = False,
) -> None:
    """Convert a masked PyTorch model to a standard .tflite file, and check it against torch.

    The file's images are **NHWC** (channels last), whatever they are in torch. The file is written
    only if its outputs on stock TFLite interpreters equal torch's, or are near enough to them where
    it is quantized; and on the runtime that ships, where `deploy build --board host` has built it
    into the current folder.

    An exported program (.pt2) can run code when it is loaded, so it is asked for first. The module
    of `--model` is run. No other file is, whatever it holds.
    """
    from toolchain.zoo import catalog

    _check_alone(output, json_)
    shapes = [_shape(text) for text in input_shape or []]
    for option, given in (("--calibration", calibration), ("--samples", samples)):
        if given is not None and quantize != "int8":
            raise typer.BadParameter("is for --quantize int8", param_hint=option)
    if io != "float32" and quantize != "int8":
        raise typer.BadParameter("is for --quantize int8", param_hint="--io")
    if min_sqnr is not None and quantize is None:
        raise typer.BadParameter("is for --quantize", param_hint="--min-sqnr")
    if source is None and model is None:
        raise typer.BadParameter(
            "give a checkpoint, an exported program (.pt2), or --model", param_hint="CHECKPOINT"
        )
    if model is not None and ":" not in model:
        catalog.get(model)
    for file in (source, masks):
        if file is not None:
            check_readable(Path(file), ModelError)
    if source is not None and is_program(Path(source)) and not trust:
        _ask_for_trust(source)
    from toolchain.board.host_runtime import host_runtimes
    from toolchain.convert import conversion
    from toolchain.report.layers import conversion_summary

    done = conversion.convert(
        source,
        output or conversion.default_output(source, model),
        model=model,
        input_shapes=shapes or None,
        masks=masks,
        weights=weights,
        tolerance=conversion.DEFAULT_TOLERANCE if tolerance is None else tolerance,
        quantize=quantize,
        calibration=calibration,
        calibration_samples=samples,
        boundary=io,
        min_sqnr_db=min_sqnr,
        seed=seed,
        others=host_runtimes(),
        progress=progress.Silent() if json_ else TerminalProgress(),
    )
    if json_:
        print_json(done)
    else:
        with console.apart_from(output):
            out.print(conversion_summary(done, verbose=verbose), soft_wrap=True)


def _ask_for_trust(program: str) -> None:
    """Ask whether a file that can run code may do so.

    Raises:
        ModelError: it may not, or there is nobody to ask.
    """
    said = f"{program}: is an exported program, which can run code of whoever made it when loaded"
    if sys.stdin is not None and sys.stdin.isatty() and err.is_terminal:
        err.print(said, markup=False, highlight=False, soft_wrap=True)
        if typer.confirm("Do you trust whoever made it?", err=True):
            return
    raise ModelError(
        said, hint=f"if you trust whoever made it, run: {command('convert', program, '--trust')}"
    )


@app.example(
    "deploy inspect s20.tflite",
    "deploy inspect s20.tflite --board rpi4",
    "deploy inspect s20.tflite --mask layer1.0.conv1",
)
def inspect(
    file: Annotated[Path, typer.Argument(help="a .tflite file, of this project or any other")],
    mask: Annotated[
        str | None,
        typer.Option(metavar="LAYER", help="draw a layer's mask: its name, or index in --json"),
    ] = None,
    board: Annotated[
        str | None,
        typer.Option(
            "--board",
            "-b",
            help="count in the tiles of this board: its name or file",
            autocompletion=complete(_boards),
        ),
    ] = None,
    json_: Annotated[
        bool, typer.Option("--json", help="one JSON document instead of text")
    ] = False,
) -> None:
    """Show the layers of a .tflite file: shapes, MACs, masks, and what the runtime will skip.

    With `--board`: how many tiles of that board's core the kept pixels fill, and what of them is
    computed for nothing.
    """
    from toolchain.hardware.board_file import known_tiles, load_board
    from toolchain.report.layers import inspection_table, mask_picture
    from toolchain.report.tiling_table import tiling_table
    from toolchain.tflite_file import inspection

    core = known_tiles(load_board(board)) if board is not None else None
    check_readable(file, ModelError)
    if mask is not None:
        plane = inspection.layer_mask(file, mask)
        if json_:
            print_json(plane.astype(int).tolist())
            return
        print(mask_picture(plane, width=out.width, unicode=out.encoding.startswith("utf")))
        return
    report = inspection.inspect_model(file, core)
    if json_:
        print_json(report)
    elif report.tiling is not None:
        out.print(tiling_table(report, report.tiling, out.width))
    else:
        out.print(inspection_table(report, out.width))


def _shape(text: str) -> tuple[int, ...]:
    try:
        shape = tuple(int(part) for part in text.replace("x", ",").split(","))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise typer.BadParameter(
            f"'{text}' is no shape; write 1,3,224,224", param_hint="--input-shape"
        )
    return shape


BoardOption = Annotated[
    str,
    typer.Option("--board", "-b", help="Board name or file.", autocompletion=complete(_boards)),
]


# --- build -----------------------------------------------------------------------------------


@app.example(
    "deploy build --board rpi4",
    "deploy build --board my_board.toml --stock",
)
def build(
    board: BoardOption = "qemu",
    stock: Annotated[bool, typer.Option("--stock", help="Leave the patches out.")] = False,
    out_dir: Annotated[
        Path | None, typer.Option("--out", help="Bundle folder; build/BOARD by default.")
    ] = None,
    jobs: Annotated[int | None, typer.Option("--jobs", "-j", min=1, help="Compilers.")] = None,
    sources: Annotated[
        Path | None,
        typer.Option("--sources", exists=True, file_okay=False, help="Archives at hand."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Compile and link the programs again.")
    ] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print the manifest.")] = False,
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
        progress=TerminalProgress(),
    )
    if json_output:
        document = {"path": str(made.path), **made.manifest.model_dump(mode="json", by_alias=True)}
        print_json(document)
        return
    out.print(bundle_table(made, out.width))
    patched = "stock" if made.manifest.stock else "patched"
    line = f"{made.manifest.isa}, {made.manifest.march}, {patched}; {made.manifest.compiler}"
    out.print(line, markup=False, highlight=False)


@app.example(
    "deploy boards",
)
def boards(
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """List the boards that --board knows by name; docs/boards.md says how to add one."""
    from toolchain.hardware.board_file import board_names, load_board

    known = [load_board(name) for name in board_names()]
    if json_output:
        print_json([board.model_dump() for board in known])
        return
    from toolchain.report.listing_tables import boards_table

    out.print(boards_table(known, out.width))


@app.example("deploy models", "deploy convert --model resnet18_s20")
def models(
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """List the networks that `convert --model`, and recipes, know by name."""
    from toolchain.zoo.catalog import ZOO

    if json_output:
        print_json([entry.facts() for entry in ZOO.values()])
        return
    from toolchain.report.listing_tables import networks_table

    out.print(networks_table(list(ZOO.values()), out.width))


# --- emulator --------------------------------------------------------------------------------

emulator_app = App(
    help="The emulated board: an ARM machine in QEMU, reached over real SSH.",
    no_args_is_help=True,
    epilog="deploy emulator start",
)
app.add_typer(emulator_app, name="emulator")

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@emulator_app.example(
    "deploy emulator start",
    "deploy emulator start --board my_board.toml --no-icount --cores 4",
    name="start",
)
def emulator_start(
    board: BoardOption = "qemu",
    cores: Annotated[
        int | None, typer.Option("--cores", min=1, max=8, help="Cores; needs --no-icount.")
    ] = None,
    icount: Annotated[
        bool, typer.Option("--icount/--no-icount", help="Count instructions, on one core.")
    ] = True,
    json_output: JsonOption = False,
) -> None:
    """Boot the board unless it runs, and wait until it can be logged in to."""
    from toolchain.board import emulator
    from toolchain.hardware.board_file import load_board

    chosen = load_board(board)
    state = emulator.start(chosen, TerminalProgress(), cores=cores, icount=icount)
    _print_emulator(chosen.name, state, json_output=json_output)


@emulator_app.example(
    "deploy emulator stop",
    name="stop",
)
def emulator_stop(board: BoardOption = "qemu", json_output: JsonOption = False) -> None:
    """Shut the board down; no error if it does not run."""
    from toolchain.board import emulator
    from toolchain.hardware.board_file import load_board

    chosen = load_board(board)
    emulator.require_emulated(chosen)
    stopped = emulator.stop(chosen, TerminalProgress())
    if json_output:
        print_json({"board": chosen.name, "stopped": stopped})
    else:
        state = "is shut down" if stopped else "was not running"
        out.print(f"emulated board '{chosen.name}' {state}", highlight=False, markup=False)


@emulator_app.example(
    "deploy emulator status",
    name="status",
)
def emulator_status(board: BoardOption = "qemu", json_output: JsonOption = False) -> None:
    """Say whether the board runs, and how to log in to it.

    The exit code is 12 unless it runs and answers: it may still boot, or be stopped.
    """
    from toolchain.board import emulator
    from toolchain.errors import EmulatorError
    from toolchain.hardware.board_file import load_board

    chosen = load_board(board)
    emulator.require_emulated(chosen)
    state = emulator.status(chosen)
    phase = state.phase() if state else None
    _print_emulator(chosen.name, state, phase, json_output=json_output)
    if phase != "runs":
        raise typer.Exit(EmulatorError.exit_code)


def _print_emulator(
    name: str, state: EmulatorState | None, phase: str | None = "runs", *, json_output: bool
) -> None:
    if json_output:
        facts = {"ssh": state.ssh_command, **state.model_dump(mode="json")} if state else {}
        print_json({"board": name, "running": phase == "runs", "phase": phase, **facts})
    elif state is None:
        out.print(f"emulated board '{name}' does not run", highlight=False, markup=False)
    else:
        counting = "instructions are counted"
        if state.settings.icount_shift is None:
            counting = "instructions are not counted"
        cores = "1 core" if state.settings.cores == 1 else f"{state.settings.cores} cores"
        line = f"emulated board '{name}' {phase} (process {state.pid}, {cores}, {counting})"
        out.print(line, highlight=False, markup=False)
        out.print(f"log in: {state.ssh_command}", highlight=False, markup=False, soft_wrap=True)


# --- push, run, verify, profile --------------------------------------------------------------

HostOption = Annotated[
    str | None,
    typer.Option("--host", "-H", help="A real board: what you give to ssh.", metavar="HOST"),
]
IdentityOption = Annotated[
    Path | None,
    typer.Option("--identity", "-i", help="Private key to log in with.", dir_okay=False),
]
BundleOption = Annotated[
    Path | None, typer.Option("--bundle", help="Bundle folder; build/BOARD by default.")
]
ThreadsOption = Annotated[
    int | None,
    typer.Option("--threads", "-t", min=1, max=64, help="Threads; as the board's file says."),
]
TimeoutOption = Annotated[
    float | None,
    typer.Option(
        "--timeout", min=0.1, metavar="SECONDS", help="That one run of the runner may take; 3600."
    ),
]
ModelArgument = Annotated[Path, typer.Argument(help="A .tflite file.", metavar="MODEL")]
ModelsArgument = Annotated[list[Path], typer.Argument(help=".tflite files.", metavar="MODEL")]


@contextmanager
def _board_runner(
    board: Board,
    host: str | None,
    identity: Path | None,
    bundle_dir: Path | None,
    timeout: float | None = None,
) -> Iterator[tuple[Connection, BoardRunner]]:
    from toolchain.board.connect import connect
    from toolchain.board.invoke import TIMEOUT_S, BoardRunner, load_bundle
    from toolchain.board.target import parse_host

    if host is not None:
        parse_host(host)
    bundle = load_bundle(board, bundle_dir)
    with connect(board, host, identity=identity) as connection:
        limit = timeout or TIMEOUT_S
        yield (
            connection,
            BoardRunner(connection, board, bundle, TerminalProgress(), timeout=limit),
        )


def _readable(models: Sequence[Path], failures: Failures) -> list[Path]:
    """Those of the models that can be read and that the runtime can run; an error if none can.

    Raises:
        ModelError: none can.
    """
    from toolchain.tflite_file.support import read_supported

    good = []
    for model in models:
        with failures.of(str(model)):
            check_readable(model, ModelError)
            read_supported(model)
            good.append(model)
    if not good:
        failures.require()
    return good


@app.example(
    "deploy push --board rpi4 --host pi@raspberrypi dense.tflite s20.tflite",
)
def push(
    models: Annotated[
        list[Path] | None, typer.Argument(help=".tflite files.", metavar="MODEL")
    ] = None,
    board: BoardOption = "qemu",
    host: HostOption = None,
    identity: IdentityOption = None,
    bundle: BundleOption = None,
    json_output: JsonOption = False,
) -> None:
    """Bring the runner, the delegate and models to a board; what is there already stays."""
    from toolchain.board.push import Pushed
    from toolchain.failures import Failures
    from toolchain.hardware.board_file import load_board
    from toolchain.report.listing_tables import push_table

    chosen = load_board(board)
    failures = Failures()
    good = _readable(models, failures) if models else []
    name, files = chosen.name, list[Pushed]()
    with failures.kept(), _board_runner(chosen, host, identity, bundle) as (connection, runner):
        name, files = connection.name, [*runner.pushed]
        files += runner.push_each(good, failures)
    if json_output and (files or failures.items):
        rows = [
            {
                "file": str(item.local),
                "remote": item.remote,
                "bytes": item.size,
                "sha256": item.sha256,
                "sent": item.sent,
            }
            for item in files
        ]
        print_json({"board": name, "files": rows, "failed": failures.rows()})
    elif files:
        out.print(push_table(files, name, out.width))
    failures.require()


@app.example(
    "deploy run s20.tflite --input images.npy --output-dir outputs",
)
def run(
    model: ModelArgument,
    inputs: Annotated[
        list[Path],
        typer.Option("--input", help="Once for each input: .npy, .npz or raw.", metavar="FILE"),
    ],
    output_dir: Annotated[Path, typer.Option("--output-dir", "-o", help="For output<i>.npy.")],
    board: BoardOption = "qemu",
    host: HostOption = None,
    identity: IdentityOption = None,
    bundle: BundleOption = None,
    threads: ThreadsOption = None,
    timeout: TimeoutOption = None,
    json_output: JsonOption = False,
) -> None:
    """Run a model on a board: inputs in, outputs out, one inference for each input."""
    from toolchain.board import arrays
    from toolchain.board.invoke import Settings
    from toolchain.hardware.board_file import load_board
    from toolchain.tflite_file.support import read_supported

    chosen = load_board(board)
    check_readable(model, ModelError)
    parsed = read_supported(model)
    batch = arrays.load_inputs(parsed, inputs)
    arrays.check_outputs(output_dir, parsed, inputs=[model, *inputs])
    with _board_runner(chosen, host, identity, bundle, timeout) as (_, runner):
        settings = Settings(threads=threads or chosen.threads)
        outputs = batch.shaped(runner.run(parsed, settings, batch).outputs)
    paths = arrays.save_outputs(output_dir, outputs)
    rows = [
        {"file": str(path), "name": tensor.name, "shape": list(array.shape),
         "dtype": str(array.dtype)}
        for path, tensor, array in zip(paths, arrays.model_outputs(parsed), outputs, strict=True)
    ]  # fmt: skip
    if json_output:
        print_json({"inferences": batch.count, "outputs": rows})
        return
    for row in rows:
        line = f"{row['file']}: {row['name']} {row['dtype']}{row['shape']}"
        out.print(line, highlight=False, markup=False, soft_wrap=True)


@app.example(
    "deploy verify dense.tflite s20.tflite",
    "deploy verify --board rpi4 --host pi@raspberrypi s20.tflite",
)
def verify(
    models: ModelsArgument,
    board: BoardOption = "qemu",
    host: HostOption = None,
    identity: IdentityOption = None,
    bundle: BundleOption = None,
    inputs: Annotated[
        int, typer.Option("--inputs", "-n", min=1, help="How many random inputs.")
    ] = 3,
    tolerance: Annotated[
        float,
        typer.Option(
            "--tolerance", min=0.0, help="As a part of each output's and channel's scale."
        ),
    ] = 1e-5,
    steps: Annotated[
        float, typer.Option("--steps", min=0.0, help="Of quantized outputs: quantization steps.")
    ] = 2.0,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the random inputs.")] = 0,
    threads: ThreadsOption = None,
    timeout: TimeoutOption = None,
    json_output: JsonOption = False,
) -> None:
    """Compare a board's outputs with the stock TFLite interpreter's on this machine."""
    from toolchain.board.verify import verify as verify_model
    from toolchain.failures import Failures
    from toolchain.hardware.board_file import load_board
    from toolchain.report.verify_table import verify_table

    chosen, failures = load_board(board), Failures()
    good = _readable(models, failures)
    name, results = chosen.name, []
    with (
        failures.kept(),
        _board_runner(chosen, host, identity, bundle, timeout) as (connection, runner),
    ):
        name = connection.name
        for model in good:
            with failures.of(str(model)):
                results.append(
                    verify_model(
                        runner,
                        model,
                        inputs=inputs,
                        seed=seed,
                        tolerance=tolerance,
                        steps=steps,
                        threads=threads or chosen.threads,
                    )
                )
    for item in results:
        with failures.of(item.model):
            item.require(_narrow_down(chosen, item, threads))
    if json_output and (results or failures.items):
        rows = [item.document() for item in results]
        print_json({"board": name, "models": rows, "failed": failures.rows()})
    elif results:
        out.print(verify_table(results, name, out.width))
        for note in (note for item in results for note in item.notes()):
            err.print(note, style="yellow", markup=False, highlight=False, soft_wrap=True)
    failures.require()


def _narrow_down(board: Board, done: Verification, threads: int | None = None) -> str:
    """What to run to learn what a board's difference comes from."""
    from toolchain.build.bundle import bundle_path

    again = ["verify", done.model, "--inputs", done.inputs, "--seed", done.seed]
    again += ["--tolerance", f"{done.tolerance:g}", "--steps", f"{done.step_tolerance:g}"]
    again += ["--threads", threads] if threads else []
    if board.connection != "local":
        build = command("build", "--board", "host")
        return (
            "to see whether this machine's build of the runtime does the same on the same inputs, "
            f"run: {build} && {command(*again, '--board', 'host')}"
        )
    build = command("build", "--board", board.given, "--stock")
    stock = bundle_path(board, stock=True)
    return (
        "to see whether a runtime without patches does the same on the same inputs, "
        f"run: {build} && {command(*again, '--board', board.given, '--bundle', stock)}"
    )


@app.example(
    "deploy profile dense.tflite s20.tflite --output profile.json --plot profile.png",
    "deploy profile --board rpi4 --host pi@raspberrypi --per-op dense.tflite s20.tflite",
)
def profile(
    models: ModelsArgument,
    board: BoardOption = "qemu",
    host: HostOption = None,
    identity: IdentityOption = None,
    bundle: BundleOption = None,
    stock_bundle: Annotated[
        Path | None,
        typer.Option("--stock-bundle", help="Measure on this unpatched bundle, too."),
    ] = None,
    runs: Annotated[
        int | None,
        typer.Option(
            "--runs", "-n", min=1, help="Timed runs; those of 3 seconds, or 3 under emulation."
        ),
    ] = None,
    warmup: Annotated[
        int | None,
        typer.Option("--warmup", "-w", min=0, help="Runs before them, in each turn; 1."),
    ] = None,
    threads: ThreadsOption = None,
    timeout: TimeoutOption = None,
    per_op: Annotated[
        bool, typer.Option("--per-op", help="Time every layer; what is lost most comes first.")
    ] = False,
    wide: Annotated[
        bool, typer.Option("--wide", help="All that is known of the board; micro-kernels.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write the profile as JSON; - for standard output."),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Draw it: .png, .svg or .pdf.")
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Measure models on a board; the first is the one that the others are compared with."""
    from toolchain.board.invoke import Settings, load_bundle
    from toolchain.failures import Failures
    from toolchain.hardware.board_file import load_board
    from toolchain.profile.measure import Session
    from toolchain.report import operator_table, profile_plot, profile_table

    _check_alone(output, json_output)
    chosen, failures = load_board(board), Failures()
    good = _readable(models, failures)
    if output:
        check_writable(output, inputs=models)
    if plot:
        profile_plot.check_plot_path(plot, others=[output] if output else [])
    stock = load_bundle(chosen, stock_bundle, stock=True) if stock_bundle else None
    settings = Settings.measuring(chosen, threads=threads, runs=runs, warmup=warmup, per_op=per_op)
    measured = None
    with (
        failures.kept(),
        _board_runner(chosen, host, identity, bundle, timeout) as (connection, runner),
    ):
        session = Session(connection, chosen, runner, TerminalProgress(), settings, stock, failures)
        session.measure(good, reference=models[0])
        measured = session.profile()
    if measured is None:
        failures.require()
        return
    # What was measured is shown, whatever becomes of the files.
    if output:
        with failures.of_output(output):
            measured.save(output)
    if plot:
        with failures.of_output(plot):
            profile_plot.plot_profile(measured, plot)
    if json_output:
        print_json(measured)
    else:
        with console.apart_from(output):
            out.print(profile_table.profile_table(measured, out.width, wide=wide))
            if per_op:
                out.print(operator_table.operator_tables(measured, out.width, wide=wide))
    failures.require()


@app.example(
    "deploy compare before.json after.json",
)
def compare(
    before: Annotated[Path, typer.Argument(help="A profile of deploy profile --output.")],
    after: Annotated[Path, typer.Argument(help="Another one.")],
    json_output: JsonOption = False,
) -> None:
    """Compare two profiles, model by model."""
    from toolchain.profile.compare import compare as compare_profiles
    from toolchain.profile.document import load_profile
    from toolchain.report import profile_table

    for file in (before, after):
        check_readable(file, ModelError, pipe=True)
    found = compare_profiles(load_profile(before), load_profile(after))
    if json_output:
        rows = [item.row() for item in found.changes]
        print_json({"changes": rows, "notes": found.notes})
        return
    out.print(profile_table.comparison_table(found, out.width))


# --- cache -----------------------------------------------------------------------------------

cache_app = App(
    help="What the cache holds: sources, compiled parts, images, data sets; and its cleaning.",
    invoke_without_command=True,
    epilog="deploy cache\ndeploy cache clean --older-than 30d",
)
app.add_typer(cache_app, name="cache")


def _kinds(_incomplete: str) -> Iterator[tuple[str, str]]:
    from toolchain.storage import cache_content

    return ((kind, "a folder of the cache") for kind in cache_content.kinds())


def _check_kinds(kinds: Sequence[str]) -> None:
    from toolchain.hints import did_you_mean
    from toolchain.storage import cache_content

    known = cache_content.kinds()
    for kind in kinds:
        if kind not in known:
            meant = did_you_mean(kind, known) or f"there are: {', '.join(known) or 'none'}"
            raise typer.BadParameter(
                f"the cache has nothing of the kind '{kind}'; {meant}", param_hint="--kind"
            )


KindOption = Annotated[
    list[str] | None,
    typer.Option(
        "--kind",
        metavar="KIND",
        help="Only of this kind, as the table has it; may be repeated.",
        autocompletion=complete(_kinds),
    ),
]


@cache_app.callback()
def cache(
    context: typer.Context,
    kind: KindOption = None,
    json_output: JsonOption = False,
) -> None:
    """Show what the cache holds: sizes, when it was last used, and who uses it now.

    The cache is `$TILESKIP_CACHE`, or `tileskip` among the user's caches.
    """
    if context.invoked_subcommand is not None:
        for option, given in (("--kind", kind), ("--json", json_output)):
            if given:
                raise typer.BadParameter(
                    f"give it after '{context.invoked_subcommand}'", param_hint=option
                )
        return
    from toolchain.report.cache_table import cache_table
    from toolchain.storage import cache_content
    from toolchain.storage.cache import cache_dir

    _check_kinds(kind or [])
    items = cache_content.content(kind or [])
    if json_output:
        total = sum(item.bytes for item in items)
        rows = [item.document() for item in items]
        print_json({"cache": str(cache_dir()), "bytes": total, "entries": rows})
        return
    out.print(cache_table(items, out.width, title=str(cache_dir())), soft_wrap=True)


@cache_app.example(
    "deploy cache clean --older-than 30d",
    "deploy cache clean --max-size 5GB --dry-run",
    "deploy cache clean --kind datasets --yes",
    name="clean",
)
def cache_clean(
    older_than: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="What was not used for so long: 30d; or m, h, w for other units."
        ),
    ] = None,
    max_size: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="What was used least recently, until no more is left: 5GB; or kB, MB, GiB.",
        ),
    ] = None,
    kind: KindOption = None,
    everything: Annotated[bool, typer.Option("--all", help="All of it.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be removed.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove without a question.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Remove what the limits say, and in any case what programs that were killed have left.

    What another program uses stays. What is removed is fetched or made again when it is needed.
    `--kind` alone removes all of that kind.
    """
    from toolchain.quantities import byte_count, seconds
    from toolchain.report.cache_table import cache_table, size_text
    from toolchain.storage import cache_content

    age = None if older_than is None else _quantity(seconds, older_than, "--older-than")
    most = None if max_size is None else int(_quantity(byte_count, max_size, "--max-size"))
    _check_kinds(kind or [])
    limited = age is not None or most is not None
    if everything and limited:
        raise typer.BadParameter("leaves nothing to limit", param_hint="--all")
    wanted = cache_content.chosen(
        cache_content.content(kind or []),
        everything=everything or (bool(kind) and not limited),
        older_than=age,
        max_size=most,
    )
    free = [item for item in wanted if item.used_by is None]
    if not json_output and free:
        out.print(cache_table(free, out.width), soft_wrap=True)
    freed = size_text(sum(item.bytes for item in free))
    if not dry_run and free and not yes:
        _ask_for_removal(f"Remove this from the cache, {freed}?", can_ask=not json_output)
    done = cache_content.Removal(free, [item for item in wanted if item.used_by], [])
    if not dry_run:
        done = cache_content.remove(wanted)
    if json_output:
        print_json({"dry_run": dry_run, **done.document()})
    else:
        for item in done.kept:
            line = f"{item.kind}/{item.short_name} stays: in use by {item.used_by or 'a program'}"
            err.print(line, markup=False, highlight=False, soft_wrap=True)
        said = "would be removed" if dry_run else "removed"
        out.print(f"{said}: {size_text(done.freed)}", highlight=False, markup=False)
    if done.faults:
        raise OutputError(
            "\n".join(f"{fault}: cannot be removed" for fault in done.faults),
            hint="remove it as the user who owns it",
        )


def _ask_for_removal(question: str, *, can_ask: bool) -> None:
    """Ask before something is removed.

    Raises:
        typer.Exit: the answer is no.
        typer.BadParameter: there is nobody to ask.
    """
    if can_ask and sys.stdin is not None and sys.stdin.isatty() and err.is_terminal:
        if not typer.confirm(question, err=True):
            raise typer.Exit(1)
        return
    raise typer.BadParameter(
        "nobody can be asked here; to remove without a question give --yes, to see what would "
        "be removed --dry-run",
        param_hint="--yes",
    )


def _quantity(parse: Callable[[str], float], text: str, option: str) -> float:
    try:
        return parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from error


# --- demo ------------------------------------------------------------------------------------


@app.example(
    "deploy demo",
)
def demo(
    board: BoardOption = "qemu",
    host: HostOption = None,
    folder: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for models and results.")
    ] = Path("build/demo"),
    images: Annotated[
        int, typer.Option("--images", min=1, max=10_000, help="Test images to classify.")
    ] = 200,
    json_output: JsonOption = False,
) -> None:
    """Do all of it once: convert, build, boot, push, classify and profile three networks."""
    from toolchain.demo import demo as run_demo
    from toolchain.demo import save_demo
    from toolchain.failures import Failures
    from toolchain.hardware.board_file import load_board
    from toolchain.report import demo_table, profile_plot

    check_folder(folder)
    report = progress.Silent() if json_output else TerminalProgress()
    result, measured = run_demo(
        load_board(board), folder, images=images, host=host, progress=report
    )
    failures = Failures()
    save_demo(result, measured, failures)
    with failures.of_output(folder):
        profile_plot.plot_profile(measured, folder / "profile.png")
    if json_output:
        print_json(result)
        failures.require()
        return
    out.print(demo_table.demo_table(result, out.width))
    out.print(f"Models, profile.json, profile.png: {folder}", highlight=False, markup=False)
    failures.require()


if __name__ == "__main__":
    main()
