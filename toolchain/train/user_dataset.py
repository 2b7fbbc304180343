"""Datasets of the user's: ``package.module:function``, called with "train" and with "test"."""

from __future__ import annotations

import operator
import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

from toolchain.errors import DataError, DeployError, failure
from toolchain.factory import resolve
from toolchain.progress import Progress, Silent
from toolchain.train.batches import Examples, derived_seed, seeded

Split = Literal["train", "test"]

FIRST = 16
"""Examples of each dataset that are looked at before training starts."""

_EXAMPLE = "an example is (image [C, H, W] float, label)"


class CheckedDataset(Dataset[tuple[Tensor, int]]):
    """A user's dataset, each example checked as it is read: ``(image float32, label)``.

    Args:
        dataset: with ``__len__`` and ``__getitem__``.
        name: for messages, ``'pets:data' ("train")``.
        shape: ``[C, H, W]`` that every image has to have; ``None`` takes the first one's.
        classes: labels are below it; ``None`` while that is not known.

    Raises:
        DataError: not a map-style dataset, or empty; on reading, an example with a fault.
    """

    def __init__(
        self,
        dataset: Any,
        name: str,
        *,
        shape: tuple[int, ...] | None = None,
        classes: int | None = None,
    ) -> None:
        if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
            raise DataError(
                f"{name} is a {type(dataset).__name__} without __len__ and __getitem__",
                hint=f"give a map-style torch dataset; {_EXAMPLE}",
            )
        self.dataset, self.name, self.classes = dataset, name, classes
        if not len(dataset):
            raise DataError(f"{name} is empty")
        self.shape = tuple(self._raw(0)[0].shape) if shape is None else shape

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image, label = self._raw(index)
        where = f"{self.name}, example {index}"
        if tuple(image.shape) != self.shape:
            raise DataError(
                f"{where}: the image is {_size(image.shape)}, the first one to train on "
                f"{_size(self.shape)}",
                hint="all images have to have one size",
            )
        if not bool(image.isfinite().all()):
            raise DataError(
                f"{where}: the image holds values that are not finite (NaN or infinity)"
            )
        if label < 0 or (self.classes is not None and label >= self.classes):
            known = (
                ""
                if self.classes is None
                else f" of {self.classes} classes, 0 to {self.classes - 1}"
            )
            raise DataError(f"{where}: the label {label} is none{known}")
        # A copy: theirs may be one buffer that is filled anew for each example.
        return image.to(torch.float32, copy=True), label

    def _raw(self, index: int) -> tuple[Tensor, int]:
        where = f"{self.name}, example {index}"
        try:
            example = self.dataset[index]
        except DeployError:
            raise
        except Exception as error:
            raise failure(DataError, f"{where}: reading it", error) from error
        if not isinstance(example, (tuple, list)) or len(example) != 2:
            raise DataError(f"{where}: is a {type(example).__name__}, not a pair", hint=_EXAMPLE)
        image, label = example
        if not isinstance(image, Tensor):
            raise DataError(
                f"{where}: the image is a {type(image).__name__}, not a tensor", hint=_EXAMPLE
            )
        if not image.is_floating_point() or image.dim() != 3 or not image.numel():
            raise DataError(
                f"{where}: the image is {image.dtype} of shape {list(image.shape)}",
                hint=f"{_EXAMPLE}, normalised as the model expects",
            )
        try:
            return image, operator.index(label)  # int, numpy's integers, tensors of one
        except TypeError as error:
            raise DataError(
                f"{where}: the label is {reprlib.repr(label)}, not a whole number", hint=_EXAMPLE
            ) from error


def load_user(
    factory: str, *, seed: int = 0, base: Path | None = None, progress: Progress | None = None
) -> tuple[Examples, Examples, tuple[str, ...]]:
    """The training set, test set and class names that a factory gives.

    Class names are the dataset's ``classes``, where it has them; else numbers up to the highest
    label, which is in ``targets`` or found by reading every training example once. A plain
    ``TensorDataset`` is checked whole and stays one.

    Args:
        factory: ``package.module:function``, called with "train" and with "test". The global
            generators of ``random``, numpy and torch are seeded alike before each call, so that a
            random split made in both is one split.
        seed: of that.
        base: the folder whose modules are looked at first; the current one by default.
        progress: where reading is shown.

    Raises:
        DataError: there is no such function, it fails, or what it gives has a fault; names the
            function and the example. Or training and test set name a class differently.
    """
    function = resolve(
        factory,
        "data",
        fault=DataError,
        otherwise=", the path of a folder, or fashion-mnist",
        base=base,
    )
    same = derived_seed("dataset", seed)
    with seeded(same):
        train = CheckedDataset(function("train"), f"'{factory}' (\"train\")")
        classes = _classes(train, progress or Silent())
        train.classes = len(classes)
        checked = _first_checked(train)
    with seeded(same):
        test = CheckedDataset(
            function("test"), f"'{factory}' (\"test\")", shape=train.shape, classes=len(classes)
        )
        _check_same_names(train, test)
        return checked, _first_checked(test), classes


