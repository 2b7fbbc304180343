"""What can be trained on, and what is said of data with a fault before training starts."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from torch.utils.data import TensorDataset

from toolchain.errors import DataError
from toolchain.progress import Lines
from toolchain.storage import cache
from toolchain.train.batches import Batches, evaluation_batches
from toolchain.train.data import Data, load_data
from toolchain.train.image_folder import MEAN, STD
from toolchain.zoo import fashion_mnist

COLOURS = {"blue": (0, 0, 255), "green": (0, 255, 0), "red": (255, 0, 0)}


def picture(path: Path, colour: Any = (9, 99, 200), size: tuple[int, int] = (8, 8)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


def folder(path: Path, per_class: int = 4) -> Path:
    """``<class>/<number>.png``, each class of one colour."""
    for name, colour in COLOURS.items():
        for number in range(per_class):
            picture(path / name / f"{number}.png", colour)
    return path


def given_folder(path: Path, test: str = "test") -> Path:
    folder(path / "train", 2)
    folder(path / test, 1)
    return path


def load(path: Path, size: int | None = 8, **options: Any) -> Data:
    return load_data(str(path), image_size=size, **options)


def pixels(image: Tensor) -> Tensor:
    """Back to 0 ... 255, ``[3, H, W]``."""
    return (image * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)) * 255


# --- folders ---------------------------------------------------------------------------------


@pytest.mark.parametrize("test", ["test", "val"])
def test_a_folder_with_a_test_set_is_taken_as_it_is(tmp_path: Path, test: str) -> None:
    data = load(given_folder(tmp_path, test))
    assert data.classes == ("blue", "green", "red")
    assert data.input_shape == (1, 3, 8, 8)
    assert (len(data.train), len(data.test)) == (6, 3)
    for examples in (data.train, data.test):
        for index in range(len(examples)):
            image, label = examples[index]
            wanted = torch.tensor(COLOURS[data.classes[label]]).view(3, 1, 1).expand(3, 8, 8)
            assert torch.allclose(pixels(image), wanted.float(), atol=1e-3)


def test_a_test_folder_without_classes_gives_way_to_val(tmp_path: Path) -> None:
    given_folder(tmp_path, "val")
    picture(tmp_path / "test/unknown.png")
    assert len(load(tmp_path).test) == 3


@given(share=st.floats(0.01, 0.99), seed=st.integers(0, 5), per_class=st.integers(2, 9))
def test_a_folder_without_a_test_set_is_split_within_each_class(
    share: float, seed: int, per_class: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = folder(tmp_path_factory.mktemp("data"), per_class)
    one, other = (load(path, test_share=share, seed=seed) for _ in range(2))
    files = [{file for file, _ in examples.files} for examples in (one.train, one.test)]  # type: ignore[attr-defined]
    assert not files[0] & files[1]
    assert len(files[0] | files[1]) == 3 * per_class
    assert 1 <= len(files[1]) // 3 <= per_class - 1
    assert len(files[1]) % 3 == 0
    assert abs(len(files[1]) / 3 - share * per_class) <= 1
    assert one.test.files == other.test.files  # type: ignore[attr-defined]


def test_a_seed_splits_otherwise_and_a_new_file_moves_few(tmp_path: Path) -> None:
    def tested(seed: int) -> set[str]:
        files = load(tmp_path, test_share=0.3, seed=seed).test.files  # type: ignore[attr-defined]
        return {str(file) for file, _ in files}

    folder(tmp_path, 10)
    before = tested(0)
    assert before != tested(1)
    picture(tmp_path / "red/another.png")
    assert len(tested(0) - before) <= 1


def test_images_may_lie_deeper_and_other_files_are_passed_over(tmp_path: Path) -> None:
    folder(tmp_path, 2)
    picture(tmp_path / "red/holiday/1.PNG")
    for name in ("notes.txt", ".red/x.png", "red/._1.png", "red/Thumbs.db", "red/.cache/x.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"no image")
    data = load(tmp_path)
    assert len(data.train) + len(data.test) == 7
    assert data.classes == ("blue", "green", "red")


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    for name in ("bus", "train"):
        for number in range(2):
            picture(tmp_path / name / f"{number}.png")
    assert load(tmp_path).classes == ("bus", "train")


def test_a_relative_folder_is_relative_to_the_base(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder(tmp_path / "recipes/pets")
    (tmp_path / "recipes/x").mkdir()
    for base, text in ((tmp_path / "recipes", "pets"), (tmp_path / "recipes/x", "../pets")):
        data = load_data(text, image_size=8, base=base)
        assert data.name == text
    monkeypatch.chdir(tmp_path / "recipes")
    assert load_data("pets", image_size=8).name == "pets"


def test_checking_shows_its_progress(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load(folder(tmp_path), progress=Lines(interval_s=0))
    assert "check images: 100%" in capsys.readouterr().err


@pytest.mark.parametrize(("size", "box"), [((16, 8), (4, 0, 12, 8)), ((8, 16), (0, 4, 8, 12))])
def test_an_image_is_cut_to_the_square_in_its_middle(
    tmp_path: Path, size: tuple[int, int], box: tuple[int, int, int, int]
) -> None:
    folder(tmp_path, 2)
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    for number in range(2):
        image.save(tmp_path / f"red/{number}.png")
    data = load(tmp_path)
    got = next(data.train[i][0] for i in range(len(data.train)) if data.train[i][1] == 2)
    wanted = torch.from_numpy(np.array(image.crop(box))).permute(2, 0, 1)
    assert torch.allclose(pixels(got), wanted.float(), atol=1e-3)
    assert load(tmp_path, 5).input_shape == (1, 3, 5, 5)
    assert load(tmp_path, 21).test[0][0].shape == (3, 21, 21)


@pytest.mark.parametrize(
    ("mode", "colour", "name", "wanted"),
    [
        ("L", 99, "x.png", (99, 99, 99)),
        ("1", 1, "x.png", (255, 255, 255)),
        ("LA", (99, 7), "x.png", (99, 99, 99)),
        ("RGBA", (9, 99, 200, 128), "x.png", (9, 99, 200)),
        ("RGB", (9, 99, 200), "x.bmp", (9, 99, 200)),
        ("P", 0, "x.gif", (0, 0, 0)),
        ("CMYK", (0, 0, 0, 0), "x.tif", (255, 255, 255)),
    ],
)
@pytest.mark.filterwarnings("error")
def test_any_kind_of_image_becomes_rgb(
    tmp_path: Path, mode: str, colour: Any, name: str, wanted: tuple[int, int, int]
) -> None:
    given_folder(tmp_path)
    Image.new(mode, (8, 8), colour).save(tmp_path / "test/red" / name)
    image, _ = load(tmp_path).test[3]
    assert image.dtype == torch.float32
    assert image.is_contiguous()
    assert torch.allclose(pixels(image)[:, 4, 4], torch.tensor(wanted).float(), atol=1e-3)


@pytest.mark.filterwarnings("error")
def test_a_palette_may_hold_transparency(tmp_path: Path) -> None:
    given_folder(tmp_path)
    image = Image.new("RGBA", (8, 8), (9, 99, 200, 128)).quantize()
    image.save(tmp_path / "test/red/x.png", transparency=bytes([128] * 256))
    got, _ = load(tmp_path).test[3]
    assert torch.allclose(pixels(got)[:, 4, 4], torch.tensor([9.0, 99, 200]), atol=1e-3)


def test_a_photograph_is_turned_upright(tmp_path: Path) -> None:
    given_folder(tmp_path)
    sideways = Image.new("RGB", (8, 8))
    sideways.paste((255, 255, 255), (0, 0, 4, 8))  # its left half
    exif = Image.Exif()
    exif[0x0112] = 6  # what is left is to be on top
    sideways.save(tmp_path / "test/red/x.png", exif=exif)
    image = pixels(load(tmp_path).test[3][0])
    assert image[:, :4].min() > 254
    assert image[:, 4:].max() < 1


def test_images_train_in_workers_as_without(tmp_path: Path) -> None:
    data = load(folder(tmp_path))
    batches = [
        list(Batches(data.train, 3, seed=1, workers=workers).iterate(1, 4)) for workers in (0, 2)
    ]
    for (images, labels), (others, numbers) in zip(*batches, strict=True):
        assert torch.equal(images, others)
        assert torch.equal(labels, numbers)
    assert sum(len(labels) for _, labels in evaluation_batches(data.test, 2)) == len(data.test)


# --- folders with a fault --------------------------------------------------------------------


def fails(message: str, path: Path | str, size: int | None = 8, **options: Any) -> DataError:
    with pytest.raises(DataError, match=message) as caught:
        load_data(str(path), image_size=size, **options)
    assert caught.value.exit_code == 14
    return caught.value


def test_a_folder_that_is_not_there_says_what_data_can_be(tmp_path: Path) -> None:
    error = fails(r"/fashion_mnist: there is no such folder$", tmp_path / "fashion_mnist", None)
    assert "fashion-mnist" in (error.hint or "")
    fails("is a file, not a folder", picture(tmp_path / "x.png"))


@pytest.mark.parametrize("size", [None, 0, -1])
def test_a_folder_needs_an_image_size(tmp_path: Path, size: int | None) -> None:
    error = fails("size that its images are to have is not given", folder(tmp_path), size)
    assert "image_size" in (error.hint or "")


@pytest.mark.parametrize("share", [0, 1, -0.1, float("nan")])
def test_a_share_to_test_with_lies_between_nothing_and_all(tmp_path: Path, share: float) -> None:
    fails("is not between 0 and 1", folder(tmp_path), test_share=share)


def test_a_folder_without_classes_is_refused(tmp_path: Path) -> None:
    picture(tmp_path / "x.png")
    fails("holds no folders of images", tmp_path)


def test_one_class_is_not_enough(tmp_path: Path) -> None:
    picture(tmp_path / "red/x.png")
    fails("one class only, 'red'", tmp_path)


def test_a_class_without_images_is_named(tmp_path: Path) -> None:
    folder(tmp_path)
    (tmp_path / "empty").mkdir()
    assert ".jpeg" in (fails("/empty: holds no images", tmp_path).hint or "")


def test_a_training_set_needs_a_test_set(tmp_path: Path) -> None:
    folder(tmp_path / "train")
    error = fails("a folder 'train', but no 'test' or 'val'", tmp_path)
    assert str(tmp_path / "train") in (error.hint or "")


@pytest.mark.parametrize("per_class", [0, 1])
def test_an_empty_test_set_is_refused(tmp_path: Path, per_class: int) -> None:
    if per_class:  # one image a class: none is left to test with
        folder(tmp_path, per_class)
    else:
        folder(tmp_path / "train")
        (tmp_path / "test/red").mkdir(parents=True)
    fails("no images to test with", tmp_path)


def test_a_class_that_is_only_tested_is_named(tmp_path: Path) -> None:
    given_folder(tmp_path)
    picture(tmp_path / "test/white/0.png")
    fails("there is no class 'white' in .*train", tmp_path)


@pytest.mark.parametrize("raw", [b"", b"GIF", b"hello", b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_a_file_that_is_no_image_is_named(tmp_path: Path, raw: bytes) -> None:
    folder(tmp_path)
    (tmp_path / "red/1.png").write_bytes(raw)
    fails(r"red/1\.png: cannot be read as an image: it is of no known format", tmp_path)


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    folder(tmp_path)
    (tmp_path / "red/1.png").unlink()
    (tmp_path / "red/1.png").symlink_to("nowhere")
    fails(r"red/1\.png: cannot be read: No such file", tmp_path)


def test_sixteen_bits_a_channel_are_refused(tmp_path: Path) -> None:
    folder(tmp_path)
    Image.fromarray(np.full((8, 8), 999, dtype=np.uint16)).save(tmp_path / "red/1.png")
    fails(r"red/1\.png: has more than 8 bits a channel", tmp_path)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_truncated_image_is_named_when_it_is_read(tmp_path: Path, suffix: str) -> None:
    given_folder(tmp_path)
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = tmp_path / f"test/red/1{suffix}"
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:900])
    data = load(tmp_path)
    for workers in (0, 1):
        with pytest.raises(DataError, match=rf"red/1{suffix}: cannot be read as an image: ."):
            list(evaluation_batches(data.test, 2, workers=workers))


# --- Fashion-MNIST ---------------------------------------------------------------------------


def idx(array: np.ndarray[Any, Any]) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return gzip.compress(b"\0\0\x08" + bytes([array.ndim]) + sizes + array.tobytes())


@pytest.fixture
def fashion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache that holds the data set already, of a few images."""
    monkeypatch.setenv("TILESKIP_CACHE", str(tmp_path))

    def fill(folder: Path) -> None:
        place = folder / fashion_mnist._FOLDER
        place.mkdir(parents=True)
        for prefix, count in (("train", 20), ("t10k", 10)):
            images = np.arange(count * 784, dtype=np.uint8).reshape(count, 28, 28)
            labels = np.arange(count, dtype=np.uint8) % 10
            (place / f"{prefix}-images-idx3-ubyte.gz").write_bytes(idx(images))
            (place / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(idx(labels))

    cache.entry("datasets", f"fashion-mnist-{fashion_mnist._SHA256[:16]}", fill)


@pytest.mark.usefixtures("fashion")
def test_fashion_mnist_is_tensors() -> None:
    data = load_data("fashion-mnist", image_size=28)
    assert data.input_shape == (1, 1, 28, 28)
    assert (len(data.train), len(data.test)) == (20, 10)
    assert data.classes == fashion_mnist.CLASSES
    assert isinstance(data.train, TensorDataset)
    assert torch.equal(data.train.tensors[1], torch.arange(20) % 10)
    assert data.train.tensors[0].dtype == torch.float32


@pytest.mark.usefixtures("fashion")
def test_only_folders_are_scaled() -> None:
    error = fails("fashion-mnist: images are 28x28, not 32x32", "fashion-mnist", 32)
    assert "image_size" in (error.hint or "")
