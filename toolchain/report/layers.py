"""The tables of ``deploy inspect`` and ``deploy convert``, and the picture of a mask."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Group, RenderableType
from rich.text import Text

from toolchain.report.fitting import NAME, Column, fitted_table
from toolchain.tflite_file.inspection import Inspection, TensorReport
from toolchain.tflite_file.layers import Layer, Plane, fill_range
from toolchain.tflite_file.untrained import MARK

if TYPE_CHECKING:  # torch is slow to import, and deploy inspect needs none of it
    from toolchain.convert.result import Conversion, RuntimeResult, TensorInfo, WeakSlices

_RANKS = {
    "layer": NAME,
    "op": 1,
    "input": 8,
    "output": 4,
    "MACs": 3,
    "sparsity": 2,
    "kept": 6,
    "fill": 7,
    "saved": 3,
    "": 2,
}
"""The columns, and which of them give way first where there is little room: the highest."""
_TEXT = ("layer", "op", "input", "output")
_MASK_COLUMNS = ("sparsity", "kept", "fill", "saved", "")
_SHORT = {"CONV_2D": "CONV", "DEPTHWISE_CONV_2D": "DWCONV", "FULLY_CONNECTED": "FC"}
_QUADRANTS = " ▘▝▀▖▌▞▛▗▚▐▜▄▙▟█"  # bit 0 upper left, 1 upper right, 2 lower left, 3 lower right


def inspection_table(report: Inspection, width: int = 200) -> RenderableType:
    """A line a layer, the sums, and why a mask is not skipped.

    Args:
        report: of the file.
        width: columns that there are; what does not fit into few of them is left out.
    """
    masked = report.masked_layers > 0
    reasons: dict[str, int] = {}
    rows = [_cells(layer, reasons) for layer in report.layers]
    footers = {"layer": "total", "MACs": count(report.macs), "saved": count(report.macs_saved)}
    ranks = {name: rank for name, rank in _RANKS.items() if masked or name not in _MASK_COLUMNS}
    table = layer_table(report, rows, ranks, footers, width, text=_TEXT)
    lines: list[RenderableType] = [heading(report), Text(), table, Text()]
    lines += [Text(f"[{number}] not skipped: {reason}") for reason, number in reasons.items()]
    lines.append(summary(report))
    lines += unsupported_lines(report)
    return Group(*lines)


def layer_table(
    report: Inspection,
    rows: Sequence[Mapping[str, str]],
    ranks: Mapping[str, int],
    footers: Mapping[str, str],
    width: int,
    *,
    text: Collection[str],
) -> RenderableType:
    """A line a layer, dim where the layer has no mask and others have one.

    Args:
        report: of the file.
        rows: a row a layer of the report: the cells by column.
        ranks: the columns, and which of them give way first where there is little room.
        footers: the cells below, by column.
        width: columns of the terminal that there are.
        text: the columns that hold words; the others are set to the right.
    """
    columns = [
        Column(
            name,
            [row[name] for row in rows],
            rank,
            footers.get(name, ""),
            right=name not in text,
        )
        for name, rank in ranks.items()
    ]
    masked = report.masked_layers > 0
    dim = ["dim" if masked and layer.mask is None else None for layer in report.layers]
    return fitted_table(columns, width, boxed=False, row_styles=dim)


def ratio_text(value: float | None) -> str:
    """A speed-up; ``None`` where nothing is left to compute."""
    return "without bound" if value is None else f"{value:.3f}"


def unsupported_lines(report: Inspection) -> list[Text]:
    """What the runtime does not run, a line each; none for a file that runs."""
    lines = [Text(f"  {found.text}", style="red") for found in report.unsupported]
    return [Text("The runtime cannot run this file:", style="red"), *lines] if lines else []


def conversion_summary(done: Conversion, *, verbose: bool = False) -> RenderableType:
    """What was written, how masked layers fared, and how well the file agrees with torch.

    Args:
        done: the conversion.
        verbose: every output on every runtime, and the runtimes that were not to be had.
    """
    skipped = sum(layer.skipped for layer in done.layers)
    lines: list[Text] = [
        Text(f"{done.path}  {_bytes(done.bytes)}, from {done.source}"),
        *(
            Text(
                f"  {what} {tensor.name}: {_tensor(tensor)}"
                + (" (N,H,W,C: channels last)" if len(tensor.shape) == 4 else "")
            )
            for what, tensors in (("input", done.inputs), ("output", done.outputs))
            for tensor in tensors
        ),
    ]
    if known := done.normalization:
        mean, std = (",".join(f"{value:.4g}" for value in part) for part in (known.mean, known.std))
        lines.append(Text(f"  images: (pixel / 255 - mean) / std, mean {mean}, std {std}"))
    lines += [Text(f"  weights: {note}") for note in done.weights]
    lines += [Text(f"  {note}", style="yellow") for note in done.notes]
    if done.mask_header:
        first, *others = done.mask_header.lines()
        style = "yellow" if others else ""
        lines.append(Text(f"  masks: {first}", style=style))
        lines += [Text(f"    {line}", style=style) for line in others]
    if done.layers:
        kept = "unchanged" if done.quantize != "int8" else "at one scale"
        pairs = f"CONV -> SELECT_V2, mask and fill {kept}"
        lines.append(Text(f"  masked layers: {skipped} of {len(done.layers)} are {pairs}"))
        alike: dict[str, list[str]] = {}
        for layer in done.layers:
            if layer.form != "select":
                alike.setdefault(f"{_FORMS[layer.form]}: {layer.detail}", []).append(layer.name)
        lines += [
            Text(f"    {', '.join(names)}: {what}", style="yellow") for what, names in alike.items()
        ]
    else:
        lines.append(Text("  masked layers: none"))
    lines.append(
        Text(
            f"  MACs: {count(done.macs)}, {count(done.macs_saved)} saved, "
            f"speed-up by pixels {done.ideal_speedup:.3f}"
        )
    )
    lines += _quantised(done) if done.quantize else [_float(done)]
    if verbose:
        lines += [Text(f"    {line}") for item in done.runtimes for line in _each(item)]
        lines += [Text(f"  not run on {reason}", style="yellow") for reason in done.not_run]
    return Group(*lines)


def _float(done: Conversion) -> Text:
    return Text(
        f"  largest difference to {done.framework}: {done.relative_diff:.2g} of the scale of "
        f"{done.worst_slice} of {done.worst_output} "
        f"(tolerance {done.tolerance:g}; {done.samples} random inputs, seed {done.seed}; "
        f"{_runtimes(done)})",
        style="green",
    )


def _each(result: RuntimeResult) -> list[str]:
    """A line an output."""
    where = f"{result.runtime}, {result.kernels} kernels"
    return [
        f"{where}, {item.name}: {item.max_abs_diff:.2g}, {item.relative_diff:.2g} of its scale, "
        f"SQNR {_decibels(item.sqnr_db)}"
        for item in result.outputs
    ]


def _quantised(done: Conversion) -> list[Text]:
    lines: list[Text] = []
    inputs = f"{done.samples} random inputs, seed {done.seed}"
    if done.calibration is not None:
        source = done.calibration.source
        inputs = f"{done.calibration.checked} inferences of '{source}'"
        lines.append(
            Text(f"  calibrated on {done.calibration.inferences} inferences of '{source}'")
        )
    if done.float_operators:
        left = ", ".join(f"{number} {op}" for op, number in done.float_operators.items())
        lines.append(Text(f"  left in float32, without an int8 form: {left}", style="yellow"))
    steps = "" if done.max_steps is None else f", up to {done.max_steps:.3g} steps of the output"
    lines.append(
        Text(
            f"  {done.quantize} to {done.framework}: SQNR {_decibels(done.sqnr_db)}{steps} "
            f"(least {done.min_sqnr_db:g} dB; {inputs}; {_runtimes(done)})",
            style="green",
        )
    )
    lines += _weak(done)
    if done.between is not None:
        lines.append(
            Text(f"  runtimes to each other: {_decibels(done.between.sqnr_db)} or more",
                 style="green")
        )  # fmt: skip
    return lines


def _weak(done: Conversion) -> list[Text]:
    """The parts of outputs that the quantisation loses; a line an output."""
    found: dict[str, WeakSlices] = {}
    for item in (output for runtime in done.runtimes for output in runtime.outputs):
        if item.weak is not None:
            worse = found.get(item.name)
            if worse is None or item.weak.sqnr_db < worse.sqnr_db:
                found[item.name] = item.weak
    return [
        Text(
            f"  {name}: noise is as strong as {weak.slices} ({weak.sqnr_db:.1f} dB): let the model "
            "give small values and large ones as outputs of their own",
            style="yellow",
        )
        for name, weak in found.items()
    ]


def _runtimes(done: Conversion) -> str:
    kernels: dict[str, list[str]] = {}
    for item in done.runtimes:
        kernels.setdefault(item.runtime, []).append(item.kernels)
    names = [f"{name} ({' and '.join(used)} kernels)" for name, used in kernels.items()]
    return ", ".join(names)


def _decibels(value: float) -> str:
    return "equal" if value == math.inf else f"{value:.1f} dB"


_FORMS = {"dense": "no mask needed", "constant": "a constant", "changed": "not skipped"}


def mask_picture(mask: Plane, *, width: int, unicode: bool = True) -> str:
    """A mask as text: a kept pixel is a block, a skipped one is empty.

    Args:
        mask: ``[H, W]``, True = kept.
        width: columns that there are.
        unicode: blocks of two or four pixels a character; otherwise one ``#`` or ``.`` a pixel.

    Returns:
        Lines. A mask too wide even for two pixels a column is cut at the right, and says so.
    """
    if not unicode:
        rows = ["".join("#" if kept else "." for kept in row) for row in mask]
    elif 2 * mask.shape[1] <= width:  # a character is about twice as high as it is wide
        rows = ["".join("██" if kept else "  " for kept in row) for row in mask]
    elif mask.shape[1] <= width:
        rows = _blocks(mask, 1)
    else:
        rows = _blocks(mask, 2)
    cut = any(len(row) > width for row in rows)
    lines = [row[:width].rstrip() for row in rows]
    return "\n".join(lines + [f"(cut at {width} columns)"] * cut)


def _blocks(mask: Plane, across: int) -> list[str]:
    """Two rows a line and ``across`` pixels a character."""
    height, width = mask.shape
    padded = np.pad(mask, ((0, height % 2), (0, width % across))).astype(np.uint8)
    if across == 1:
        padded = np.repeat(padded, 2, axis=1)
    top, bottom = padded[0::2], padded[1::2]
    bits = top[:, 0::2] + 2 * top[:, 1::2] + 4 * bottom[:, 0::2] + 8 * bottom[:, 1::2]
    return ["".join(_QUADRANTS[value] for value in row) for row in bits]


def count(number: float) -> str:
    """A count in three to four digits: ``115.6 M``."""
    for factor, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= factor:
            return f"{number / factor:.1f} {unit}"
    return f"{number:.0f}"


def heading(report: Inspection) -> Text:
    """The file, its operators, inputs and outputs."""
    kinds = ", ".join(f"{number} {op}" for op, number in report.operators.items())
    more = f"; {report.subgraphs} subgraphs, the first is shown" if report.subgraphs > 1 else ""
    lines = [f"{report.path}  {_bytes(report.bytes)}{more}", f"  operators: {kinds or 'none'}"]
    if report.untrained:
        lines.append(f"  masks: for measuring: {MARK}")
    for what, tensors in (("input", report.inputs), ("output", report.outputs)):
        lines += [f"  {what} {tensor.name}: {_tensor(tensor)}" for tensor in tensors]
    return Text("\n".join(lines))


def summary(report: Inspection) -> Text:
    """How many layers and multiply-accumulates there are, and what masks save."""
    if not report.masked_layers:
        return Text(f"{len(report.layers)} layers, {count(report.macs)} MACs, no mask")
    share = report.macs_saved / report.macs if report.macs else 0.0
    by_pixels = report.speedup_by_pixels
    speedup = ratio_text(by_pixels)
    return Text(
        f"{len(report.layers)} layers, {report.masked_layers} masked, {report.skipped_layers} of "
        f"them skipped by the patched runtime: {count(report.macs)} MACs, "
        f"{count(report.macs_saved)} ({share:.1%}) saved, speed-up by pixels {speedup}"
    )


def _tensor(tensor: TensorInfo | TensorReport) -> str:
    text = f"{tensor.dtype} {list(tensor.shape)}"
    if tensor.scale is None:
        return text
    return f"{text}, scale {tensor.scale:.5g}, zero point {tensor.zero_point}"


def operator_text(layer: Layer) -> str:
    """``CONV 3x3/2 RELU``."""
    parts = [_SHORT.get(layer.op, layer.op)]
    if layer.kernel and layer.stride:
        parts.append(
            _pair(layer.kernel) + ("" if layer.stride == (1, 1) else "/" + _step(layer.stride))
        )
    if layer.dilation and layer.dilation != (1, 1):
        parts.append(f"dilated {_step(layer.dilation)}")
    if layer.activation != "NONE":
        parts.append(layer.activation)
    if layer.dtype != "float32":
        parts.append(layer.dtype)
    return " ".join(parts)


def _cells(layer: Layer, reasons: dict[str, int]) -> dict[str, str]:
    cells = dict.fromkeys(_RANKS, "")
    cells["layer"], cells["op"], cells["MACs"] = layer.name, operator_text(layer), count(layer.macs)
    cells["input"], cells["output"] = size_text(layer.input_shape), size_text(layer.output_shape)
    if layer.mask is not None:
        cells["sparsity"] = f"{layer.sparsity:.1%}"
        cells["kept"] = f"{layer.kept}/{layer.pixels}"
        cells["fill"] = _fill(layer)
        cells["saved"] = count(layer.macs_saved)
        if layer.mask.reason is not None:
            cells[""] = f"[{reasons.setdefault(layer.mask.reason, len(reasons) + 1)}]"
    return cells


def _fill(layer: Layer) -> str:
    fill = fill_range(layer.mask.fill) if layer.mask else None
    if fill is None:
        return ""
    if fill.minimum == fill.maximum:
        return "zero" if fill.minimum == 0 else f"{fill.minimum:.3g}"
    return f"{fill.minimum:.3g}..{fill.maximum:.3g}"


def size_text(shape: Sequence[int]) -> str:
    """``[1, H, W, C]`` as ``HxWxC``; a batch that is not 1 stays."""
    sizes = shape[1:] if len(shape) > 1 and shape[0] == 1 else shape
    return "x".join(str(size) for size in sizes)


def _pair(pair: tuple[int, int]) -> str:
    return f"{pair[0]}x{pair[1]}"


def _step(pair: tuple[int, int]) -> str:
    return str(pair[0]) if pair[0] == pair[1] else _pair(pair)


def _bytes(size: int) -> str:
    return f"{size / 1e6:.2f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"
