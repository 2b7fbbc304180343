"""Folders of images: a folder a class, in ``train`` and ``test``, or split here."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import Dataset

from toolchain.errors import DataError, first_line
from toolchain.formats.input_file import check_readable
from toolchain.hints import did_you_mean
from toolchain.progress import Progress, Silent
from toolchain.storage.cache import digest

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's red, green and blue, pixels scaled to [0, 1]: what published weights expect."""

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
# What a file is, is told by its content. Of the formats that Pillow knows, some start programs.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
_TEST_NAMES = ("test", "val")

Labelled = tuple[Path, int]


class ImageFiles(Dataset[tuple[Tensor, int]]):
    """Image files as ``(image [3, size, size] float32 normalised, label)``.

    An image is turned upright as its EXIF data says, becomes RGB (transparency is dropped), is cut
    to the square in its middle and scaled.

    Args:
        files: each with its label.
        size: height and width, pixels.
        mean: of pixels scaled to [0, 1]; one for all channels, or one a channel.
        std: likewise.
    """

    def __init__(
        self,
        files: Sequence[Labelled],
        size: int,
        mean: Sequence[float] = MEAN,
        std: Sequence[float] = STD,
    ) -> None:
        self.files, self._size = files, size
        self._mean = torch.tensor(mean, dtype=torch.float32)
        self._std = torch.tensor(std, dtype=torch.float32)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        path, label = self.files[index]
        pixels = square_pixels(path, self._size).astype(np.float32)
        values = (torch.from_numpy(pixels) / 255 - self._mean).div_(self._std)
        return values.permute(2, 0, 1).contiguous(), label


def load_folder(
    folder: Path,
    image_size: int | None,
    *,
    test_share: float,
    seed: int,
    progress: Progress | None = None,
) -> tuple[ImageFiles, ImageFiles, tuple[str, ...]]:
    """The training images, test images and class names of a folder; every file's header is read.

    ``<folder>/train/<class>/...`` and ``<folder>/test/<class>/...`` (or ``val``) are taken as they
    are; ``<folder>/<class>/...`` is split. Classes are numbered in the order of their names, and
    images may lie in folders below their class's. Names that begin with a dot are passed over.

    Args:
        folder: see above.
        image_size: height and width of the images given, pixels; has to be there.
        test_share: the share of each class to test with, where the folder is to be split: of a
            class with two images or more, one at least.
        seed: of the split. A file's part depends on its own name and its class's, so that few
            change sides when files are added.
        progress: where reading is shown.

    Raises:
        DataError: no such folder, fewer than two classes, a class without images, a class that is
            only in the test set, an empty test set, or a file that is not an image; names it.
    """
    if not folder.is_dir():
        what = "is a file, not a folder of images" if folder.exists() else "there is no such folder"
        raise DataError(
            f"{folder}: {what}",
            hint=did_you_mean(
                folder.name,
                ["fashion-mnist"],
                "data is fashion-mnist, a folder of images, or package.module:dataset",
            ),
        )
    if image_size is None or image_size < 1:
        raise DataError(
            f"{folder}: the size that its images are to have is not given",
            hint="give image_size, the height and width that the model takes: 224",
        )
    try:
        given = _folders(folder / "train")
        train, test, classes = _given(folder) if given else _split(folder, test_share, seed)
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read: {error.strerror}") from error
    if len(classes) < 2:
        raise DataError(
            f"{folder}: has one class only, '{classes[0]}'",
            hint="a classifier needs a folder of images for each of two classes or more",
        )
    if not test:
        raise DataError(
            f"{folder}: there are no images to test with",
            hint="put images into test/<class>/, or more than one into each class's folder",
        )
    with (progress or Silent()).stage("check images", total=len(train) + len(test)) as stage:
        for path, _ in (*train, *test):
            check_header(path)
            stage.advance()
    return ImageFiles(train, image_size), ImageFiles(test, image_size), classes


def evaluated_folder(folder: Path) -> tuple[Path, tuple[str, ...]]:
    """Where the folders of test images lie in a folder, one a class, and the classes' names.

    That is ``test`` or ``val``, whose classes are those of ``train`` where there is one, else the
    folder itself.

    Raises:
        DataError: it has training images and no test images.
        OSError: it cannot be read.
    """
    place = next((folder / name for name in _TEST_NAMES if _folders(folder / name)), None)
    training = _folders(folder / "train")
    if place is None and training:
        raise DataError(
            f"{folder}: has a folder 'train', but no 'test' or 'val' with a folder for each class",
            hint=f"to try a network on what it was trained on, give {folder / 'train'}",
        )
    return place or folder, tuple(training or _folders(place or folder))


# --- what lies where -------------------------------------------------------------------------


