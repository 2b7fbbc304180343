"""The inputs that a quantised model's ranges are measured on, and that the result is tried with."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from toolchain.errors import DataError, DeployError, failure
from toolchain.factory import needs_an_argument, resolve
from toolchain.formats.input_file import check_readable
from toolchain.formats.number_files import load_npz
from toolchain.hints import did_you_mean
from toolchain.progress import Progress, Silent
from toolchain.tflite_file.image_metadata import Normalization
from toolchain.train.batches import seeded
from toolchain.train.data import FASHION_MNIST
from toolchain.train.image_folder import SUFFIXES, ImageFiles, check_header, image_files
from toolchain.train.normalization import FASHION, FOLDER
from toolchain.zoo import fashion_mnist

Shape = tuple[int, ...]
Example = tuple[Tensor, ...]
"""One tensor an input of the model, float32, ``[C, H, W]`` for images."""

RANDOM = "random"
DEFAULT_SAMPLES = 100
"""Inferences to measure ranges with, where the data has so many."""
RANDOM_SAMPLES = 8
CHECKED = 5
"""Inferences that the written file is tried with."""

_HINT = (
    "calibration data is a folder of images, an .npz file, package.module:function, "
    f"{FASHION_MNIST}, or {RANDOM}"
)


@dataclass(frozen=True)
class Samples:
    """Inputs of inferences, made when they are asked for."""

    name: str
    """As the user gave it."""
    shapes: tuple[Shape, ...]
    """Of the model's inputs, as torch has them: ``[N, C, H, W]`` for images."""
    batches: tuple[tuple[int, ...], ...]
    """The numbers of the ``N`` examples of each inference."""
    example: Callable[[int], Example]
    note: str | None = None
    """What there is to tell of how they were made."""

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        """The inputs of one inference, float32, shapes as the model takes them.

        Raises:
            DataError: an example cannot be read, has another shape, or holds a value that is not
                finite; says which.
        """
        examples = [self._checked(number) for number in self.batches[index]]
        return tuple(torch.stack(parts) for parts in zip(*examples, strict=True))

    def split(self) -> tuple[Samples, Samples]:
        """Samples to measure with, and ``CHECKED`` to try the result with.

        Where there are few, the second are among the first.
        """
        tried = spread(len(self), CHECKED)
        rest = [index for index in range(len(self)) if index not in tried]
        if len(self) < 4 * CHECKED:
            rest = list(range(len(self)))
        return self._chosen(rest), self._chosen(tried)

    def _chosen(self, indices: Sequence[int]) -> Samples:
        batches = tuple(self.batches[index] for index in indices)
        return replace(self, batches=batches)

    def _checked(self, number: int) -> Example:
        parts = [
            # Channels last, as an image is read from a file, where only that can be meant.
            part.permute(2, 0, 1) if _is_turned(part, shape) else part
            for part, shape in zip(self.example(number), self.shapes, strict=True)
        ]
        for position, (part, shape) in enumerate(zip(parts, self.shapes, strict=True)):
            which = f" of input {position}" if len(self.shapes) > 1 else ""
            where = f"{self.name}: example {number}{which}"
            if tuple(part.shape) != shape[1:]:
                raise DataError(
                    f"{where} is {_shown(part.shape)}, the model takes {_shown(shape[1:])}",
                    hint="examples are [channels, height, width], as the model in torch takes them",
                )
            if not part.isfinite().all():
                raise DataError(f"{where} holds NaN or infinity")
        return tuple(parts)


