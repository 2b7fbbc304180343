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
    metadata: Mapping[str, str], network: str | None = None
) -> Normalization | None:
    """How the images of a checkpoint's training were normalised, where that is known.

    Args:
        metadata: of the checkpoint; empty of weights that come without a file.
        network: the name of a network of the zoo, whose own weights are taken then.
    """
    if {"dataset", "recipe"} <= metadata.keys():  # as `deploy train` writes them, together
        return data_normalization(metadata["dataset"])
    known = catalog.ZOO.get(network or "")
    return FASHION if known is not None and known.weights == FASHION_MNIST else None
