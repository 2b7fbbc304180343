"""The images to train and test on: Fashion-MNIST, a folder, or a user's dataset."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils.data import TensorDataset

from toolchain.errors import DataError
from toolchain.progress import Progress
from toolchain.storage.cache import digest
from toolchain.train.batches import Examples, seeded
from toolchain.train.image_folder import ImageFiles, load_folder
from toolchain.train.user_dataset import load_user
from toolchain.zoo import fashion_mnist

FASHION_MNIST = "fashion-mnist"


@dataclass(frozen=True)
class Data:
    """A training set and a test set of labelled images."""

    name: str
    """As the user gave it."""
    train: Examples
    """``train[i]`` is (float32 ``[C, H, W]`` normalised, label)."""
    test: Examples
    classes: tuple[str, ...]
    """Names, in the order of the labels; of a dataset without names "0", "1", ..."""
    input_shape: tuple[int, int, int, int]
    """``(1, C, H, W)`` of one example."""
    labels: str | None = None
    """A digest of which image has which label, by which a run knows its data again: of a folder
    the names of the files count, not what is in them. ``None`` of data that would have to be read
    for it."""


def load_data(
    source: str,
    *,
    image_size: int | None = None,
    test_share: float = 0.1,
    seed: int = 0,
    base: Path | None = None,
    progress: Progress | None = None,
) -> Data:
    """Find the data and check it as far as that is quick.

    Args:
        source: ``fashion-mnist``, a folder of images (see :func:`.image_folder.load_folder`), or
            ``package.module:function`` (see :func:`.user_dataset.load_user`).
        image_size: height and width of the images of a folder, pixels; other data has its own.
        test_share: of a folder without a test set, above 0 and below 1.
        seed: of the split, and of what a user's function draws.
        base: what a relative folder is relative to, and whose modules are looked at first; the
            current folder by default.
        progress: where long work is announced.

    Raises:
        DataError: the data is not there or has a fault; says where.
        SourceError, MissingToolError: Fashion-MNIST cannot be fetched.
    """
    if not 0 < test_share < 1:
        raise DataError(f"a test share of {test_share:g} is not between 0 and 1")
    folder = (base or Path()) / os.path.expanduser(source)  # noqa: PTH111 (never fails)
    if source == FASHION_MNIST:
        train, test, classes = _fashion(progress)
    elif ":" in source and not folder.exists():
        train, test, classes = load_user(source, seed=seed, base=base, progress=progress)
    else:
        train, test, classes = load_folder(
            folder, image_size, test_share=test_share, seed=seed, progress=progress
        )
    with seeded(seed):  # a user's dataset may draw
        channels, height, width = train[0][0].shape
    if image_size is not None and (height, width) != (image_size, image_size):
        raise DataError(
            f"{source}: images are {height}x{width}, not {image_size}x{image_size}",
            hint="leave image_size away: only the images of a folder are scaled",
        )
    shape = (1, channels, height, width)
    return Data(source, train, test, classes, shape, _labels(folder, (train, test)))


def _labels(folder: Path, sets: Sequence[Examples]) -> str | None:
    """See :attr:`Data.labels`."""
    parts: list[bytes] = []
    for one in sets:
        parts.append(len(one).to_bytes(8, "little"))
        if isinstance(one, ImageFiles):
            for path, label in one.files:
                parts += [os.fsencode(path.relative_to(folder)), str(label).encode()]
        elif isinstance(one, TensorDataset):
            parts.append(one.tensors[1].numpy().tobytes())
        else:
            return None
    return digest(*parts)


def _fashion(progress: Progress | None) -> tuple[Examples, Examples, tuple[str, ...]]:
    def tensors(split: fashion_mnist.Split) -> TensorDataset:
        images, labels = fashion_mnist.load(split, progress=progress)
        return TensorDataset(fashion_mnist.normalise(images), torch.from_numpy(labels).long())

    return tensors("train"), tensors("test"), fashion_mnist.CLASSES
