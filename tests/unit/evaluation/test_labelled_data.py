"""Labelled images from folders, arrays and functions."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from toolchain.errors import DataError
from toolchain.evaluation.labelled_data import HeldOut, draw, load_labelled
from toolchain.train.data import load_data
from toolchain.train.image_folder import ImageFiles
from toolchain.train.normalization import FOLDER


@pytest.fixture(autouse=True)
def _clean_modules() -> Iterator[None]:
    yield
    sys.modules.pop("pets_of_the_test", None)


def make_images(folder: Path, count: int = 2, *, seed: int = 0) -> None:
    folder.mkdir(parents=True)
    generator = np.random.default_rng(seed)
    for index in range(count):
        pixels = generator.integers(0, 256, (9, 12, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")


# --- folders ---------------------------------------------------------------------------------


def test_a_folder_has_a_class_a_folder_in_the_order_of_names(tmp_path: Path) -> None:
    for name in ("cat", "ant", "bee"):
        make_images(tmp_path / name)
    data = load_labelled(str(tmp_path))
    assert data.classes == ("ant", "bee", "cat")
    assert data.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert data.pixels
    assert data.read([0, 5], (6, 6, 3)).shape == (2, 6, 6, 3)


def test_the_test_images_of_a_folder_are_taken_with_the_labels_of_training(tmp_path: Path) -> None:
    for name in ("ant", "bee", "cat"):
        make_images(tmp_path / "train" / name)
    make_images(tmp_path / "val" / "cat")
    data = load_labelled(str(tmp_path))
    assert data.classes == ("ant", "bee", "cat")
    assert data.labels.tolist() == [2, 2]


def test_training_images_are_not_taken_for_test_images(tmp_path: Path) -> None:
    make_images(tmp_path / "train" / "ant")
    with pytest.raises(DataError, match="no 'test' or 'val'") as caught:
        load_labelled(str(tmp_path))
    assert str(tmp_path / "train") in str(caught.value.hint)


def test_of_a_folder_that_training_has_split_its_test_images_are_taken(tmp_path: Path) -> None:
    for name in ("ant", "bee"):
        make_images(tmp_path / name, 20)
    trained = load_data(str(tmp_path), image_size=8, test_share=0.25, seed=3)
    data = load_labelled(str(tmp_path), held_out=HeldOut(0.25, 3))
    assert len(data) == len(trained.test) == 10
    assert len(load_labelled(str(tmp_path))) == 40
    mean, std = (np.array(values) for values in FOLDER.unit)
    for index in range(10):
        image, label = trained.test[index]
        (pixels,) = data.read([index], (8, 8, 3))
        assert label == data.labels[index]
        assert np.allclose((pixels / 255 - mean) / std, image.permute(1, 2, 0).numpy(), atol=1e-6)


def test_pixels_are_those_that_training_normalises(tmp_path: Path) -> None:
    make_images(tmp_path / "ant")
    make_images(tmp_path / "bee")
    data = load_labelled(str(tmp_path))
    (pixels,) = data.read([0], (8, 8, 3))
    mean, std = (np.array(values) for values in FOLDER.unit)
    trained, _ = ImageFiles([(tmp_path / "ant" / "0.png", 0)], 8)[0]
    assert np.allclose((pixels / 255 - mean) / std, trained.permute(1, 2, 0).numpy(), atol=1e-6)


def test_a_folder_is_not_for_grey_or_oblong_images(tmp_path: Path) -> None:
    make_images(tmp_path / "ant")
    data = load_labelled(str(tmp_path))
    for shape in ((8, 8, 1), (8, 6, 3)):
        with pytest.raises(DataError, match="become square"):
            data.read([0], shape)


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        load_labelled(str(tmp_path / "nothing"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no images"):
        load_labelled(str(tmp_path / "empty"))


# --- arrays ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("images", "labels"), [("x", "y"), ("images", "labels")])
def test_arrays_of_bytes_are_pixels_and_of_floats_values(
    tmp_path: Path, images: str, labels: str
) -> None:
    pixels = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    for array, are_pixels in ((pixels, True), (pixels / 255, False)):
        path = tmp_path / "data.npz"
        np.savez(path, **{images: array, labels: np.array([1, 0])})  # type: ignore[arg-type]
        data = load_labelled(str(path))
        assert data.pixels == are_pixels
        assert data.labels.tolist() == [1, 0]
        found = data.read([1], (4, 4, 3))
        assert np.allclose(found[0], array[1])
        assert found.dtype == (np.uint8 if are_pixels else np.float32)


def test_channels_in_front_are_turned(tmp_path: Path) -> None:
    array = np.random.default_rng(0).random((2, 3, 4, 5)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=array, y=np.array([0, 1]))
    found = load_labelled(str(tmp_path / "data.npz")).read([1], (4, 5, 3))
    assert np.array_equal(found[0], array[1].transpose(1, 2, 0))


def test_grey_images_need_no_axis_of_channels(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=np.ones((2, 4, 4), np.uint8), y=np.array([0, 1]))
    assert load_labelled(str(tmp_path / "data.npz")).read([0], (4, 4, 1)).shape == (1, 4, 4, 1)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"x": np.zeros((2, 4, 4), np.uint8)}, "no array called y"),
        ({"y": np.zeros(2, int)}, "no array called x"),
        ({"x": np.zeros((2, 4, 4), np.uint8), "y": np.zeros(3, int)}, "3 labels"),
        ({"x": np.zeros((2, 4, 4), np.uint8), "y": np.zeros(2)}, "its labels are float64"),
        ({"x": np.zeros((2, 4, 4), np.uint8), "y": np.array([0, -1])}, "its labels are"),
        ({"x": np.zeros((2, 4, 4), np.int32), "y": np.zeros(2, int)}, "its images are int32"),
        ({"x": np.zeros((0, 4, 4), np.uint8), "y": np.zeros(0, int)}, "holds no examples"),
    ],
)
def test_arrays_with_a_fault_are_refused(
    tmp_path: Path, arrays: dict[str, np.ndarray], said: str
) -> None:
    np.savez(tmp_path / "data.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=said):
        load_labelled(str(tmp_path / "data.npz"))


def test_images_of_another_size_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=np.zeros((2, 4, 4), np.uint8), y=np.zeros(2, int))
    with pytest.raises(DataError, match="images are 4x4x1, the model takes 8x8x1"):
        load_labelled(str(tmp_path / "data.npz")).read([0], (8, 8, 1))


def test_values_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=np.full((2, 4, 4), np.nan), y=np.zeros(2, int))
    with pytest.raises(DataError, match="NaN"):
        load_labelled(str(tmp_path / "data.npz")).read([0], (4, 4, 1))


# --- functions -------------------------------------------------------------------------------

_MODULE = """
import torch

class Pets(torch.utils.data.Dataset):
    {extra}

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return torch.full((1, 4, 4), float(index)), index % 2

def data(split):
    assert split == "test"
    return Pets()
"""


@pytest.mark.parametrize("extra", ["pass", "targets = [0, 1, 0]\n    classes = ['a', 'b']"])
def test_a_function_gives_values_with_their_labels(tmp_path: Path, extra: str) -> None:
    (tmp_path / "pets_of_the_test.py").write_text(_MODULE.format(extra=extra))
    data = load_labelled(f"{tmp_path}/pets_of_the_test:data")
    assert not data.pixels
    assert data.labels.tolist() == [0, 1, 0]
    assert data.classes == (() if extra == "pass" else ("a", "b"))
    assert data.read([2], (4, 4, 1)).tolist() == np.full((1, 4, 4, 1), 2.0).tolist()


# --- the draw --------------------------------------------------------------------------------


def test_more_images_go_on_where_fewer_have_ended() -> None:
    assert draw(1000, 50, 3) == draw(1000, 200, 3)[:50]
    assert sorted(draw(1000, None, 3)) == list(range(1000))
    assert draw(1000, 50, 3) != draw(1000, 50, 4)
