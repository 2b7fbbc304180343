"""``deploy convert`` and ``deploy inspect``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import RenderableType

from toolchain.cli import bars
from toolchain.cli.command_help import App, complete
from toolchain.cli.options import (
    JsonOption,
    MeanOption,
    StdOption,
    board_option,
    check_alone,
    network_names,
    normalization,
    wrong_use,
)
from toolchain.cli.output import confirm, print_json, show
from toolchain.console import out
from toolchain.convert.kinds import Boundary, Kind

commands = App()


@commands.example(
    "deploy convert toolchain/zoo/checkpoints/fashion_resnet_s20.safetensors -o s20.tflite",
    "deploy convert weights.pt --model my_nets:flowers --input-shape 1,3,224,224",
    "deploy convert model.onnx",
    "deploy convert weights.pth --model timm:mobilenetv3_small_050",
    "deploy convert --model resnet18_s20 --quantize int8 --calibration images",
    "deploy convert model.keras",
)
def convert(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="CHECKPOINT|PROGRAM.pt2|MODEL",
            help="Weights (safetensors or a PyTorch state_dict), an exported program, or a model: "
            ".onnx, .keras, or the folder of a TensorFlow SavedModel.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="A network of the zoo, such as resnet18_s20, timm:NAME, torchvision:NAME, or "
            "package.module:factory.",
            autocompletion=complete(network_names),
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="File to write; - for standard output.",
            show_default="NAME.tflite",
        ),
    ] = None,
    input_shape: Annotated[
        list[str] | None,
        typer.Option(
            help="As torch has it: 1,3,224,224 (N,C,H,W); or as TensorFlow has it: 1,224,224,3; "
            "once an input."
        ),
    ] = None,
    masks: Annotated[
        Path | None,
        typer.Option(
            metavar="bin_mask.h",
            help="Header of masks by the paper's training code, for a checkpoint without masks; "
            "where the checkpoint has its own, they are taken and the differences told.",
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="KEY",
            help="Which weights of a checkpoint that holds several: their key in it, or ema for "
            "averaged ones.",
        ),
    ] = None,
    mean: MeanOption = None,
    std: StdOption = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="Difference that the check bears, as a part of each output's and channel's scale.",
            show_default="1e-5",
        ),
    ] = None,
    quantize: Annotated[
        Kind | None,
        typer.Option(
            help="What to quantize. int8: weights and activations; fp16: weights; dynamic: "
            "int8 weights, float activations."
        ),
    ] = None,
    calibration: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="For int8: a folder of images, an .npz file, package.module:function, "
            "fashion-mnist; or random, which is for measuring time only.",
        ),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(min=1, help="Inferences to calibrate with, at most.", show_default="100"),
    ] = None,
    io: Annotated[
        Boundary, typer.Option(help="What inputs and outputs of an int8 file are.")
    ] = "float32",
    min_sqnr: Annotated[
        float | None,
        typer.Option(
            metavar="DB",
            help="Least signal-to-quantization-noise ratio of a quantized file.",
            show_default="10; fp16: 30",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Of the check's random inputs.", show_default="a fresh one"),
    ] = None,
    trust: Annotated[
        bool,
        typer.Option(
            "--trust",
            help="Load a .pt2 file or a SavedModel without a question: it can run what its maker "
            "wants.",
        ),
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose", help="Show every output on every runtime, and what was not tried."
        ),
    ] = False,
    json_output: JsonOption = False,
) -> None:
    """Convert a masked model to a standard .tflite file, and check it against the model.

    The file's images are **NHWC** (channels last), whatever they are in torch. The file is written
    only if its outputs on stock TFLite interpreters equal those of PyTorch, Keras or TensorFlow, or
    are near enough to them where it is quantized. Where `deploy build --board host` has built the
    runtime that ships into the current folder, they are compared on that, too.

    The file says how its images are normalized, where that is known: `deploy train` writes it into
    its checkpoints, and `--mean` and `--std` tell it of others. `deploy evaluate` goes by it.

    An exported program (.pt2) can run code when it is loaded, and a SavedModel read and write
    files, so they are asked for first. The module of `--model` is run. No other file is, whatever
    it holds.
    """
    from toolchain.operations import convert as converting
    from toolchain.report.layers import conversion_summary

    check_alone(output, json_output)
    shapes = [_shape(text) for text in input_shape or []]
    for option, given in (("--calibration", calibration), ("--samples", samples)):
        if given is not None and quantize != "int8":
            raise wrong_use(option, "is for --quantize int8")
    known = normalization(mean, std)
    if io != "float32" and quantize != "int8":
        raise wrong_use("--io", "is for --quantize int8")
    if min_sqnr is not None and quantize is None:
        raise wrong_use("--min-sqnr", "is for --quantize")
    if source is None and model is None:
        raise wrong_use(
            "CHECKPOINT",
            "give a checkpoint, an exported program (.pt2), an ONNX file, a model of TensorFlow, "
            "or --model",
        )
    options = converting.ConvertOptions(
        source=source,
        model=model,
        output=output,
        input_shapes=tuple(shapes),
        masks=masks,
        weights=weights,
        normalization=known,
        tolerance=tolerance,
        quantize=quantize,
        calibration=calibration,
        calibration_samples=samples,
        boundary=io,
        min_sqnr_db=min_sqnr,
        seed=seed,
    )
    converting.check(options)
    if source is not None and not trust and (said := converting.distrusted(source)):
        _ask_for_trust(source, said)
    done = converting.convert(options, bars.progress(quiet=json_output))
    show(
        done,
        lambda _width: conversion_summary(done, verbose=verbose),
        json_output=json_output,
        output=output,
        fold=False,
    )


def _ask_for_trust(program: str, said: str) -> None:
    """Ask whether a file that can run code, or a SavedModel, may do so.

    Raises:
        ModelError: it may not, or there is nobody to ask.
    """
    from toolchain.errors import ModelError
    from toolchain.hints import command

    if not confirm("Do you trust whoever made it?", said=said):
        again = command("convert", program, "--trust")
        raise ModelError(said, hint=f"if you trust whoever made it, run: {again}")


def _shape(text: str) -> tuple[int, ...]:
    try:
        shape = tuple(int(part) for part in text.replace("x", ",").split(","))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise wrong_use("--input-shape", f"'{text}' is no shape; write 1,3,224,224")
    return shape


@commands.example(
    "deploy inspect s20.tflite",
    "deploy inspect s20.tflite --board rpi4",
    "deploy inspect s20.tflite --mask layer1.0.conv1",
)
def inspect(
    file: Annotated[Path, typer.Argument(help="A .tflite file, of this project or any other.")],
    mask: Annotated[
        str | None,
        typer.Option(metavar="LAYER", help="Draw a layer's mask: its name, or index in --json."),
    ] = None,
    board: Annotated[
        str | None,
        board_option("Show the plan of this board, or count in its tiles: its name or file."),
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Show the layers of a .tflite file: shapes, MACs, masks, and what the runtime will skip.

    With `--board`: how that board's core computes each layer, as the board's own runtime says,
    which is asked here and runs nothing. Where `deploy build` has not built it into the current
    folder: how many tiles of the core the kept pixels fill, and what of them is computed for
    nothing.
    """
    from toolchain.errors import ModelError
    from toolchain.formats.input_file import check_readable
    from toolchain.hardware.board_file import load_board
    from toolchain.operations.inspect import inspect as inspect_file
    from toolchain.report.layers import inspection_table, mask_picture
    from toolchain.report.plan_table import plan_table
    from toolchain.report.tiling_table import tiling_table
    from toolchain.tflite_file import inspection

    target = load_board(board) if board is not None else None
    check_readable(file, ModelError)
    if mask is not None:
        plane = inspection.layer_mask(file, mask)
        if json_output:
            print_json(plane.astype(int).tolist())
            return
        print(mask_picture(plane, width=out.width, unicode=out.encoding.startswith("utf")))
        return
    report = inspect_file(file, target)

    def table(width: int) -> RenderableType:
        if report.plan is not None:
            return plan_table(report, report.plan, width)
        if report.tiling is not None:
            return tiling_table(report, report.tiling, width)
        return inspection_table(report, width)

    show(report, table, json_output=json_output)
