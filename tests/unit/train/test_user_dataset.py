"""``package.module:dataset``: taken, or its fault named before training starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from toolchain.errors import DataError, SourceError
from toolchain.progress import Lines
from toolchain.train.batches import Batches
from toolchain.train.data import load_data
from toolchain.train.user_dataset import FIRST, CheckedDataset

_USER = """
import random
import torch
from torch.utils.data import Dataset, TensorDataset, random_split

class Pets(Dataset):
    def __init__(self, split):
        self.count = 30 if split == "train" else 5

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return torch.full((3, 6, 5), float(index), dtype=torch.float64), index % 3

class Named(Pets):
    classes = ["cat", "dog", "owl", "never seen"]

class Targets(Pets):
    def __init__(self, split):
        super().__init__(split)
        self.targets = [index % 3 for index in range(self.count)]

def tensors(split):
    return TensorDataset(torch.rand(20, 1, 4, 4), torch.arange(20, dtype=torch.int32) % 4)

def split(split):
    numbers = torch.arange(10)
    whole = TensorDataset(numbers.view(10, 1, 1, 1).float(), numbers % 2)
    return random_split(whole, [6, 4])[split == "test"]

def needs_nothing():
    return []

def empty(split):
    return []

def stream(split):
    return iter([])

def one_class(split):
    return [(torch.zeros(1, 2, 2), 0)] * 3

def strange_test(split):
    return [(torch.zeros(1, 2, 2), number) for number in range(2 if split == "train" else 3)]

def other_size(split):
    return [(torch.zeros(1, 2, 2 if split == "train" else 3), number) for number in range(2)]

def other_names(split):
    found = Pets(split)
    found.classes = {"train": ["cat", "dog", "owl"], "test": ["dog", "owl"]}[split]
    return found


def first_names(split):
    found = Pets(split)
    found.classes = {"train": ["cat", "dog", "owl"], "test": ["cat", "dog"]}[split]
    return found


def bad_targets(split):
    made = Pets(split)
    made.targets = "cats"
    return made

def nan_tensors(split):
    images = torch.zeros(50, 1, 2, 2)
    images[40 if split == "test" else 0, 0, 0, 0] = 0 if split == "train" else float("nan")
    return TensorDataset(images, torch.arange(50) % 2)

def negative_tensors(split):
    labels = torch.arange(50) % 2
    labels[45] = -1
    return TensorDataset(torch.zeros(50, 1, 2, 2), labels)

def float_tensors(split):
    return TensorDataset(torch.zeros(50, 1, 2, 2), torch.ones(50))