def _given(folder: Path) -> tuple[list[Labelled], list[Labelled], tuple[str, ...]]:
    training = folder / "train"
    testing = next((folder / name for name in _TEST_NAMES if _folders(folder / name)), None)
    if testing is None:
        raise DataError(
            f"{folder}: has a folder 'train', but no 'test' or 'val' with a folder for each class",
            hint=f"add one, or give {training} as the data: it is then split",
        )
    classes = tuple(_folders(training))
    for name in _folders(testing):
        if name not in classes:
            raise DataError(
                f"{testing / name}: there is no class '{name}' in {training}",
                hint="a network cannot be tested on a class that it was not trained on",
            )
    labels = list(enumerate(classes))
    train = [(file, label) for label, name in labels for file in _some(training / name)]
    test = [(file, label) for label, name in labels for file in image_files(testing / name)]
    return train, test, classes


def _split(
    folder: Path, share: float, seed: int
) -> tuple[list[Labelled], list[Labelled], tuple[str, ...]]:
    classes = tuple(_folders(folder))
    if not classes:
        raise DataError(
            f"{folder}: holds no folders of images",
            hint="lay it out as <class>/<image>, or train/<class>/<image> and test/<class>/<image>",
        )
    train: list[Labelled] = []
    test: list[Labelled] = []
    for label, name in enumerate(classes):
        files = _some(folder / name)
        # The lowest of a hash for each file: no list of random numbers that a new file shifts.
        ranks = {f: digest(str(seed), f.relative_to(folder).as_posix()) for f in files}
        count = min(max(1, round(share * len(files))), len(files) - 1)
        chosen = set(sorted(files, key=ranks.__getitem__)[:count])
        train += [(file, label) for file in files if file not in chosen]
        test += [(file, label) for file in files if file in chosen]
    return train, test, classes


def _folders(folder: Path) -> list[str]:
    """The names of the folders in one, which need not be there."""
    paths = folder.iterdir() if folder.is_dir() else ()
    return sorted(path.name for path in paths if path.is_dir() and not path.name.startswith("."))


def image_files(folder: Path) -> list[Path]:
    """The images of a folder at any depth, by their names' endings, sorted."""
    found = []
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [
            Path(root) / name
            for name in names
            if name.lower().endswith(SUFFIXES) and not name.startswith(".")
        ]
    return sorted(found)


def _some(folder: Path) -> list[Path]:
    files = image_files(folder)
    if not files:
        raise DataError(f"{folder}: holds no images", hint="images end in " + ", ".join(SUFFIXES))
    return files


# --- one file --------------------------------------------------------------------------------


def check_header(path: Path) -> None:
    """Make sure that a file is an image, and of a depth that :class:`ImageFiles` reads.

    Raises:
        DataError: it is not.
    """
    check_readable(path, DataError)
    try:
        with Image.open(path, formats=_FORMATS) as image:
            mode = image.mode
    except Exception as error:
        raise _unreadable(path, error) from error
    if mode.startswith(("I", "F")):
        raise DataError(
            f"{path}: has more than 8 bits a channel (Pillow's mode {mode})",
            hint="convert it to 8 bits; how its values are to be scaled is not known here",
        )


def square_pixels(path: Path, size: int) -> npt.NDArray[np.uint8]:
    """The pixels of a file as :class:`ImageFiles` has them before they are normalised.

    Returns:
        ``[size, size, 3]``: red, green and blue, 0 to 255.

    Raises:
        DataError: it cannot be read as an image.
    """
    try:
        with Image.open(path, formats=_FORMATS) as image:
            return _square(image, size)
    except Exception as error:  # Pillow's decoders raise a dozen kinds on damaged files
        raise _unreadable(path, error) from error


def picture_pixels(path: Path) -> npt.NDArray[np.uint8]:
    """A whole picture, upright: ``[height, width, 3]``, red, green and blue, 0 to 255.

    Raises:
        DataError: it cannot be read as an image.
    """
    try:
        with Image.open(path, formats=_FORMATS) as image:
            return np.array(_colour(image), np.uint8)
    except Exception as error:  # as above
        raise _unreadable(path, error) from error


def _square(image: Image.Image, size: int) -> npt.NDArray[np.uint8]:
    """The middle of an image."""
    colour = _colour(image)
    short = min(colour.size)
    left, top = ((side - short) / 2 for side in colour.size)
    box = (left, top, left + short, top + short)
    return np.array(colour.resize((size, size), Image.Resampling.BILINEAR, box=box), np.uint8)


def _colour(image: Image.Image) -> Image.Image:
    """An image as its EXIF data turn it, in red, green and blue."""
    upright = ImageOps.exif_transpose(image)
    if upright.mode == "P" and "transparency" in upright.info:
        upright = upright.convert("RGBA")
    return upright.convert("RGB")


def _unreadable(path: Path, error: Exception) -> DataError:
    known = not isinstance(error, UnidentifiedImageError)
    reason = first_line(error) if known else "it is of no known format"
    return DataError(
        f"{path}: cannot be read as an image: {reason}",
        hint="mend it, or take it out of the folder",
    )
