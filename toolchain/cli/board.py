"""What is done on a board: ``deploy push``, ``run``, ``verify``, ``profile``."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated

import typer

from toolchain.cli import bars, fleet, profile_files
from toolchain.cli.command_help import App
from toolchain.cli.options import (
    BoardOption,
    BoardsOption,
    BundleOption,
    ForceOption,
    HostOption,
    IdentityOption,
    JsonOption,
    ModelArgument,
    ModelsArgument,
    QueueOption,
    ThreadCountsOption,
    ThreadsOption,
    TimeoutOption,
    check_alone,
    power_source,
    readable_models,
    thread_counts,
    warn,
)
from toolchain.cli.output import note, print_json, say, show

commands = App()


@commands.example(
    "deploy push --board rpi4 --host pi@raspberrypi dense.tflite s20.tflite",
    "deploy push --board all dense.tflite s20.tflite",
)
def push(
    models: Annotated[
        list[Path] | None, typer.Argument(help=".tflite files.", metavar="MODEL")
    ] = None,
    board: BoardsOption = None,
    host: HostOption = None,
    identity: IdentityOption = None,
    bundle: BundleOption = None,
    json_output: JsonOption = False,
) -> None:
    """Bring the runner, the delegate and models to a board; what is there already stays."""
    from toolchain.failures import Failures
    from toolchain.operations.push import PushOptions
    from toolchain.operations.push import push as push_models
    from toolchain.operations.session import Access, BoardSession
    from toolchain.report.listing_tables import push_table

    chosen, failures = fleet.chosen(board, of_one={"--host": host}), Failures()
    options = PushOptions(readable_models(models, failures) if models else ())
    access = Access(host, identity, bundle)
    if isinstance(chosen, dict):
        fleet.push(chosen, options, access, failures, json_output=json_output)
        return
    done = push_models(BoardSession(chosen, access, bars.progress()), options, failures)
    if done.files or (json_output and failures.items):
        show(
            done.document(),
            lambda width: push_table(done.files, done.board, width),
            json_output=json_output,
        )
    failures.require()


@commands.example("deploy run s20.tflite --input images.npy --output-dir outputs")
def run(
    model: ModelArgument,
    inputs: Annotated[
        list[Path],
        typer.Option("--input", help="A file for each input: .npy, .npz or raw.", metavar="FILE"),
    ],
    output_dir: Annotated[
        Path, typer.Option("--output-dir", "-o", help="Folder for output<i>.npy.")
    ],
    board: BoardOption = "qemu",
    host: HostOption = None,
    identity: IdentityOption = None,
    bundle: BundleOption = None,
    threads: ThreadsOption = None,
    timeout: TimeoutOption = None,
    queue: QueueOption = None,
    force: ForceOption = False,
    json_output: JsonOption = False,
) -> None:
    """Run a model on a board: inputs in, outputs out, one inference for each input."""
    from toolchain.board import arrays
    from toolchain.hardware.board_file import load_board
    from toolchain.operations.models import runnable
    from toolchain.operations.run import RunOptions
    from toolchain.operations.run import run as run_model
    from toolchain.operations.session import Access, BoardSession

    chosen = load_board(board)
    parsed = runnable(model, warn)
    batch = arrays.load_inputs(parsed, inputs)
    arrays.check_outputs(output_dir, parsed, inputs=[model, *inputs])
    access = Access(host, identity, bundle, timeout, queue, force)
    session = BoardSession(chosen, access, bars.progress())
    done = run_model(session, RunOptions(parsed, batch, threads))
    rows = done.rows(arrays.save_outputs(output_dir, [item.array for item in done.outputs]))
    if json_output:
        print_json({"inferences": done.inferences, "outputs": rows, "untrained": done.untrained})
        return
    for row in rows:
        say(f"{row['file']}: {row['name']} {row['dtype']}{row['shape']}", fold=False)


@commands.example(
    "deploy verify dense.tflite s20.tflite",
    "deploy verify --board rpi4 --host pi@raspberrypi s20.tflite",
    "deploy verify --board kitchen,attic s20.tflite",
)
def verify(
    models: ModelsArgument,
    board: BoardsOption = None,
    host: HostOption = None,
    identity: IdentityOption = None,
    bundle: BundleOption = None,
    inputs: Annotated[
        int, typer.Option("--inputs", "-n", min=1, help="How many random inputs.")
    ] = 3,
    tolerance: Annotated[
        float,
        typer.Option(
            "--tolerance",
            min=0.0,
            help="Difference that is borne, as a part of each output's and channel's scale.",
        ),
    ] = 1e-5,
    steps: Annotated[
        float,
        typer.Option(
            "--steps", min=0.0, help="The same for quantized outputs, in quantization steps."
        ),
    ] = 2.0,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the random inputs.")] = 0,
    threads: ThreadsOption = None,
    timeout: TimeoutOption = None,
    queue: QueueOption = None,
    force: ForceOption = False,
    json_output: JsonOption = False,
) -> None:
    """Compare a board's outputs with the stock TFLite interpreter's on this machine."""
    from toolchain.failures import Failures
    from toolchain.operations.session import Access, BoardSession
    from toolchain.operations.verify import VerifyOptions
    from toolchain.operations.verify import verify as verify_models
    from toolchain.report.verify_table import verify_table

    chosen, failures = fleet.chosen(board, of_one={"--host": host}), Failures()
    good = readable_models(models, failures)
    access = Access(host, identity, bundle, timeout, queue, force)
    options = VerifyOptions(good, inputs, tolerance, steps, seed, threads)
    if isinstance(chosen, dict):
        fleet.verify(chosen, options, access, failures, json_output=json_output)
        return
    done = verify_models(BoardSession(chosen, access, bars.progress()), options, failures)
    if done.models or (json_output and failures.items):
        show(
            done.document(),
            lambda width: verify_table(done.models, done.board, width),
            json_output=json_output,
        )
    if not json_output:
        for line in done.notes():
            note(line, style="yellow")
    failures.require()


@commands.example(
    "deploy profile dense.tflite s20.tflite --output profile.json --plot profile.png",
    "deploy profile dense.tflite s20.tflite --per-op --save run",
    "deploy profile --board rpi4 --host pi@raspberrypi --per-op dense.tflite s20.tflite",
    "deploy profile --board rpi5 --host pi@raspberrypi --energy dense.tflite s20.tflite",
    "deploy profile --board lab --save runs dense.tflite s20.tflite",
)
def profile(
    models: ModelsArgument,
    board: BoardsOption = None,
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
            "--runs",
            "-n",
            min=1,
            help="Timed runs.",
            show_default="as many as it takes; under emulation: 3",
        ),
    ] = None,
    warmup: Annotated[
        int | None,
        typer.Option(
            "--warmup",
            "-w",
            min=0,
            help="Runs before them, in each turn.",
            show_default="until times have settled; with --runs: 1",
        ),
    ] = None,
    precision: Annotated[
        float,
        typer.Option(
            "--precision",
            min=0.01,
            max=50.0,
            metavar="PERCENT",
            help="Measure until a median is known as well as this, plus or minus.",
        ),
    ] = 1.0,
    max_time: Annotated[
        float,
        typer.Option(
            "--max-time",
            min=0.0,
            metavar="SECONDS",
            help="But no longer, each model.",
            envvar="TILESKIP_MAX_TIME",
        ),
    ] = 60.0,
    max_temp: Annotated[
        float,
        typer.Option("--max-temp", metavar="CELSIUS", help="Wait for a board that is warmer."),
    ] = 65.0,
    max_wait: Annotated[
        float,
        typer.Option(
            "--max-wait",
            min=0.0,
            metavar="SECONDS",
            help="But no longer; nor for one that is busy.",
            envvar="TILESKIP_MAX_WAIT",
        ),
    ] = 30.0,
    threads: ThreadCountsOption = None,
    timeout: TimeoutOption = None,
    queue: QueueOption = None,
    force: ForceOption = False,
    per_op: Annotated[
        bool, typer.Option("--per-op", help="Time every layer; what is lost most comes first.")
    ] = False,
    energy: Annotated[
        bool,
        typer.Option(
            "--energy",
            help="Measure the energy of an inference, too: a Raspberry Pi 5 tells its power.",
        ),
    ] = False,
    meter: Annotated[
        str | None,
        typer.Option(
            "--meter",
            metavar="COMMAND",
            help="The same by a meter: a program here that prints a line of watts a reading.",
        ),
    ] = None,
    wide: Annotated[
        bool, typer.Option("--wide", help="All that is known of the board; micro-kernels.")
    ] = False,
    estimate: Annotated[
        bool,
        typer.Option(
            "--estimate/--no-estimate",
            help="Of an emulated board: estimate times of the boards whose core it plays.",
        ),
    ] = True,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write the profile as JSON; - for standard output."),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Draw it: .png, .svg or .pdf.")
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(
            "--save",
            help="Save it as files in a new folder: tables (CSV), a trace for Perfetto, and more.",
            metavar="FOLDER",
        ),
    ] = None,
    history: Annotated[
        Path | None,
        typer.Option(
            "--history",
            help="Add a line to this file.",
            show_default="history.jsonl among the user's data",
            metavar="FILE",
        ),
    ] = None,
    no_history: Annotated[
        bool, typer.Option("--no-history", help="Add no line to a history.")
    ] = False,
    json_output: JsonOption = False,
) -> None:
    """Measure models on a board; the first is the one that the others are compared with."""
    from toolchain.failures import Failures
    from toolchain.operations.profile import ProfileOptions
    from toolchain.operations.profile import profile as profile_models
    from toolchain.operations.session import Access, BoardSession
    from toolchain.profile.protocol import Limits
    from toolchain.report import operator_table, profile_plot, profile_table
    from toolchain.report.estimate_table import estimate_table
    from toolchain.storage.files import check_writable

    check_alone(output, json_output)
    kept = profile_files.Kept(save, history, no_history)
    power_source(meter, energy=energy)
    counts = tuple(thread_counts(threads))
    chosen = fleet.chosen(board, of_one={"--host": host, "--meter": meter})
    failures = Failures()
    good = readable_models(models, failures)
    limits = Limits(
        precision=precision / 100, max_time_s=max_time, max_temp_c=max_temp, max_wait_s=max_wait
    )
    access = Access(host, identity, bundle, timeout, queue, force)

    def options() -> ProfileOptions:
        power = power_source(meter, energy=energy)
        return ProfileOptions(
            good, models[0], stock_bundle, runs, warmup, counts, per_op, limits, power, estimate
        )

    if isinstance(chosen, dict):
        files = fleet.ProfileFiles(chosen, output, plot, save, history, no_history)
        files.check(inputs=models)
        fleet.profile(chosen, options, access, failures, files, wide=wide, json_output=json_output)
        return
    if output:
        check_writable(output, inputs=models)
    if plot:
        profile_plot.check_plot_path(plot, others=[output] if output else [])
    kept.check(inputs=models, outputs=[path for path in (output, plot) if path])
    session = BoardSession(chosen, access, bars.progress())
    measured = profile_models(session, options(), failures)
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
    kept.write(measured, good, failures)
    tables = [profile_table.profile_table, operator_table.operator_tables][: 1 + per_op]
    show(
        measured,
        *(functools.partial(table, measured, wide=wide) for table in tables),
        *(functools.partial(estimate_table, one) for one in measured.estimates),
        json_output=json_output,
        output=output,
    )
    failures.require()