def load_test(
    factory: str, *, base: Path | None = None, progress: Progress | None = None
) -> tuple[CheckedDataset, tuple[str, ...], npt.NDArray[np.int64]]:
    """The test set alone that a factory gives, with its class names and labels.

    Args:
        factory: ``package.module:function``, called with "test".
        base: see :func:`load_user`.
        progress: where reading is shown.

    Returns:
        The dataset, its ``classes`` where it has such, and the label of each example.

    Raises:
        DataError: there is no such function, it fails, or what it gives has a fault.
    """
    function = resolve(
        factory, "--data", fault=DataError, otherwise=", a folder, or fashion-mnist", base=base
    )
    with seeded(derived_seed("dataset", 0)):
        test = CheckedDataset(function("test"), f"'{factory}' (\"test\")")
        given = getattr(test.dataset, "targets", None)
        if given is None and _is_tensors(test.dataset):
            given = test.dataset.tensors[1]
        if given is not None and len(given) == len(test):
            try:
                labels = torch.as_tensor(given).long().flatten().numpy()
            except Exception as error:
                raise failure(DataError, f"{test.name}: reading its labels", error) from error
        else:
            with (progress or Silent()).stage("read labels", total=len(test)) as stage:
                found = []
                for index in range(len(test)):
                    found.append(test[index][1])
                    stage.advance()
            labels = np.array(found, np.int64)
    if labels.min() < 0:
        raise DataError(f"{test.name}, example {labels.argmin()}: the label is {labels.min()}")
    return test, _names(test) or (), labels


def _classes(train: CheckedDataset, progress: Progress) -> tuple[str, ...]:
    names = _names(train)
    classes = names if names is not None else _numbers(train, progress)
    if len(classes) < 2:
        raise DataError(f"{train.name}: has fewer than two classes")
    return classes


def _numbers(train: CheckedDataset, progress: Progress) -> tuple[str, ...]:
    return tuple(map(str, range(_highest_label(train, progress) + 1)))


def _names(of: CheckedDataset) -> tuple[str, ...] | None:
    """The names of the classes, where the dataset has them."""
    names = getattr(of.dataset, "classes", None)
    if not isinstance(names, Sequence) or isinstance(names, str):
        return None
    return tuple(map(str, names))


def _check_same_names(train: CheckedDataset, test: CheckedDataset) -> None:
    """Labels are of one numbering; where both sets have names, they tell."""
    for label, (one, other) in enumerate(
        zip(_names(train) or (), _names(test) or (), strict=False)
    ):
        if one != other:
            raise DataError(
                f"{test.name}: class {label} is '{other}', and in {train.name} it is '{one}'",
                hint="number the classes of both alike, those without an example, too",
            )


def _highest_label(train: CheckedDataset, progress: Progress) -> int:
    labels = getattr(train.dataset, "targets", None)
    if labels is None and _is_tensors(train.dataset):
        labels = train.dataset.tensors[1]
    if labels is not None:
        try:
            return int(torch.as_tensor(labels).max())
        except Exception as error:
            raise failure(DataError, f"{train.name}: reading its labels", error) from error
    highest = 0
    with progress.stage("read labels", total=len(train)) as stage:
        for index in range(len(train)):
            highest = max(highest, train[index][1])
            stage.advance()
    return highest


def _first_checked(dataset: CheckedDataset) -> Examples:
    for index in range(min(FIRST, len(dataset))):
        dataset[index]
    if not _is_tensors(dataset.dataset):
        return dataset
    images, labels = dataset.dataset.tensors[0].float(), dataset.dataset.tensors[1].long().flatten()
    bad = ~images.flatten(1).isfinite().all(1) | (labels < 0) | (labels >= dataset.classes)
    for index in bad.nonzero().flatten().tolist():
        dataset[index]  # says what is bad about it
    return TensorDataset(images, labels)


def _is_tensors(dataset: object) -> bool:
    return type(dataset) is TensorDataset and len(dataset.tensors) == 2


def _size(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
