from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.bundles import write_masked_model, write_two_input_model
from toolchain.board import arrays
from toolchain.errors import ModelError, OutputError
from toolchain.tflite_file.graph import Model, read_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Input ``[1, 6, 6, 3]``, output ``[1, 6, 6, 4]``."""
    path = tmp_path_factory.mktemp("m") / "m.tflite"
    return read_model(write_masked_model(path, size=6, channels=4))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return read_model(write_two_input_model(tmp_path_factory.mktemp("m") / "pair.tflite"))


def save(path: Path, *shape: int, dtype: str = "float32") -> Path:
    np.save(path, np.arange(np.prod(shape)).reshape(shape).astype(dtype))
    return path


@pytest.mark.parametrize(
    ("shape", "count", "output_shape"),
    [
        ((1, 6, 6, 3), 1, (1, 6, 6, 4)),
        ((5, 6, 6, 3), 5, (5, 6, 6, 4)),
        ((5, 1, 6, 6, 3), 5, (5, 1, 6, 6, 4)),
    ],
)
def test_outputs_take_the_form_of_the_inputs(
    model: Model, tmp_path: Path, shape: tuple[int, ...], count: int, output_shape: tuple[int, ...]
) -> None:
    batch = arrays.load_inputs(model, [save(tmp_path / "x.npy", *shape)])
    assert batch.count == count
    assert batch.arrays[0].shape == (count, 1, 6, 6, 3)
    (output,) = batch.shaped([np.zeros((count, 1, 6, 6, 4), np.float32)])
    assert output.shape == output_shape


@given(count=st.integers(1, 5))
def test_raw_files_hold_any_number_of_inferences(
    model: Model, tmp_path_factory: pytest.TempPathFactory, count: int
) -> None:
    path = tmp_path_factory.mktemp("raw") / "x.bin"
    data = np.random.default_rng(0).standard_normal((count, 1, 6, 6, 3)).astype(np.float32)
    path.write_bytes(arrays.raw(data))
    assert np.array_equal(arrays.load_inputs(model, [path]).arrays[0], data)


def test_big_endian_and_transposed_arrays_are_sent_right() -> None:
    plain = np.arange(6, dtype=np.float32).reshape(2, 3)
    odd = np.asfortranarray(plain.astype(">f4"))
    assert arrays.raw(odd) == plain.tobytes()


@pytest.mark.parametrize(
    ("shape", "dtype", "fault"),
    [
        ((1, 6, 6, 3), "float64", "is float64, input 't0' is float32"),
        ((1, 6, 6, 3), "uint8", "is uint8"),
        ((1, 3, 6, 6), "float32", r"has shape \[1, 3, 6, 6\], input 't0' is float32\[1, 6, 6, 3\]"),
        ((6, 6, 3), "float32", "has shape"),
        ((2, 2, 6, 6, 3), "float32", "has shape"),
        ((0, 6, 6, 3), "float32", "holds no data"),
    ],
)
def test_shape_and_type_are_checked(
    model: Model, tmp_path: Path, shape: tuple[int, ...], dtype: str, fault: str
) -> None:
    with pytest.raises(ModelError, match=fault) as caught:
        arrays.load_inputs(model, [save(tmp_path / "x.npy", *shape, dtype=dtype)])
    assert str(tmp_path / "x.npy") in caught.value.what


def test_a_raw_file_of_another_size_is_refused(model: Model, tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(bytes(433))
    with pytest.raises(ModelError, match="433 bytes are no multiple of 432"):
        arrays.load_inputs(model, [tmp_path / "x.bin"])


@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
@pytest.mark.parametrize("content", [b"", b"not an array", b"\x93NUMPY\x01\x00"])
def test_a_damaged_file_is_refused(model: Model, tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=name):
        arrays.load_inputs(model, [tmp_path / name])


def test_pickled_objects_are_never_loaded(model: Model, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ModelError, match="plain numbers"):
        arrays.load_inputs(model, [tmp_path / "x.npy"])


def test_a_file_that_is_not_there_is_named(model: Model, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"absent\.npy: cannot be read"):
        arrays.load_inputs(model, [tmp_path / "absent.npy"])


def test_the_number_of_files_is_checked(pair: Model, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="takes 2 inputs, 1 files") as caught:
        arrays.load_inputs(pair, [save(tmp_path / "a.npy", 1, 4)])
    assert "'t0' float32[1, 4], 't1' float32[1, 4]" in (caught.value.hint or "")


def test_inputs_must_hold_equally_many_inferences(pair: Model, tmp_path: Path) -> None:
    files = [save(tmp_path / "a.npy", 2, 4), save(tmp_path / "b.npy", 3, 4)]
    with pytest.raises(ModelError, match="different numbers of inferences"):
        arrays.load_inputs(pair, files)


def test_an_npz_is_taken_by_name_else_in_order(pair: Model, tmp_path: Path) -> None:
    first, second = np.zeros((1, 4), np.float32), np.ones((1, 4), np.float32)
    np.savez(tmp_path / "named.npz", t1=second, t0=first)
    np.savez(tmp_path / "ordered.npz", first, second)
    for name in ("named.npz", "ordered.npz"):
        batch = arrays.load_inputs(pair, [tmp_path / name])
        assert [float(array.max()) for array in batch.arrays] == [0.0, 1.0]


def test_outputs_are_written_as_npy(tmp_path: Path) -> None:
    value = np.arange(4, dtype=np.int8)
    (path,) = arrays.save_outputs(tmp_path / "new" / "folder", [value])
    assert path.name == "output0.npy"
    assert np.array_equal(np.load(path), value)
    assert [item.name for item in path.parent.iterdir()] == ["output0.npy"]


def test_outputs_that_cannot_be_written_are_kept_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written") as caught:
        arrays.save_outputs(tmp_path / "file" / "sub", [np.zeros(1), np.ones(2)])
    assert caught.value.hint is not None
    kept = Path(caught.value.hint.rpartition(" ")[2])
    assert np.array_equal(np.load(kept / "output1.npy"), np.ones(2))