def load_samples(
    source: str,
    shapes: Sequence[Shape],
    *,
    normalization: Normalization | None = None,
    limit: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Samples:
    """Find calibration data, and check it as far as that is quick.

    Args:
        source: a folder of images, at any depth (``train`` in it, where there is one); an
            ``.npz`` file; ``package.module:function``; ``fashion-mnist``; or ``random``, normal
            numbers, good for measuring time and nothing else.
        shapes: of the model's inputs, as torch has them; the first axis is the batch.
        normalization: how the model's images are normalised, where that is known, one figure or
            one a channel; else pixels of a folder get ImageNet's and those of Fashion-MNIST its
            own. Examples of the other kinds of data are normalised already.
        limit: inferences to take at most, spread evenly over the data; 100 by default, 8 of
            ``random``.
        seed: of random numbers.
        progress: where reading is shown.

    Raises:
        DataError: the data is not there, does not fit the model, is empty or has a fault.
    """
    fixed = tuple(tuple(shape) for shape in shapes)
    if len({shape[0] for shape in fixed if shape}) != 1 or not all(fixed):
        raise DataError(
            "the model's inputs have no common first axis, the batch: "
            + " and ".join(_shown(shape) for shape in fixed),
            hint="int8 needs it, to know what one example is; fp16 and dynamic do not",
        )
    limit = limit or (RANDOM_SAMPLES if source == RANDOM else DEFAULT_SAMPLES)
    most = limit * fixed[0][0]
    path = Path(os.path.expanduser(source))  # noqa: PTH111 (never fails)
    example: Callable[[int], Example]
    note = None
    if source == RANDOM:
        example, count = _random(fixed, seed), most
    elif source == FASHION_MNIST and not path.exists():
        example, count = _fashion(fixed, normalization or FASHION, progress)
        note = None if normalization else _assumed(source, "its own figures", FASHION)
    elif path.suffix == ".npz":
        example, count = _npz(path, fixed)
    elif ":" in source and not path.exists():
        example, count = _function(source, fixed, most, seed)
    else:
        example, count = _folder(path, fixed, normalization or FOLDER, most, progress)
        note = None if normalization else _assumed(source, "ImageNet's figures", FOLDER)
    size = fixed[0][0]
    chosen = spread(count, most)
    batches = tuple(zip(*[iter(chosen)] * size, strict=False))  # a last odd one is left out
    if not batches:
        have = f"holds {count} examples, the model takes {size} at a time"
        raise DataError(
            f"{source}: {have if count else 'holds no examples'}",
            hint="a hundred examples of what the board will see are a good number",
        )
    samples = Samples(source, fixed, batches, example, note)
    samples[0]  # a fault that all examples share is told before the work
    return samples


def check_source(source: str) -> None:
    """Make sure that there is a file or folder where ``source`` names one, before any work.

    Raises:
        DataError: there is none.
    """
    path = Path(os.path.expanduser(source))  # noqa: PTH111 (never fails)
    if source in (RANDOM, FASHION_MNIST) or path.is_dir():
        return
    if path.suffix == ".npz":
        check_readable(path, DataError)
    elif ":" not in source or path.exists():
        raise _no_folder(path)


# --- the kinds of data -----------------------------------------------------------------------


def _random(shapes: Sequence[Shape], seed: int) -> Callable[[int], Example]:
    def example(number: int) -> Example:
        generator = torch.Generator().manual_seed((seed << 20) + number)
        return tuple(torch.randn(shape[1:], generator=generator) for shape in shapes)

    return example


def _fashion(
    shapes: Sequence[Shape], normalization: Normalization, progress: Progress | None
) -> tuple[Callable[[int], Example], int]:
    _one_input(FASHION_MNIST, shapes)
    images, _ = fashion_mnist.load("train", progress=progress)
    (mean, *_), (std, *_) = normalization.unit
    return lambda number: (fashion_mnist.normalise(images[number, None], mean, std)[0],), len(
        images
    )


def _folder(
    folder: Path,
    shapes: Sequence[Shape],
    normalization: Normalization,
    most: int,
    progress: Progress | None,
) -> tuple[Callable[[int], Example], int]:
    if not folder.is_dir():
        raise _no_folder(folder)
    _one_input(str(folder), shapes)
    shape = shapes[0]
    if len(shape) != 4 or shape[1] != 3 or shape[2] != shape[3]:
        raise DataError(
            f"{folder}: a folder's images become 3xSxS (RGB, square), "
            f"the model takes {_shown(shape[1:])}",
            hint="give an .npz file, or package.module:function",
        )
    try:
        training = folder / "train"
        files = image_files(training if training.is_dir() else folder)
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read: {error.strerror}") from error
    if not files:
        raise DataError(f"{folder}: holds no images", hint="images end in " + ", ".join(SUFFIXES))
    files = [files[index] for index in spread(len(files), most)]
    with (progress or Silent()).stage("check images", total=len(files)) as stage:
        for file in files:
            check_header(file)
            stage.advance()
    images = ImageFiles([(file, 0) for file in files], shape[2], *normalization.unit)
    return lambda number: (images[number][0],), len(files)


def _assumed(source: str, whose: str, taken: Normalization) -> str:
    return (
        f"the images of {source} were normalised by {whose}, {taken}, for want of the network's: "
        "give --mean and --std if it takes others"
    )


def _no_folder(path: Path) -> DataError:
    what = "is no folder and no .npz file" if path.exists() else "is not there"
    known = (FASHION_MNIST, RANDOM)
    return DataError(f"{path}: {what}", hint=did_you_mean(path.name, known, _HINT))


def _npz(path: Path, shapes: Sequence[Shape]) -> tuple[Callable[[int], Example], int]:
    arrays = load_npz(path, DataError)
    names = [f"args_{position}" for position in range(len(shapes))]
    if set(names) <= set(arrays):
        ordered = [(name, arrays[name]) for name in names]
    elif len(arrays) == len(shapes):
        ordered = list(arrays.items())
    else:
        raise DataError(
            f"{path}: holds {len(arrays)} arrays ({', '.join(arrays) or 'none'}), "
            f"the model takes {len(shapes)}",
            hint=f"save one array an input, called {', '.join(names)}",
        )
    tensors = [
        _fitted(f"{path}: array '{name}'", array, shape)
        for (name, array), shape in zip(ordered, shapes, strict=True)
    ]
    counts = {name: len(array) for name, array in ordered}
    if len(set(counts.values())) != 1:
        raise DataError(f"{path}: its arrays hold different numbers of examples: {counts}")
    return lambda number: tuple(tensor[number] for tensor in tensors), len(tensors[0])


def _fitted(where: str, array: Any, shape: Shape) -> Tensor:
    """An array ``[M, ...]`` as float32 in torch's order of axes."""
    if array.dtype.kind != "f":
        raise DataError(
            f"{where} is {array.dtype}, not float32",
            hint="give examples as the model takes them, normalised",
        )
    if array.ndim == len(shape) == 4 and array.shape[1:] != shape[1:]:
        channels_last = (*shape[2:], shape[1])
        if array.shape[1:] == channels_last:
            array = array.transpose(0, 3, 1, 2)
    if array.shape[1:] != shape[1:]:
        last = f" or Mx{_shown((*shape[2:], shape[1]))}" if len(shape) == 4 else ""
        raise DataError(
            f"{where} is {_shown(array.shape)}, the model takes Mx{_shown(shape[1:])}{last}, "
            "M examples"
        )
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))


