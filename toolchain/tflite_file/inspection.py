"""What ``deploy inspect`` says of a file, as data."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from toolchain.errors import ModelError
from toolchain.hardware.tile import CoreTiles
from toolchain.hints import did_you_mean
from toolchain.tflite_file.graph import Graph, Tensor, read_model
from toolchain.tflite_file.layers import Layer, Plane, find_layers, totals
from toolchain.tflite_file.plan import CorePlan
from toolchain.tflite_file.support import Unsupported, find_unsupported
from toolchain.tflite_file.tiling import Tiling, tile_layers
from toolchain.tflite_file.untrained import is_untrained


class _Report(BaseModel):
    model_config = ConfigDict(frozen=True)


class TensorReport(_Report):
    """An input or output of the model."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    scale: float | None = None
    """Of a quantised one: ``real = scale * (stored - zero_point)``."""
    zero_point: int | None = None


class Inspection(_Report):
    """A whole file."""

    path: Path
    bytes: int
    description: str
    subgraphs: int
    inputs: list[TensorReport]
    outputs: list[TensorReport]
    operators: dict[str, int]
    """How many there are of each kind, the most frequent first."""
    layers: list[Layer]
    """Operators with multiply-accumulates, in the graph's order."""
    masked_layers: int
    skipped_layers: int
    macs: int
    macs_saved: int
    speedup_by_pixels: float | None
    """Dense over the multiply-accumulates that masks leave; ``None`` if none remain."""
    ideal_speedup: float | None
    """What the plan's multiply-accumulates allow; by pixels where there is no plan."""
    tiling: Tiling | None = None
    """What it comes to in the tiles of a board, where one is given."""
    plan: CorePlan | None = None
    """How the core of that board computes it, where its runtime is built."""
    no_plan: str | None = None
    """Why there is none, where a board is given."""
    unsupported: list[Unsupported] = []
    """What the runtime does not run; ``run``, ``verify`` and ``profile`` refuse such a file."""
    untrained: bool = False
    """Whether the file says that its masks are for measuring: no training knew of them."""


def inspect_model(path: str | os.PathLike[str], core: CoreTiles | None = None) -> Inspection:
    """Describe a ``.tflite`` file.

    Args:
        path: the file.
        core: of a board, to count in its tiles.

    Raises:
        ModelError: the file cannot be read, is not a TFLite model, is truncated or damaged.
    """
    model = read_model(path)
    graph, layers = model.graph, find_layers(model)
    total = totals(layers)
    by_pixels = total.ideal_speedup if total.macs > total.macs_saved else None
    return Inspection(
        path=Path(path),
        bytes=model.size,
        description=model.description,
        subgraphs=model.subgraphs,
        inputs=_tensors(graph, graph.inputs),
        outputs=_tensors(graph, graph.outputs),
        operators=dict(Counter(op.op for op in graph.operators).most_common()),
        layers=layers,
        masked_layers=total.masked,
        skipped_layers=total.skipped,
        macs=total.macs,
        macs_saved=total.macs_saved,
        speedup_by_pixels=by_pixels,
        ideal_speedup=by_pixels,
        tiling=tile_layers(layers, core) if core else None,
        unsupported=find_unsupported(model),
        untrained=is_untrained(model),
    )


def with_plan(report: Inspection, plan: CorePlan) -> Inspection:
    """The same, with how a core computes it; the ideal is then what that allows."""
    return report.model_copy(update={"plan": plan, "ideal_speedup": plan.speedup})


def layer_mask(path: str | os.PathLike[str], name: str) -> Plane:
    """The mask of one layer of a file: bool ``[H, W]``, True = kept.

    Raises:
        ModelError: as :func:`inspect_model`; or there is no such layer, or it has no mask.
    """
    layers = find_layers(model := read_model(path))
    chosen = next((layer for layer in layers if name in (layer.name, str(layer.index))), None)
    masked = [layer.name for layer in layers if layer.mask]
    if chosen is None or chosen.mask is None:
        fault = "has no mask" if chosen else "is not in the file"
        raise ModelError(
            f"{model.path}: layer '{name}' {fault}",
            hint=did_you_mean(name, masked, f"masked layers are: {', '.join(masked)}")
            if masked
            else "no layer has a mask",
        )
    return chosen.mask.kept


def _tensors(graph: Graph, indices: tuple[int, ...]) -> list[TensorReport]:
    return [_tensor(graph.tensors[index]) for index in indices]


def _tensor(tensor: Tensor) -> TensorReport:
    report = TensorReport(name=tensor.name, dtype=tensor.dtype, shape=tensor.shape)
    found = tensor.quantization
    if found is None or found.scale.size != 1 or found.zero_point.size != 1:
        return report
    numbers = {"scale": float(found.scale[0]), "zero_point": int(found.zero_point[0])}
    return report.model_copy(update=numbers)
