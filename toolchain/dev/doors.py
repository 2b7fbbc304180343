"""``python -m toolchain.dev.doors``: networks as people have them through ``deploy convert``.

Each is converted in a process of its own, which compares the file with torch on this machine. A
third is verified on a board, too. What is refused is kept with the reason, and what to do.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, field_validator

from toolchain import console
from toolchain.children import run
from toolchain.dev.reference.tables import table
from toolchain.dev.results_page import write_results
from toolchain.errors import DeployError, ModelError
from toolchain.storage.scratch import temporary_folder
from toolchain.tflite_file.graph import read_model
from toolchain.zoo import libraries

NAME = "models-tried"
_OPSET = 17
_LIMIT_S = 1800.0
"""Seconds that one conversion may take."""
_TORCHVISION = (
    *("resnet18", "mobilenet_v2", "mobilenet_v3_small", "shufflenet_v2_x0_5", "squeezenet1_1"),
    *("mnasnet0_5", "efficientnet_b0", "regnet_y_400mf", "swin_t"),
    "fasterrcnn_mobilenet_v3_large_320_fpn",
)
_TIMM = (
    *("resnet10t", "mobilenetv3_small_050", "lcnet_050", "efficientnet_lite0", "ghostnet_100"),
    *("repvgg_a0", "tf_efficientnet_b0", "hardcorenas_a", "tinynet_e", "convnext_atto"),
    "mobilevit_xxs",
)
_ONNX = (
    *("torchvision:resnet18", "torchvision:mobilenet_v3_small", "torchvision:shufflenet_v2_x0_5"),
    *("torchvision:squeezenet1_1", "torchvision:mnasnet0_5", "timm:resnet10t", "timm:lcnet_050"),
    *("timm:tf_efficientnet_b0", "timm:ghostnet_100"),
)
_KERAS = (
    *("MobileNet", "MobileNetV2", "MobileNetV3Small", "EfficientNetB0", "NASNetMobile"),
    *("DenseNet121", "ResNet50V2"),
)
MODELS = {"torchvision": _TORCHVISION, "timm": _TIMM, "onnx": _ONNX, "keras": _KERAS}
"""By their door."""
ON_BOARD = {
    *(("torchvision", name) for name in ("mobilenet_v3_small", "shufflenet_v2_x0_5", "mnasnet0_5")),
    *(("timm", name) for name in ("mobilenetv3_small_050", "lcnet_050", "ghostnet_100")),
    *(("timm", name) for name in ("tinynet_e", "resnet10t")),
    *(("onnx", f"torchvision:{name}") for name in ("mobilenet_v3_small", "shufflenet_v2_x0_5")),
    ("onnx", "timm:lcnet_050"),
    *(("keras", name) for name in ("MobileNet", "MobileNetV3Small")),
}
"""A third, which is verified on a board, too: small ones, since it may be an emulated one."""


class Tried(BaseModel):
    """What came of one model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    door: str
    model: str
    parameters: int | None = None
    operators: int | None = None
    """Of the file."""
    relative_diff: float | None = None
    """To torch, of the worst channel beside its scale, on the worst runtime of this machine; see
    :class:`toolchain.convert.result.Conversion`."""
    board: str | None = None
    board_diff: float | None = None
    """The same of the board, to the stock interpreter of this machine."""
    refused: str | None = None
    """Why there is no file, or why the board's outputs are no good."""
    hint: str | None = None

    @field_validator("board")
    @classmethod
    def _without_address(cls, name: str | None) -> str | None:
        return name and name.partition(" ")[0]


