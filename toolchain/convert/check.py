"""Find every masked layer of a model in its file, with its mask and fill."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from toolchain.convert.masks import MaskedLayer
from toolchain.tflite_file.layers import Layer, Plane

Form = Literal["select", "dense", "constant", "changed"]


@dataclass(frozen=True)
class ConvertedLayer:
    """A masked layer of the model, and what became of it in the file."""

    name: str
    op: str | None
    """``None`` where it is not in the file any more."""
    pixels: int
    kept: int
    form: Form
    """``select``: the pair that a runtime skips, same mask and fill; ``dense``: the mask keeps
    every pixel, so there is none in the file; ``constant``: the mask keeps no pixel, so the
    convolution is gone; ``changed``: see ``detail``."""
    skipped: bool
    """Whether the patched runtime skips the masked pixels."""
    detail: str | None


Check = Callable[[Sequence[Layer]], list[ConvertedLayer]]
"""What became of a model's masked layers, given the layers of its file."""


def check_planes(planes: Mapping[str, Plane], found: Sequence[Layer]) -> list[ConvertedLayer]:
    """Find masked layers in the file by their names, with their masks.

    What a masked pixel holds is left to the comparison of the outputs.

    Args:
        planes: name -> mask ``[H, W]``, True = kept.
        found: the layers of the file.
    """
    layers = {layer.name: layer for layer in reversed(found)}
    return [_check_plane(name, plane, layers.get(name)) for name, plane in planes.items()]


def masks_found(found: Sequence[Layer]) -> list[ConvertedLayer]:
    """The masked layers of a file whose model does not say which they are."""
    return [
        _check_plane(layer.name, layer.mask.kept, layer)
        for layer in found
        if layer.mask is not None
    ]


def _check_plane(name: str, plane: Plane, layer: Layer | None) -> ConvertedLayer:
    kept, pixels = int(plane.sum()), plane.size
    form: Form = "changed"
    detail: str | None = None
    if kept == pixels:
        form, detail = "dense", "the mask keeps every pixel"
    elif layer is None and kept == 0:
        form, detail = "constant", "the mask keeps no pixel"
    elif layer is None or layer.mask is None:
        detail = "the file has no convolution with this mask"
    elif not np.array_equal(layer.mask.kept, plane):
        detail = "the mask in the file is another one"
    else:
        form, detail = ("select" if layer.mask.skipped else "changed"), layer.mask.reason
    op = layer.op if layer else None
    return ConvertedLayer(name, op, pixels, kept, form, form == "select", detail)


def check_layers(masked: Sequence[MaskedLayer], found: Sequence[Layer]) -> list[ConvertedLayer]:
    """Find every masked layer of the model in the file, with its mask and fill."""
    checks: list[ConvertedLayer] = []
    taken: set[int] = set()
    for layer in masked:
        same = [item for item in found if item.name.partition("#")[0] == layer.name]
        # A layer that is called twice with one input is computed once in the file.
        chosen = next((item for item in same if item.index not in taken), same[0] if same else None)
        if chosen is not None and not layer.again:
            taken.add(chosen.index)
        checks.append(_check_layer(layer, chosen))
    return checks


def _check_layer(masked: MaskedLayer, layer: Layer | None) -> ConvertedLayer:
    kept = int(masked.mask.sum())
    op = layer.op if layer else None

    def result(form: Form, detail: str | None = None) -> ConvertedLayer:
        skipped = form == "select"
        return ConvertedLayer(masked.name, op, masked.mask.numel(), kept, form, skipped, detail)

    if not masked.rewritten:
        return result("changed", f"left as it is: {masked.reason}")
    if kept == masked.mask.numel():
        return result("dense", "the mask keeps every pixel")
    if layer is None:
        if kept == 0:
            return result("constant", "the mask keeps no pixel")
        return result("changed", "the convolution is not in the file")
    if layer.mask is None:
        return result("changed", "the convolution has no mask in the file")
    if not np.array_equal(layer.mask.kept, masked.mask.numpy()):
        return result("changed", "the mask in the file is another one")
    fill = np.broadcast_to(layer.mask.fill, (masked.fill.numel(),))
    # The nearest value that the type has, which is the fill itself where that is float32.
    wanted = np.nan_to_num(masked.fill.numpy())  # the converter writes the largest for infinity
    apart = np.abs(fill.astype(np.float64) - wanted)
    if not (apart <= layer.mask.fill_step * 0.5001).all():
        return result("changed", "the fill in the file is another one")
    return result("select" if layer.mask.skipped else "changed", layer.mask.reason)