"""


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """A module in the current folder, as a user has one."""
    name = f"user_{abs(hash(request.node.name))}"
    (tmp_path / f"{name}.py").write_text(_USER)
    monkeypatch.chdir(tmp_path)
    return name


@pytest.mark.parametrize(
    ("function", "classes"),
    [
        ("Pets", ("0", "1", "2")),
        ("Targets", ("0", "1", "2")),
        ("Named", ("cat", "dog", "owl", "never seen")),
        ("first_names", ("cat", "dog", "owl")),
    ],
)
def test_a_dataset_of_the_current_folder_is_taken(
    user: str, function: str, classes: tuple[str, ...]
) -> None:
    data = load_data(f"{user}:{function}")
    assert data.classes == classes
    assert data.input_shape == (1, 3, 6, 5)
    assert (len(data.train), len(data.test)) == (30, 5)
    image, label = data.test[4]
    assert image.dtype == torch.float32
    assert (label, float(image.mean())) == (1, 4.0)
    images, labels = Batches(data.train, 30, seed=0).batch(0)
    assert torch.equal(images[:, 0, 0, 0].long() % 3, labels)


def test_labels_are_read_only_where_nothing_tells_them(
    user: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for function in ("Named", "Targets", "tensors"):
        load_data(f"{user}:{function}", progress=Lines(0))
    assert not capsys.readouterr().err
    load_data(f"{user}:Pets", progress=Lines(0))
    assert "read labels: 100%" in capsys.readouterr().err


def test_tensors_stay_tensors(user: str) -> None:
    data = load_data(f"{user}:tensors")
    assert isinstance(data.train, TensorDataset)
    assert data.train.tensors[1].dtype == torch.int64
    assert data.classes == ("0", "1", "2", "3")


def test_a_random_split_is_the_same_one_in_both_calls(user: str) -> None:
    before = torch.get_rng_state()
    seen = []
    for seed in (0, 0, 1):
        data = load_data(f"{user}:split", seed=seed)
        seen.append([float(data.train[index][0]) for index in range(6)])
        tested = [float(data.test[index][0]) for index in range(4)]
        assert sorted(seen[-1] + tested) == list(range(10))
    assert seen[0] == seen[1] != seen[2]
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("nothing", "has no function called 'nothing'"),
        ("needs_nothing", r"calling '.*:needs_nothing' with 'train' failed: TypeError"),
        ("empty", r"'.*:empty' \(\"train\"\) is empty"),
        ("stream", r"is a list_iterator without __len__ and __getitem__"),
        ("one_class", "has fewer than two classes"),
        ("strange_test", r"\(\"test\"\), example 2: the label 2 is none of 2 classes, 0 to 1"),
        ("other_size", r"\(\"test\"\), example 0: the image is 1x2x3, the first .* 1x2x2"),
        ("other_names", r"\(\"test\"\): class 0 is 'dog', and in '.*\(\"train\"\) it is 'cat'"),
        ("bad_targets", r"\(\"train\"\): reading its labels failed"),
        ("nan_tensors", r"\(\"test\"\), example 40: the image holds values that are not finite"),
        ("negative_tensors", r"\(\"train\"\), example 45: the label -1 is none of 2 classes"),
        ("float_tensors", r"example 0: the label is tensor\(1.\), not a whole number"),
    ],
)
def test_a_dataset_with_a_fault_says_which(user: str, function: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_data(f"{user}:{function}")


def test_a_module_that_is_not_there_says_what_data_can_be() -> None:
    with pytest.raises(DataError, match=r"no module called 'no_such' \(for data no_such:pets\)"):
        load_data("no_such:pets")
    with pytest.raises(DataError, match=r"no module called 'pets' \(for data \./pets:dogs\) in "):
        load_data("./pets:dogs")


GOOD = (torch.zeros(1, 4, 4), 1)


@pytest.mark.parametrize(
    ("example", "message"),
    [
        (torch.zeros(1, 4, 4), "is a Tensor, not a pair"),
        ((*GOOD, 3), "is a tuple, not a pair"),
        ((np.zeros((1, 4, 4)), 1), "the image is a ndarray, not a tensor"),
        ((torch.zeros(4, 4), 1), r"the image is torch.float32 of shape \[4, 4\]"),
        ((torch.zeros(1, 4, 4, dtype=torch.uint8), 1), r"the image is torch.uint8 of shape"),
        ((torch.zeros(1, 0, 4), 1), r"the image is torch.float32 of shape \[1, 0, 4\]"),
        ((torch.zeros(1, 5, 4), 1), "the image is 1x5x4, the first one to train on 1x4x4"),
        ((torch.full((1, 4, 4), torch.inf), 1), "the image holds values that are not finite"),
        ((GOOD[0], 2), "the label 2 is none of 2 classes, 0 to 1"),
        ((GOOD[0], -1), "the label -1 is none of 2 classes"),
        ((GOOD[0], "cat"), "the label is 'cat', not a whole number"),
        ((GOOD[0], 0.5), "the label is 0.5, not a whole number"),
        ((GOOD[0], torch.tensor([0, 1])), r"the label is tensor\(\[0, 1\]\), not a whole number"),
    ],
)
def test_an_example_with_a_fault_is_named(example: object, message: str) -> None:
    dataset = CheckedDataset([GOOD, example], "'pets'", classes=2)
    with pytest.raises(DataError, match=f"^'pets', example 1: {message}"):
        dataset[1]


@pytest.mark.parametrize("label", [1, np.int64(1), np.uint8(1), torch.tensor(1), torch.tensor([1])])
def test_any_whole_number_is_a_label(label: object) -> None:
    assert CheckedDataset([GOOD, (GOOD[0], label)], "'pets'", classes=2)[1][1] == 1


class Broken(list[tuple[Tensor, int]]):
    def __getitem__(self, index: Any) -> Any:
        if index == FIRST + 1:
            raise OSError("the disk is gone")
        if index == FIRST + 2:
            raise SourceError("of our own")
        return GOOD


def test_a_dataset_may_fill_one_buffer_anew_for_each_example() -> None:
    class OneBuffer:
        def __init__(self) -> None:
            self.image = torch.empty(1, 2, 2)

        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            return self.image.fill_(float(index)), 0

    checked = CheckedDataset(OneBuffer(), "a test")
    images = [checked[index][0] for index in range(3)]
    assert [float(image.mean()) for image in images] == [0.0, 1.0, 2.0]


def test_an_example_that_cannot_be_read_is_named_whenever_that_is() -> None:
    dataset = CheckedDataset(Broken([GOOD] * (FIRST + 3)), "'pets'", classes=2)
    with pytest.raises(
        DataError, match=r"'pets', example 17: reading it failed: OSError: the disk"
    ):
        dataset[FIRST + 1]
    with pytest.raises(SourceError, match="of our own"):
        dataset[FIRST + 2]