class ModelsTried(BaseModel):
    """The document."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    created: datetime
    tried: list[Tried]


def convert_words(door: str, model: str, folder: Path) -> list[str]:
    """What ``deploy convert`` is given for a model.

    Args:
        door: a key of :data:`MODELS`.
        model: one of its names.
        folder: for a file that has to be made first.

    Raises:
        ModelError: it cannot be made.
    """
    if door == "onnx":
        path = folder / f"{model.partition(':')[2]}.onnx"
        export(model, path)
        return [str(path)]
    if door == "keras":
        path = folder / f"{model}.keras"
        keras_application(model).save(path)
        return [str(path)]
    return ["--model", f"{door}:{model}"]


def keras_application(model: str) -> Any:
    """A network of ``keras.applications``, its weights random, and none that is constant.

    See :func:`toolchain.zoo.libraries.liven`, which says why.

    Raises:
        ModelError: TensorFlow is not installed, or there is no such network.
    """
    from toolchain import extras
    from toolchain.convert.from_tensorflow.framework import framework

    extras.require("a model of keras.applications", "tensorflow")
    keras = framework().keras
    keras.utils.set_random_seed(0)
    make = getattr(keras.applications, model, None)
    if make is None:
        raise ModelError(f"keras.applications has no network called '{model}'")
    made = make(weights=None, input_shape=(224, 224, 3))
    generator = np.random.default_rng(0)
    for variable in made.weights:
        values = np.asarray(variable)
        if values.dtype.kind == "f" and values.size > 1 and (values == values.flat[0]).all():
            is_scale = values.flat[0] != 0  # of BatchNorm: gamma, and the variance
            drawn = generator.uniform(*((0.5, 1.5) if is_scale else (-0.1, 0.1)), values.shape)
            variable.assign(drawn.astype(values.dtype))
    return made


def export(model: str, path: Path) -> None:
    """Write an ONNX file of a library's network by torch's own exporter, weights random.

    Raises:
        ModelError: it cannot be made or exported.
    """
    import warnings

    import torch

    named = libraries.check(model)
    module, shape = libraries.make(named).eval(), libraries.input_shape(named)
    if shape is None:
        raise ModelError(f"{model}: its input is not known")
    libraries.liven(module, torch.zeros(shape))
    warnings.simplefilter("ignore")
    # The newer exporter needs more packages, and gives the same operators.
    torch.onnx.export(module, (torch.zeros(shape),), path, dynamo=False, opset_version=_OPSET)


def parameters(door: str, model: str) -> int:
    """How many numbers a network has learnt."""
    if door == "keras":
        return int(sum(np.prod(one.shape) for one in keras_application(model).trainable_weights))
    made = libraries.make(libraries.check(model if ":" in model else f"{door}:{model}"))
    return sum(item.numel() for item in made.parameters())


def attempt(door: str, model: str, folder: Path, board: Sequence[str]) -> Tried:
    """Convert one model, and verify it on a board.

    Args:
        door: a key of :data:`MODELS`.
        model: one of its names.
        folder: for files.
        board: options of ``deploy verify`` that say on which; empty for none.
    """
    tried = Tried(door=door, model=model)
    path = folder / f"{re.sub(r'[^A-Za-z0-9_.]', '_', model)}.tflite"
    try:
        tried = tried.model_copy(update={"parameters": parameters(door, model)})
        words = convert_words(door, model, folder)
        done = _deploy(["convert", *words, "--output", str(path), "--seed", "0"])
        tried = tried.model_copy(
            update={
                "relative_diff": done["relative_diff"],
                "operators": len(read_model(path).graph.operators),
            }
        )
        if board:
            seen = _deploy(["verify", str(path), "--inputs", "1", *board])
            diff = seen["models"][0]["relative"]
            known = tried.model_dump(exclude={"board", "board_diff"})
            tried = Tried(**known, board=seen["board"], board_diff=diff)
    except DeployError as error:
        # Paths of this machine are nobody's business.
        what, hint = (
            str(text or "").replace(f"{folder}/", "") for text in (error.what, error.hint)
        )
        tried = tried.model_copy(update={"refused": what, "hint": hint or None})
    return tried


_ERROR = re.compile(r"^error: (.*?)(?:\n  hint: (.*))?\Z", re.MULTILINE | re.DOTALL)


def _deploy(words: Sequence[str]) -> dict[str, Any]:
    """Run a command with ``--json``; its error is raised as one."""
    done = run([sys.executable, "deploy.py", *words, "--json"], limit=_LIMIT_S, fault=ModelError)
    if done.returncode:
        found = _ERROR.search(done.stderr.strip())
        what, hint = found.groups() if found else (f"exit code {done.returncode}", None)
        raise ModelError(" ".join(what.split()), hint=" ".join(hint.split()) if hint else None)
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def measure(
    chosen: Sequence[tuple[str, str]], board: Sequence[str], keep: Callable[[Tried], None]
) -> None:
    """Try models, one after the other.

    Args:
        chosen: doors and names.
        board: options of ``deploy verify``; empty for no board.
        keep: is given each result as it comes.
    """
    for number, (door, model) in enumerate(chosen, 1):
        print(f"{number} of {len(chosen)}: {door} {model}", flush=True)
        with temporary_folder() as folder:
            keep(attempt(door, model, folder, board if (door, model) in ON_BOARD else ()))


# --- the page --------------------------------------------------------------------------------


def page(results: ModelsTried) -> str:
    """The page, in Markdown."""
    good = [one for one in results.tried if one.refused is None]
    boards = [one for one in good if one.board is not None]
    rows = [
        (
            one.model,
            one.door,
            f"{one.parameters / 1e6:.2f} M" if one.parameters is not None else "",
            str(one.operators or ""),
            _figure(one.relative_diff),
            _figure(one.board_diff),
        )
        for one in results.tried
        if one.relative_diff is not None
    ]
    lines = [
        "# Models that were tried",
        "",
        f"{len(results.tried)} models as people have them: {len(good)} are converted and verified "
        f"on the host, {len(boards)} of these on a board too. Written by `python -m "
        f"toolchain.dev.doors` on {results.created:%Y-%m-%d}.",
        "",
        "Weights are random, and every layer counts. `torch.onnx.export` writes the ONNX files; "
        "those of the door keras are of `keras.applications`. "
        "[Ways into `deploy convert`](../how-to/convert.md#ways-in) says what each door needs.",
        "",
        "## Converted",
        "",
        table(
            ("model", "door", "parameters", "operators", "host: largest difference", "board"), rows
        ),
        "",
        "A difference is that of the worst channel, beside the channel's scale ([what it is "
        "divided by](conversion.md#what-a-difference-is-divided-by)). On the host it is "
        "to torch (TensorFlow, of Keras models), of the worst runtime; the tolerance is 1e-5. On "
        f"the board, {_names(boards)}, it is to the stock interpreter.",
    ]
    bad = [one for one in results.tried if one.refused is not None]
    if bad:
        lines += ["", "## Refused", ""]
        lines += [
            table(
                ("model", "door", "reason", "what to do"),
                [(one.model, one.door, one.refused or "", one.hint or "") for one in bad],
            )
        ]
    return "\n".join([*lines, ""])


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.1e}"


def _names(boards: Sequence[Tried]) -> str:
    return " and ".join(sorted({f"`{one.board}`" for one in boards})) or "of which there was none"


def _merged(path: Path, tried: Sequence[Tried]) -> ModelsTried:
    """Earlier results, with new ones in their places; in the order of :data:`MODELS`."""
    known: list[Tried] = []
    if path.exists():
        known = ModelsTried.model_validate_json(path.read_bytes()).tried
    by_name = {(one.door, one.model): one for one in [*known, *tried]}
    order = [(door, model) for door, models in MODELS.items() for model in models]
    return ModelsTried(
        created=datetime.now(UTC), tried=[by_name[key] for key in order if key in by_name]
    )


@console.telling
def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and run; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m toolchain.dev.doors",
        description=(__doc__ or "").partition("\n")[0],
        epilog="example: python -m toolchain.dev.doors --door timm --board qemu",
    )
    parser.add_argument(
        "--door", choices=MODELS, action="append", help="try these alone, and keep the others"
    )
    parser.add_argument("--only", action="append", metavar="MODEL", help="likewise")
    parser.add_argument("--missing", action="store_true", help="try what was not tried yet")
    parser.add_argument("--board", help="verify a third there, too")
    parser.add_argument("--bundle", help="of the board [build/BOARD]")
    parser.add_argument("--out", type=Path, default=Path("docs/reference"), help="[docs/reference]")
    options = parser.parse_args(arguments)
    board = ["--board", options.board] if options.board else []
    board += ["--bundle", options.bundle] if options.bundle and board else []
    document = options.out / f"{NAME}.json"
    done = {(one.door, one.model) for one in _merged(document, []).tried}
    chosen = [
        (door, model)
        for door, models in MODELS.items()
        for model in models
        if (not options.door or door in options.door)
        and (not options.only or model in options.only)
        and not (options.missing and (door, model) in done)
    ]

    def keep(*tried: Tried) -> None:
        results = _merged(document, tried)
        write_results(NAME, page(results), results, options.out)
        for one in tried:
            print(f"  {one.refused or _figure(one.relative_diff)}", flush=True)

    measure(chosen, board, keep)
    keep()
    return 0


if __name__ == "__main__":
    console.run(lambda: sys.exit(main()))
