"""``deploy estimate``: times on a board that is not there."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated

import typer

from toolchain.cli import bars, fleet
from toolchain.cli.command_help import App
from toolchain.cli.options import (
    BundleOption,
    JsonOption,
    ModelsArgument,
    ThreadsOption,
    boards_option,
    check_alone,
    readable_models,
    wrong_use,
)
from toolchain.cli.output import show

commands = App()


@commands.example(
    "deploy estimate --board rpi4 dense.tflite s20.tflite",
    "deploy estimate --board rpi4 --threads 1 --per-op s20.tflite",
    "deploy estimate --board rpi3,rpi4,rpi5 dense.tflite s20.tflite",
)
def estimate(
    models: ModelsArgument,
    board: Annotated[list[str] | None, boards_option("rpi4")] = None,
    bundle: BundleOption = None,
    threads: ThreadsOption = None,
    clock: Annotated[
        int | None,
        typer.Option(
            "--clock",
            min=100,
            max=10000,
            metavar="MHZ",
            help="Of the core.",
            show_default="as the board's file says",
        ),
    ] = None,
    per_op: Annotated[
        bool, typer.Option("--per-op", help="Every operator, with what bounds it.")
    ] = False,
    calibrate: Annotated[
        Path | None,
        typer.Option(
            "--calibrate",
            metavar="PROFILE",
            help="Fit to what deploy profile measured of these models on such a board.",
        ),
    ] = None,
    calibrated: Annotated[
        Path | None,
        typer.Option(
            "--calibrated",
            metavar="ESTIMATE",
            help="Take the fit of an estimate that was written with --calibrate.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write the estimate as JSON; - for standard output."),
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Estimate times on a board that is not here; the first model is compared with the others.

    The board's own program runs under QEMU's user mode. Its instructions, its caches and its core
    are simulated, so this takes some hundred times as long as the board would.
    """
    from toolchain.failures import Failures
    from toolchain.formats.json_text import to_json
    from toolchain.hardware.board_file import known_clock
    from toolchain.operations.estimate import EstimateOptions
    from toolchain.operations.estimate import estimate as estimate_models
    from toolchain.profile.document import load_profile
    from toolchain.profile.estimate_document import load_estimate
    from toolchain.profile.estimator import timed_core
    from toolchain.report import estimate_table
    from toolchain.storage.files import check_writable, write_or_keep

    check_alone(output, json_output)
    if calibrate and calibrated:
        raise wrong_use("--calibrated", "has a fit already: leave --calibrate away")
    alone = {"--calibrate": calibrate, "--calibrated": calibrated}
    chosen, failures = fleet.chosen(board, default="rpi4", of_one=alone), Failures()
    if not isinstance(chosen, dict):
        timed_core(chosen)
        known_clock(chosen)
    good = readable_models(models, failures)
    if output:
        check_writable(output, inputs=models)
    if isinstance(chosen, dict):
        options = EstimateOptions(good, bundle, threads, clock)
        fleet.estimate(chosen, options, failures, output, per_op=per_op, json_output=json_output)
        return
    profile = load_profile(calibrate) if calibrate else None
    fitted = load_estimate(calibrated) if calibrated else None
    if fitted and fitted.core != chosen.cpu:
        raise wrong_use("--calibrated", f"is of a {fitted.core}; {chosen.name} has a {chosen.cpu}")
    timing_model = fitted.timing_model if fitted else None
    options = EstimateOptions(good, bundle, threads, clock, profile, timing_model)
    document = estimate_models(chosen, options, bars.progress(), failures)
    if document is None:
        failures.require()
        return
    if output:
        with failures.of_output(output):
            write_or_keep(output, to_json(document).encode() + b"\n")
    tables = [estimate_table.estimate_table]
    tables += [estimate_table.calibration_table] if document.calibration else []
    tables += [estimate_table.estimated_operators] if per_op else []
    show(
        document,
        *(functools.partial(table, document) for table in tables),
        json_output=json_output,
        output=output,
    )
    failures.require()
