"""What is done on a board: ``deploy push``, ``run``, ``verify``, ``profile``."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolchain.cli import bars, profile_files
from toolchain.cli.command_help import App
from toolchain.cli.options import (
    BoardOption,
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
    tell_untrained,
    thread_counts,
)
from toolchain.cli.output import note, print_json, say, show

if TYPE_CHECKING:
    from toolchain.board.connection import Connection
    from toolchain.board.invoke import BoardRunner
    from toolchain.board.lease import Lease
    from toolchain.board.verify import Verification
    from toolchain.hardware.board_file import Board
    from toolchain.progress import Progress

commands = App()


@commands.example("deploy push --board rpi4 --host pi@raspberrypi dense.tflite s20.tflite")
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
    from toolchain.tflite_file.graph import read_model
    from toolchain.tflite_file.untrained import is_untrained

    chosen = load_board(board)
    failures = Failures()
    good = readable_models(models, failures) if models else []
    untrained = {model for model in good if is_untrained(read_model(model))}
    name, files = chosen.name, list[Pushed]()
    with failures.kept(), board_runner(chosen, host, identity, bundle) as (connection, runner):
        name, files = connection.name, [*runner.pushed]
        files += runner.push_each(good, failures)
    rows = [
        {
            "file": str(item.local),
            "remote": item.remote,
            "bytes": item.size,
            "sha256": item.sha256,
            "sent": item.sent,
            "untrained": item.local in untrained,
        }
        for item in files
    ]
    if files or (json_output and failures.items):
        show(
            {"board": name, "files": rows, "failed": failures.rows()},
            lambda width: push_table(files, name, width),
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
    from toolchain.board.invoke import Settings
    from toolchain.errors import ModelError
    from toolchain.formats.input_file import check_readable
    from toolchain.hardware.board_file import load_board
    from toolchain.tflite_file.support import read_supported

    chosen = load_board(board)
    check_readable(model, ModelError)
    parsed = read_supported(model)
    untrained = tell_untrained(parsed)
    batch = arrays.load_inputs(parsed, inputs)
    arrays.check_outputs(output_dir, parsed, inputs=[model, *inputs])
    leasing = Leasing("run", [model], queue, force, shared=True)
    with board_runner(chosen, host, identity, bundle, timeout, leasing) as (_, runner):
        settings = Settings(threads=threads or chosen.threads)
        outputs = batch.shaped(runner.run(parsed, settings, batch).outputs)
    paths = arrays.save_outputs(output_dir, outputs)
    rows = [
        {"file": str(path), "name": tensor.name, "shape": list(array.shape),
         "dtype": str(array.dtype)}
        for path, tensor, array in zip(paths, arrays.model_outputs(parsed), outputs, strict=True)
    ]  # fmt: skip
    if json_output:
        print_json({"inferences": batch.count, "outputs": rows, "untrained": untrained})
        return
    for row in rows:
        say(f"{row['file']}: {row['name']} {row['dtype']}{row['shape']}", fold=False)


@commands.example(
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
    from toolchain.board.verify import verify as verify_model
    from toolchain.failures import Failures
    from toolchain.hardware.board_file import load_board
    from toolchain.report.verify_table import verify_table

    chosen, failures = load_board(board), Failures()
    good = readable_models(models, failures)
    name, results = chosen.name, []
    leasing = Leasing("verify", good, queue, force, shared=True)
    with (
        failures.kept(),
        board_runner(chosen, host, identity, bundle, timeout, leasing) as (connection, runner),
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
            item.require(narrow_down(chosen, item, threads))
    if results or (json_output and failures.items):
        rows = [item.document() for item in results]
        show(
            {"board": name, "models": rows, "failed": failures.rows()},
            lambda width: verify_table(results, name, width),
            json_output=json_output,
        )
    if not json_output:
        for line in (line for item in results for line in item.notes()):
            note(line, style="yellow")
    failures.require()


def narrow_down(board: Board, done: Verification, threads: int | None = None) -> str:
    """What to run to learn what a board's difference comes from."""
    from toolchain.build.bundle import bundle_path
    from toolchain.hints import command

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


