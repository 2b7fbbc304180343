"""Find every masked layer of a model in its file, with its mask and fill."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from toolchain.convert.masks import MaskedLayer
from toolchain.tflite_file.layers import Layer

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


def check_layers(masked: Sequence[MaskedLayer], found: Sequence[Layer]) -> list[ConvertedLayer]:
    """Find every masked layer of the model in the file, with its mask and fill."""
    checks: list[ConvertedLayer] = []
    taken: set[int] = set()
    for layer in masked:
        same = [item for item in found if item.name.partition("#")[0] == layer.name]
        # A layer that is called twice with one input is computed once in the file.
        chosen = next((item for item in same if item.index not in taken), same[0] if same else None)
        if chosen is not None:
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