def _function(
    text: str, shapes: Sequence[Shape], most: int, seed: int
) -> tuple[Callable[[int], Example], int]:
    option = "--calibration"
    function = resolve(text, option, fault=DataError, otherwise=", a folder or an .npz file")
    examples: list[Example] = []
    with seeded(seed):
        # A dataset's function as deploy train calls it, any other as --model's is called.
        found = function("train") if needs_an_argument(function) else function()
        try:
            for number, item in enumerate(_items(text, found, most)):
                examples += _examples(f"'{text}', item {number}", item, shapes)
                if len(examples) >= most:
                    break
        except DeployError:
            raise
        except Exception as error:
            raise failure(DataError, f"reading what '{text}' gives", error) from error
    return examples.__getitem__, len(examples)


def _items(text: str, found: Any, most: int) -> Iterable[Any]:
    if isinstance(found, Tensor | np.ndarray):
        return [found]
    if hasattr(found, "__getitem__") and hasattr(found, "__len__") and not isinstance(found, dict):
        return (found[index] for index in spread(len(found), most))
    if hasattr(found, "__iter__") and not isinstance(found, str | bytes | Mapping):
        return itertools.islice(found, most)
    raise DataError(
        f"'{text}' gives a {type(found).__name__}",
        hint="it has to give a dataset, or batches one after the other",
    )


def _examples(where: str, item: Any, shapes: Sequence[Shape]) -> list[Example]:
    """What one item holds: a batch, or one example, of all inputs; labels behind are dropped."""
    parts = list(item) if isinstance(item, list | tuple) else [item]
    if len(parts) < len(shapes):
        raise DataError(f"{where} holds {len(parts)} tensors, the model takes {len(shapes)}")
    columns: list[list[Tensor]] = []
    for part, shape in zip(parts, shapes, strict=False):
        if not isinstance(part, Tensor | np.ndarray):
            raise DataError(
                f"{where} is a {type(part).__name__}, not a tensor or an array",
                hint="give batches [N, C, H, W], examples [C, H, W], or either with its labels",
            )
        tensor = torch.as_tensor(part).detach().cpu()
        if not tensor.is_floating_point():
            raise DataError(
                f"{where} is {tensor.dtype}, not float32",
                hint="give examples as the model takes them, normalised",
            )
        # Theirs may be one buffer that is filled anew for each item.
        own = tensor.to(torch.float32, copy=True)
        columns.append([own] if tensor.dim() == len(shape) - 1 else list(own))
    if len({len(column) for column in columns}) != 1:
        raise DataError(f"{where}: its tensors hold different numbers of examples")
    return list(zip(*columns, strict=True))


def _one_input(name: str, shapes: Sequence[Shape]) -> None:
    if len(shapes) != 1:
        raise DataError(
            f"{name}: holds images, and the model takes {len(shapes)} inputs",
            hint="give an .npz file with an array for each, or package.module:function",
        )


def spread(count: int, most: int) -> list[int]:
    """At most ``most`` of the numbers below ``count``, spread evenly."""
    wanted = min(count, most)
    return [index * count // wanted for index in range(wanted)]


def _is_turned(part: Tensor, shape: Shape) -> bool:
    given = tuple(part.shape)
    return len(shape) == 4 and given != shape[1:] and given == (*shape[2:], shape[1])


def _shown(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "a number"
