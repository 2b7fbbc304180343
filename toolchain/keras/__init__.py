"""Masks on Keras models: layers that carry them, laying them on, searching them during ``fit``."""

from toolchain import extras
from toolchain.errors import ModelError

extras.require("toolchain.keras", "tensorflow")

import keras  # noqa: E402 (it has to be there)

if keras.backend.backend() != "tensorflow":
    raise ModelError(
        f"Keras computes with {keras.backend.backend()} here, and masks need TensorFlow",
        hint="set KERAS_BACKEND=tensorflow before Keras is imported",
    )

from toolchain.keras.masked_layers import (  # noqa: E402
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