@commands.example(
    "deploy profile dense.tflite s20.tflite --output profile.json --plot profile.png",
    "deploy profile dense.tflite s20.tflite --per-op --save run",
    "deploy profile --board rpi4 --host pi@raspberrypi --per-op dense.tflite s20.tflite",
    "deploy profile --board rpi5 --host pi@raspberrypi --energy dense.tflite s20.tflite",
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
        typer.Option("--max-time", min=0.0, metavar="SECONDS", help="But no longer, each model."),
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
    from toolchain.board.invoke import Settings, load_bundle
    from toolchain.failures import Failures
    from toolchain.hardware.board_file import load_board
    from toolchain.profile.estimator import estimates_for
    from toolchain.profile.measure import Session
    from toolchain.profile.protocol import Limits
    from toolchain.report import operator_table, profile_plot, profile_table
    from toolchain.report.estimate_table import estimate_table
    from toolchain.storage.files import check_writable

    check_alone(output, json_output)
    kept = profile_files.Kept(save, history, no_history)
    power = power_source(meter, energy=energy)
    chosen, failures = load_board(board), Failures()
    good = readable_models(models, failures)
    if output:
        check_writable(output, inputs=models)
    if plot:
        profile_plot.check_plot_path(plot, others=[output] if output else [])
    kept.check(inputs=models, outputs=[path for path in (output, plot) if path])
    stock = load_bundle(chosen, stock_bundle, stock=True) if stock_bundle else None
    counts = thread_counts(threads) or [chosen.threads]
    settings = Settings.measuring(
        chosen, threads=counts[0], runs=runs, warmup=warmup, per_op=per_op
    )
    limits = Limits(
        precision=precision / 100, max_time_s=max_time, max_temp_c=max_temp, max_wait_s=max_wait
    )
    measured = None
    leasing = Leasing("profile", good, queue, force)
    with (
        failures.kept(),
        board_runner(chosen, host, identity, bundle, timeout, leasing) as (connection, runner),
    ):
        session = Session(
            connection, chosen, runner, bars.progress(), settings, stock, failures,
            threads=counts, limits=limits, settle=warmup is None, power=power,
        )  # fmt: skip
        session.measure(good, reference=models[0])
        measured = session.profile()
    if measured is None:
        failures.require()
        return
    if estimate and chosen.connection == "emulator" and failures.stopped is None:
        with failures.kept():
            found = estimates_for(runner.bundle, good, chosen, bars.progress())
            measured = measured.model_copy(update={"estimates": found})
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


@dataclass(frozen=True)
class Leasing:
    """How a command is to have the board."""

    command: str
    models: Sequence[Path]
    queue: float | None
    force: bool
    shared: bool = False

    def lease(self, connection: Connection, progress: Progress) -> Lease:
        """The lease that the command takes, once it is entered."""
        from toolchain.board.lease import WAIT_S, Lease

        first, *more = [model.name for model in self.models]
        purpose = f"{self.command} {first}" + (f" and {len(more)} more" if more else "")
        return Lease(
            connection,
            purpose,
            shared=self.shared,
            wait=WAIT_S if self.queue is None else self.queue,
            force=self.force,
            note=progress.note,
        )


@contextmanager
def board_runner(
    board: Board,
    host: str | None,
    identity: Path | None,
    bundle_dir: Path | None,
    timeout: float | None = None,
    leasing: Leasing | None = None,
    progress: Progress | None = None,
) -> Iterator[tuple[Connection, BoardRunner]]:
    """A board, and its runner there.

    Args:
        board: its file.
        host: what ``--host`` says.
        identity: what ``--identity`` says.
        bundle_dir: what ``--bundle`` says.
        timeout: seconds that one run of the runner may take.
        leasing: how the command is to have the board; without, it takes no lease.
        progress: where it is shown; bars on standard error unless given.

    Raises:
        BundleError: the bundle is not built.
        BoardError: the board is not reached, or the bundle is not for it.
    """
    from toolchain.board.connect import connect
    from toolchain.board.invoke import TIMEOUT_S, BoardRunner, load_bundle
    from toolchain.board.target import parse_host

    if host is not None:
        parse_host(host)
    progress = progress or bars.progress()
    bundle = load_bundle(board, bundle_dir)
    with ExitStack() as stack:
        connection = stack.enter_context(connect(board, host, identity=identity))
        lease = stack.enter_context(leasing.lease(connection, progress)) if leasing else None
        runner = BoardRunner(
            connection,
            board,
            bundle,
            progress,
            timeout=timeout or TIMEOUT_S,
            still=lease.require if lease else None,
        )
        yield connection, runner
