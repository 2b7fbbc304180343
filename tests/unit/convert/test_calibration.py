from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

from toolchain.convert.calibration import CHECKED, RANDOM_SAMPLES, Samples, load_samples, spread
from toolchain.errors import DataError
from toolchain.tflite_file.image_metadata import Normalization
from toolchain.train.image_folder import MEAN, STD
from toolchain.zoo import fashion_mnist

Array = npt.NDArray[Any]
SHAPE = (1, 3, 6, 6)
_MODULE = "calibration_data_of_the_test"


@pytest.fixture
def module() -> Iterator[dict[str, Any]]:
    """The names of a module that can be imported as ``_MODULE``."""
    made = type(sys)(_MODULE)
    sys.modules[_MODULE] = made
    yield made.__dict__
    del sys.modules[_MODULE]


def _images(count: int, channels: int = 3, seed: int = 0) -> Array:
    shape = (count, channels, 6, 6)
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def _npz(path: Path, **arrays: Array) -> str:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return str(path)


def _all(samples: Samples) -> list[tuple[torch.Tensor, ...]]:
    return [samples[index] for index in range(len(samples))]


# --- npz -------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["torch", "file"])
def test_an_npz_holds_examples_in_torchs_order_of_axes_or_the_files(
    tmp_path: Path, order: str
) -> None:
    shape, wanted = (1, 3, 6, 5), np.arange(4 * 90, dtype=np.float32).reshape(4, 3, 6, 5)
    array = wanted if order == "torch" else wanted.transpose(0, 2, 3, 1)
    samples = load_samples(_npz(tmp_path / "x.npz", images=array), [shape])
    assert len(samples) == 4
    for index, (image,) in enumerate(_all(samples)):
        assert image.shape == shape
        assert np.array_equal(image[0].numpy(), wanted[index])


def test_of_many_examples_some_are_taken_evenly(tmp_path: Path) -> None:
    array = np.arange(30, dtype=np.float32).reshape(30, 1)
    samples = load_samples(_npz(tmp_path / "x.npz", x=array), [(1, 1)], limit=10)
    assert [int(x) for (x,) in _all(samples)] == list(range(0, 30, 3))


def test_a_model_with_a_batch_takes_several_examples_and_leaves_an_odd_rest(
    tmp_path: Path,
) -> None:
    array = np.arange(7, dtype=np.float64).reshape(7, 1)
    samples = load_samples(_npz(tmp_path / "x.npz", x=array), [(3, 1)])
    assert [x.flatten().tolist() for (x,) in _all(samples)] == [[0, 1, 2], [3, 4, 5]]


