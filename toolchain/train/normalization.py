"""How the images that a network was trained on were normalised."""

from __future__ import annotations

from collections.abc import Mapping

from toolchain.tflite_file.image_metadata import Normalization
from toolchain.train.data import FASHION_MNIST
from toolchain.train.image_folder import MEAN, STD
from toolchain.zoo import catalog, fashion_mnist

FASHION = Normalization.of_unit((fashion_mnist.MEAN,), (fashion_mnist.STD,))
FOLDER = Normalization.of_unit(MEAN, STD)
"""Of the images of a folder, see :mod:`toolchain.train.image_folder`."""
UNIT = Normalization.of_unit((0.0,), (1.0,))
"""Pixels from 0 to 1."""
_IMAGENET = Normalization((127.0,), (128.0,))
"""Of the zoo's networks with weights of ImageNet, :mod:`toolchain.zoo.efficientnet_lite`."""
_DETECTOR = "toolchain.zoo.yolov5:yolov5n"
"""Takes ``UNIT`` whatever its weights are, as all of YOLOv5 does."""


def data_normalization(source: str) -> Normalization | None:
    """How ``deploy train`` normalises the images of its data.

    Args:
        source: as a recipe or a checkpoint names it.

    Returns:
        ``None`` for a function of the user's, which normalises its images itself.
    """
    if source == FASHION_MNIST:
        return FASHION
    return None if ":" in source else FOLDER


def trained_normalization(
    metadata: Mapping[str, str], network: str | None = None, *, own_weights: bool = True
) -> Normalization | None:
    """How the images of a checkpoint's training were normalised, where that is known.

    Args:
        metadata: of the checkpoint; empty of weights that come without a file.
        network: the name of a network, or its ``package.module:function``.
        own_weights: whether it has those that the zoo has for it, not a checkpoint's.
    """
    if {"dataset", "recipe"} <= metadata.keys():  # as `deploy train` writes them, together
        return data_normalization(metadata["dataset"])
    network = network or ""
    known = catalog.ZOO.get(network)  # a factory's own weights may be others
    if _DETECTOR in (catalog.current_factory(network), known and known.factory):
        return UNIT
    if known is None or not own_weights:
        return None
    return {FASHION_MNIST: FASHION, "imagenet": _IMAGENET}.get(known.weights)
