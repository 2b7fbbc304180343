"""Masks on Keras models: layers that carry them, laying them on, searching them during ``fit``."""

from toolchain import extras

extras.require("toolchain.keras", "tensorflow")

from toolchain.keras.masked_layers import (  # noqa: E402 (Keras has to be there)
    MaskedConv2D,
    MaskedDepthwiseConv2D,
    masked_layers,
)
from toolchain.keras.policies import Policy  # noqa: E402
from toolchain.keras.schedule import MaskSchedule  # noqa: E402
from toolchain.keras.sparsify import MaskSet, mask_set, sparsify  # noqa: E402

__all__ = [
    "MaskSchedule",
    "MaskSet",
    "MaskedConv2D",
    "MaskedDepthwiseConv2D",
    "Policy",
    "mask_set",
    "masked_layers",
    "sparsify",
]
