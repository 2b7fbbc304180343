"""Labelled images to evaluate on: as pixels, which are still to be normalised, or as values.

Every source gives its images channels last, as files take them: ``[H, W, C]``.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from toolchain.agreement.differences import Array
from toolchain.errors import DataError
from toolchain.evaluation.image_file import Shape
from toolchain.formats.number_files import load_npz
from toolchain.hints import did_you_mean
from toolchain.progress import Progress, Silent
from toolchain.train.batches import seeded
from toolchain.train.data import FASHION_MNIST
from toolchain.train.image_folder import (
    Labelled,
    check_header,
    evaluated_folder,
    image_files,
    load_folder,
    square_pixels,
)
from toolchain.train.user_dataset import load_test
from toolchain.zoo import fashion_mnist

_IMAGES, _LABELS = ("x", "images", "inputs"), ("y", "labels", "targets")
KINDS = "a folder of images, fashion-mnist, an .npz file or package.module:function"


@dataclass(frozen=True)
class HeldOut:
    """Which images of a folder training has put aside."""

    share: float
    seed: int


@dataclass(frozen=True)
class LabelledData:
    """Images, and the class of each."""

    name: str
    """As the user gave it."""
    labels: Array
    """``[N]`` int64, from 0."""
    classes: tuple[str, ...]
    """Their names, in the order of the labels; empty where they have none."""
    pixels: bool
    """Whether images are pixels, uint8 from 0 to 255; else they are values as a network takes
    them, float32, and already normalised."""
    read: Callable[[Sequence[int], Shape], Array]
    """``read(indices, shape)``: images ``[n, H, W, C]``. Raises :class:`DataError` where one cannot
    be read, or is of another shape than is asked for."""
    options: tuple[str, ...] = ()
    """That name it on the command line of ``deploy evaluate``."""

    def __len__(self) -> int:
        return len(self.labels)


def load_labelled(
    source: str,
    *,
    base: Path | None = None,
    held_out: HeldOut | None = None,
    progress: Progress | None = None,
) -> LabelledData:
    """Find labelled data, and check it as far as that is quick.

    Args:
        source: ``fashion-mnist``, its 10,000 test images; a folder with a folder of images for each
            class, in ``test`` or ``val`` where there is one; an ``.npz`` file with arrays ``x`` (or
            ``images``) and ``y`` (or ``labels``); or ``package.module:function``, called with
            "test" as ``deploy train`` calls it.
        base: what a relative path is relative to; the current folder by default.
        held_out: how training has split a folder without test images, of which those that it has
            put aside are taken then; all of them by default.
        progress: where reading is shown.

    Raises:
        DataError: the data is not there, is empty or has a fault; says where.
        SourceError, MissingToolError: Fashion-MNIST cannot be fetched.
    """
    path = (base or Path()) / os.path.expanduser(source)  # noqa: PTH111 (never fails)
    if source == FASHION_MNIST and not path.exists():
        data = _fashion(progress)
    elif path.suffix == ".npz":
        data = _npz(path)
    elif ":" in source and not path.exists():
        data = _function(source, base, progress)
    else:
        data = _folder(path, source, held_out, progress)
    if not len(data):
        raise DataError(f"{source}: holds no examples")
    return dataclasses.replace(data, options=("--data", source))


def draw(count: int, limit: int | None, seed: int) -> list[int]:
    """Which of so many images are taken, and in which order: the first of a permutation.

    So what is drawn for a smaller limit comes first of what is drawn for a larger one.
    """
    chosen: list[int] = np.random.default_rng(seed).permutation(count)[:limit].tolist()
    return chosen


# --- the kinds of data -----------------------------------------------------------------------


def _fashion(progress: Progress | None) -> LabelledData:
    images, labels = fashion_mnist.load("test", progress=progress)
    return LabelledData(
        FASHION_MNIST,
        labels.astype(np.int64),
        fashion_mnist.CLASSES,
        True,
        _from_array(FASHION_MNIST, images[..., None]),
    )


def _folder(
    folder: Path, source: str, held_out: HeldOut | None, progress: Progress | None
) -> LabelledData:
    if not folder.is_dir():
        what = "is a file, and no .npz" if folder.exists() else "there is no such folder"
        raise DataError(
            f"{folder}: {what}",
            hint=did_you_mean(folder.name, [FASHION_MNIST], f"data is {KINDS}"),
        )
    try:
        # Labels are numbered as they were in training, whose folder may have more classes.
        place, names = evaluated_folder(folder)
        files: list[Labelled] = [
            (file, label)
            for label, name in enumerate(names)
            for file in (image_files(place / name) if (place / name).is_dir() else ())
        ]
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read: {error.strerror}") from error
    if not files:
        raise DataError(
            f"{place}: holds no images in folders of classes",
            hint="lay it out as <class>/<image>, or test/<class>/<image>",
        )
    if held_out is not None and place == folder:
        _, test, _ = load_folder(
            folder, 1, test_share=held_out.share, seed=held_out.seed, progress=progress
        )
        files = list(test.files)
    else:
        with (progress or Silent()).stage("check images", total=len(files)) as stage:
            for file, _ in files:
                check_header(file)
                stage.advance()

    def read(indices: Sequence[int], shape: Shape) -> Array:
        height, width, channels = shape
        if height != width or channels != 3:
            raise DataError(
                f"{source}: a folder's images become square, in red, green and blue; "
                f"the model takes {_shown(shape)}",
                hint="give an .npz file, or package.module:function",
            )
        return np.stack([square_pixels(files[index][0], height) for index in indices])

    labels = np.array([label for _, label in files], np.int64)
    return LabelledData(source, labels, tuple(names), True, read)


def _npz(path: Path) -> LabelledData:
    arrays = load_npz(path, DataError)
    images, labels = _named(path, arrays, _IMAGES), _named(path, arrays, _LABELS)
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or (labels.size and labels.min() < 0):
        raise DataError(
            f"{path}: its labels are {labels.dtype} of shape {list(labels.shape)}",
            hint="labels are one whole number an image, from 0 on",
        )
    if images.ndim not in (3, 4) or len(images) != len(labels):
        raise DataError(
            f"{path}: has images of shape {list(images.shape)} and {len(labels)} labels",
            hint="images are [N, height, width, channels], and there is a label for each",
        )
    if images.dtype != np.uint8 and images.dtype.kind != "f":
        raise DataError(
            f"{path}: its images are {images.dtype}",
            hint="pixels are uint8, values that are normalised already float32",
        )
    if images.ndim == 3:
        images = images[..., None]
    pixels = images.dtype == np.uint8
    found = images if pixels else images.astype(np.float32, copy=False)
    return LabelledData(str(path), labels.astype(np.int64), (), pixels, _from_array(path, found))


def _named(path: Path, arrays: dict[str, Array], names: Sequence[str]) -> Array:
    for name in names:
        if name in arrays:
            return arrays[name]
    raise DataError(
        f"{path}: has no array called {' or '.join(names)}, but {', '.join(arrays) or 'none'}",
        hint="write it with numpy.savez(file, x=images, y=labels)",
    )


def _function(source: str, base: Path | None, progress: Progress | None) -> LabelledData:
    dataset, classes, labels = load_test(source, base=base, progress=progress)

    def read(indices: Sequence[int], shape: Shape) -> Array:
        with seeded(0):  # a user's dataset may draw
            images = [dataset[index][0].permute(1, 2, 0).numpy() for index in indices]
        for index, image in zip(indices, images, strict=True):
            _check_shape(f"'{source}', example {index}", image.shape, shape)
        return np.stack(images)

    return LabelledData(source, labels, classes, False, read)


def _from_array(name: object, images: Array) -> Callable[[Sequence[int], Shape], Array]:
    """Images ``[N, H, W, C]``; ``[N, C, H, W]`` is turned where only that can be meant."""

    def read(indices: Sequence[int], shape: Shape) -> Array:
        found = images
        height, width, channels = shape
        if found.shape[1:] != shape and found.shape[1:] == (channels, height, width):
            found = found.transpose(0, 2, 3, 1)
        _check_shape(str(name), found.shape[1:], shape)
        chosen = np.ascontiguousarray(found[list(indices)])
        if not np.isfinite(chosen).all():
            raise DataError(f"{name}: holds images with NaN or infinity")
        return chosen

    return read


def _check_shape(where: str, found: Sequence[int], wanted: Shape) -> None:
    if tuple(found) != wanted:
        raise DataError(
            f"{where}: images are {_shown(found)}, the model takes {_shown(wanted)}",
            hint="sizes are height, width and channels; only a folder's images are scaled",
        )


def _shown(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
