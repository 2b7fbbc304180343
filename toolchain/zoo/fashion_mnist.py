"""Fashion-MNIST: 60,000 training and 10,000 test images of 28x28 grey pixels, in ten classes.

Xiao, Rasul and Vollgraf (2017), MIT licence; from the Debian package ``dataset-fashion-mnist``.
"""

from __future__ import annotations

import gzip
import math
import os
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from toolchain.errors import SourceError
from toolchain.fetch.apt import AptRoot, unpack_deb
from toolchain.progress import Progress
from toolchain.storage import cache

Split = Literal["train", "test"]

CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
MEAN, STD = 0.2860, 0.3530
"""Of the training images, pixels scaled to [0, 1]."""

_SUITE = "bookworm"
_VERSION = "0.0~git20200523.55506a9-1"
_DEB = f"dataset-fashion-mnist_{_VERSION}_all.deb"
_SHA256 = "39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0"
_FOLDER = Path("usr/share/datasets/fashion-mnist")
_PREFIX: dict[Split, str] = {"train": "train", "test": "t10k"}
_SIDE = 28


def load(
    split: Split, *, progress: Progress | None = None, sources: Path | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The images ``[N, 28, 28]`` and labels ``[N]`` of one split, both uint8.

    The first call fetches 31 MB; after that the cache has them.

    Args:
        split: ``train`` (60,000) or ``test`` (10,000).
        progress: where the download is announced.
        sources: a folder that may hold the ``.deb`` already.

    Raises:
        SourceError: the package cannot be fetched, or a file in the cache is damaged.
        MissingToolError: this machine has no apt or dpkg-deb.
    """

    def fill(folder: Path) -> None:
        debs = AptRoot(progress, sources=sources).fetch_debs(
            [f"dataset-fashion-mnist={_VERSION}"],
            arch="amd64",
            suite=_SUITE,
            pins={_DEB: _SHA256},
        )
        unpack_deb(debs[0], folder)

    folder = cache.entry("datasets", f"fashion-mnist-{_SHA256[:16]}", fill) / _FOLDER
    prefix = _PREFIX[split]
    images = read_idx(folder / f"{prefix}-images-idx3-ubyte.gz").reshape(-1, _SIDE, _SIDE)
    return images, read_idx(folder / f"{prefix}-labels-idx1-ubyte.gz")


def normalise(images: NDArray[np.uint8], mean: float = MEAN, std: float = STD) -> Tensor:
    """Images ``[N, 28, 28]`` as the network takes them: float32 ``[N, 1, 28, 28]``."""
    scaled = torch.from_numpy(images.astype(np.float32)) / 255
    return ((scaled - mean) / std).unsqueeze(1)


def read_idx(path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """A gzipped IDX file of bytes, as an array of the shape that stands in it.

    Raises:
        SourceError: the file cannot be read, is truncated, or holds no bytes in IDX format.
    """
    try:
        with gzip.open(path) as stream:
            raw = stream.read()
    except (OSError, EOFError, MemoryError, zlib.error) as error:
        raise SourceError(
            f"{path}: cannot be read: {error}", hint="delete its folder to fetch it again"
        ) from error
    rank = raw[3] if len(raw) >= 4 and raw[:3] == b"\0\0\x08" else 0
    start = 4 + 4 * rank
    shape = [int.from_bytes(raw[at : at + 4], "big") for at in range(4, start, 4)]
    if not rank or len(raw) != start + math.prod(shape):
        raise SourceError(
            f"{path}: is not a whole IDX file of bytes", hint="delete its folder to fetch it again"
        )
    return np.frombuffer(raw, dtype=np.uint8, offset=start).reshape(shape).copy()