def test_arrays_of_several_inputs_go_by_name_or_in_order(tmp_path: Path) -> None:
    a, b = np.zeros((4, 2), np.float32), np.ones((4, 2), np.float32)
    shapes = [(1, 2), (1, 2)]
    by_name = load_samples(_npz(tmp_path / "n.npz", args_1=b, args_0=a, labels=a), shapes)
    in_order = load_samples(_npz(tmp_path / "o.npz", left=a, right=b), shapes)
    for samples in (by_name, in_order):
        assert [float(part.mean()) for part in samples[2]] == [0.0, 1.0]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((4, 3, 6, 7), np.float32)}, r"'x' is 4x3x6x7, the model takes Mx3x6x6 or"),
        ({"x": np.zeros((3, 6, 6), np.float32)}, r"'x' is 3x6x6"),
        ({"x": np.zeros((4, 3, 6, 6), np.uint8)}, r"'x' is uint8, not float32"),
        ({"x": np.zeros((0, 3, 6, 6), np.float32)}, r"holds no examples"),
        ({"x": _images(4), "y": np.zeros(4)}, r"holds 2 arrays \(x, y\), the model takes 1"),
        ({"x": np.full((4, 3, 6, 6), np.nan, np.float32)}, r"example 0 holds NaN or infinity"),
        ({}, r"holds 0 arrays \(none\)"),
    ],
)
def test_an_npz_that_does_not_fit_says_why(
    tmp_path: Path, arrays: dict[str, Array], message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        load_samples(_npz(tmp_path / "x.npz", **arrays), [SHAPE])
    assert caught.value.exit_code == 14


def test_a_value_that_is_not_finite_is_told_with_its_example(tmp_path: Path) -> None:
    array = _images(8)
    array[5, 0, 0, 0] = np.inf
    samples = load_samples(_npz(tmp_path / "x.npz", x=array), [SHAPE])
    samples[4]
    with pytest.raises(DataError, match=r"x\.npz: example 5 holds NaN or infinity"):
        samples[5]


def test_an_npz_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    with pytest.raises(DataError, match="No such file"):
        load_samples(str(path), [SHAPE])
    path.write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(DataError, match=r"is no \.npz file of plain numbers"):
        load_samples(str(path), [SHAPE])
    whole = io.BytesIO()
    np.savez(whole, x=_images(4))
    path.write_bytes(whole.getvalue()[:300])
    with pytest.raises(DataError, match=r"is no \.npz file of plain numbers"):
        load_samples(str(path), [SHAPE])


def test_pickled_objects_in_an_npz_are_not_loaded(tmp_path: Path) -> None:
    path = _npz(tmp_path / "x.npz", x=np.array([{"a": 1}], object))
    with pytest.raises(DataError, match="plain numbers"):
        load_samples(path, [SHAPE])


# --- folders ---------------------------------------------------------------------------------


def _save(path: Path, grey: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (9, 7), (grey, grey, grey)).save(path)


def test_a_folder_holds_images_at_any_depth(tmp_path: Path) -> None:
    for number in range(4):
        _save(tmp_path / f"class{number % 2}" / "more" / f"{number}.png", 10 * number)
    (tmp_path / "notes.txt").write_text("no image")
    samples = load_samples(str(tmp_path), [SHAPE])
    greys = [0, 20, 10, 30]  # by class, then by name
    for (image,), grey in zip(_all(samples), greys, strict=True):
        wanted = [(grey / 255 - mean) / std for mean, std in zip(MEAN, STD, strict=True)]
        assert torch.allclose(image[0, :, 2, 2], torch.tensor(wanted), atol=1e-6)


def test_the_images_of_a_folder_are_normalised_as_the_network_takes_them(tmp_path: Path) -> None:
    _save(tmp_path / "1.png", 51)
    for known, wanted in (
        (Normalization((0.0,), (1.0,)), [51.0] * 3),
        (Normalization((127.0,), (128.0,)), [-76 / 128] * 3),
        (Normalization((1.0, 21.0, 51.0), (2.0, 3.0, 4.0)), [25.0, 10.0, 0.0]),
    ):
        samples = load_samples(str(tmp_path), [SHAPE], normalization=known)
        assert samples[0][0][0, :, 2, 2].tolist() == pytest.approx(wanted, abs=1e-5)
        assert samples.note is None


def test_it_is_told_where_imagenets_figures_stand_for_what_is_not_known(tmp_path: Path) -> None:
    _save(tmp_path / "1.png", 51)
    note = load_samples(str(tmp_path), [SHAPE]).note
    assert note is not None
    assert "by ImageNet's figures, mean 0.485,0.456,0.406 and std 0.229,0.224,0.225" in note
    assert "--mean and --std" in note
    assert load_samples("random", [SHAPE]).note is None


def test_fashion_mnist_is_normalised_as_the_network_takes_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pixels = np.full((2, 28, 28), 51, np.uint8)
    monkeypatch.setattr(fashion_mnist, "load", lambda *_, **__: (pixels, np.zeros(2)))
    shape = (1, 1, 28, 28)
    known = load_samples("fashion-mnist", [shape], normalization=Normalization((1.0,), (2.0,)))
    assert known[0][0].flatten().tolist() == pytest.approx([25.0] * 784, abs=1e-5)
    assert known.note is None
    silent = load_samples("fashion-mnist", [shape])
    assert torch.equal(silent[0][0], fashion_mnist.normalise(pixels[:1]))
    assert silent.note is not None
    assert "by its own figures, mean 0.286 and std 0.353" in silent.note


def test_the_training_images_are_taken_where_a_folder_has_some_for_testing_too(
    tmp_path: Path,
) -> None:
    _save(tmp_path / "train" / "cat" / "1.png", 0)
    _save(tmp_path / "test" / "cat" / "2.png", 255)
    assert len(load_samples(str(tmp_path), [SHAPE])) == 1


def test_a_folder_that_does_not_fit_says_why(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: is not there") as caught:
        load_samples(str(tmp_path / "nowhere"), [SHAPE])
    assert "random" in (caught.value.hint or "")
    with pytest.raises(DataError, match="holds no images"):
        load_samples(str(tmp_path), [SHAPE])
    _save(tmp_path / "1.png", 1)
    with pytest.raises(DataError, match="the model takes 1x6x6"):
        load_samples(str(tmp_path), [(1, 1, 6, 6)])
    with pytest.raises(DataError, match="the model takes 3x6x8"):
        load_samples(str(tmp_path), [(1, 3, 6, 8)])
    with pytest.raises(DataError, match="the model takes 2 inputs"):
        load_samples(str(tmp_path), [SHAPE, SHAPE])
    with pytest.raises(DataError, match=r"1\.png: is no folder and no \.npz file"):
        load_samples(str(tmp_path / "1.png"), [SHAPE])


def test_a_file_that_is_no_image_is_told_before_the_work(tmp_path: Path) -> None:
    _save(tmp_path / "1.png", 1)
    (tmp_path / "2.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"2\.png: cannot be read as an image"):
        load_samples(str(tmp_path), [SHAPE])


# --- functions -------------------------------------------------------------------------------

IMAGES = torch.from_numpy(_images(6))
LABELS = torch.arange(6)


@pytest.mark.parametrize(
    "data",
    [
        lambda: [IMAGES[:4], IMAGES[4:]],
        lambda: list(IMAGES),
        lambda: ((batch.numpy(), 0) for batch in torch.split(IMAGES, 3)),
        lambda: IMAGES,
        lambda: TensorDataset(IMAGES, LABELS),
        lambda: DataLoader(TensorDataset(IMAGES, LABELS), batch_size=4),
        lambda split: {"train": TensorDataset(IMAGES, LABELS)}[split],
        lambda split="all": {"all": IMAGES.double()}[split],
    ],
    ids=[
        "batches", "examples", "generator", "tensor", "dataset", "loader", "split", "default",
    ],
)  # fmt: skip
def test_a_function_gives_batches_or_examples_with_labels_or_without(
    module: dict[str, Any], data: object
) -> None:
    module["data"] = data
    samples = load_samples(f"{_MODULE}:data", [SHAPE])
    assert torch.equal(torch.cat([image for (image,) in _all(samples)]), IMAGES)


def test_an_endless_function_is_read_as_far_as_is_needed(module: dict[str, Any]) -> None:
    def forever() -> Iterator[torch.Tensor]:
        while True:
            yield IMAGES[:4]

    module["data"] = forever
    assert len(load_samples(f"{_MODULE}:data", [SHAPE], limit=9)) == 9


@pytest.mark.parametrize("alone", [True, False], ids=["examples", "batches"])
def test_a_function_may_fill_one_buffer_anew_for_each_item(
    module: dict[str, Any], *, alone: bool
) -> None:
    def filled() -> Iterator[torch.Tensor]:
        buffer = torch.empty(SHAPE[1:] if alone else (2, *SHAPE[1:]))
        for number in range(3):
            yield buffer.fill_(float(number))

    module["data"] = filled
    samples = load_samples(f"{_MODULE}:data", [SHAPE])
    values = [float(image.mean()) for (image,) in _all(samples)]
    assert values == ([0.0, 1.0, 2.0] if alone else [0.0, 0.0, 1.0, 1.0, 2.0, 2.0])


def test_a_function_gives_all_inputs_of_each_example(module: dict[str, Any]) -> None:
    module["data"] = lambda: [(IMAGES, LABELS.float()[:, None], LABELS)]
    samples = load_samples(f"{_MODULE}:data", [SHAPE, (1, 1)])
    left, right = samples[3]
    assert torch.equal(left[0], IMAGES[3])
    assert right.tolist() == [[3.0]]


def test_what_a_function_draws_is_the_same_each_time(module: dict[str, Any]) -> None:
    module["data"] = lambda: torch.randn(3, 3, 6, 6)
    first, second = (load_samples(f"{_MODULE}:data", [SHAPE], seed=4)[0] for _ in range(2))
    assert torch.equal(first[0], second[0])


def _fails() -> Iterator[torch.Tensor]:
    yield IMAGES[0]
    raise OSError("the disk is gone")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (lambda: [], "holds no examples"),
        (lambda: 5, "gives a int"),
        (lambda: [["a"]], "item 0 is a str, not a tensor"),
        (lambda: [IMAGES.byte()], r"item 0 is torch\.uint8, not float32"),
        (lambda: [IMAGES[:, :2]], "example 0 is 2x6x6, the model takes 3x6x6"),
        (lambda: [IMAGES / 0], "example 0 holds NaN or infinity"),
        (_fails, "failed: OSError: the disk is gone"),
        (lambda: 1 / 0, "failed: ZeroDivisionError"),
    ],
)
def test_a_function_that_does_not_fit_says_why(
    module: dict[str, Any], data: object, message: str
) -> None:
    module["data"] = data
    with pytest.raises(DataError, match=message):
        load_samples(f"{_MODULE}:data", [SHAPE])


def test_a_function_that_is_not_there_is_told() -> None:
    with pytest.raises(DataError, match="no module called 'no_such_module'"):
        load_samples("no_such_module:data", [SHAPE])


# --- all -------------------------------------------------------------------------------------


def test_random_numbers_are_those_of_the_seed() -> None:
    first, same, other = (load_samples("random", [SHAPE, (1, 2)], seed=seed) for seed in (1, 1, 2))
    assert len(first) == RANDOM_SAMPLES
    assert all(map(torch.equal, first[3], same[3]))
    assert not torch.equal(first[3][0], other[3][0])
    assert not torch.equal(first[3][0], first[4][0])


def test_examples_to_check_with_are_kept_apart_where_there_are_enough(tmp_path: Path) -> None:
    array = np.arange(40, dtype=np.float32).reshape(40, 1)
    samples = load_samples(_npz(tmp_path / "x.npz", x=array), [(1, 1)])
    measured, tried = samples.split()
    values = [{float(x) for (x,) in _all(part)} for part in (measured, tried)]
    assert not values[0] & values[1]
    assert len(values[1]) == CHECKED
    assert values[0] | values[1] == set(range(40))
    few = load_samples(_npz(tmp_path / "x.npz", x=array[:3]), [(1, 1)])
    assert [len(part) for part in few.split()] == [3, 3]


def test_too_few_examples_for_a_batch_are_told(tmp_path: Path) -> None:
    path = _npz(tmp_path / "x.npz", x=_images(3))
    with pytest.raises(DataError, match="holds 3 examples, the model takes 4 at a time"):
        load_samples(path, [(4, 3, 6, 6)])


def test_inputs_without_a_common_batch_cannot_be_calibrated() -> None:
    with pytest.raises(DataError, match="no common first axis"):
        load_samples("random", [(1, 2), (2, 2)])


@pytest.mark.parametrize(("count", "most"), [(0, 5), (3, 5), (5, 5), (100, 7), (8, 7)])
def test_an_even_choice_has_no_number_twice(count: int, most: int) -> None:
    chosen = spread(count, most)
    assert len(chosen) == min(count, most)
    assert chosen == sorted(set(chosen))
    assert all(0 <= number < count for number in chosen)
