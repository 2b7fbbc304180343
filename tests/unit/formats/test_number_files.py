"""Files of numpy's are read as numbers alone, and take no more memory than there is."""

from __future__ import annotations

import io
import resource
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain.errors import DataError
from toolchain.formats.number_files import load_npy, load_npz


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (1,), (2, 3, 4)])
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "i1", "<c8", "?"])
def test_what_was_saved_is_read(tmp_path: Path, shape: tuple[int, ...], dtype: str) -> None:
    array = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    np.save(tmp_path / "a.npy", array)
    np.savez_compressed(tmp_path / "a.npz", first=array, second=array)
    both = load_npz(tmp_path / "a.npz", DataError)
    assert list(both) == ["first", "second"]
    for one in (load_npy(tmp_path / "a.npy", DataError), *both.values()):
        assert (one.dtype, one.shape) == (array.dtype, shape)
        np.testing.assert_array_equal(one, array)


def npy_that_claims(shape: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue() + bytes(64)


@pytest.mark.parametrize("shape", [(1 << 40,), (1 << 62, 1 << 62), (-1,), (1 << 20, 1 << 10)])
def test_a_file_that_claims_more_than_it_holds_is_refused(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    (tmp_path / "a.npy").write_bytes(npy_that_claims(shape))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", npy_that_claims(shape))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match=r"a\.npy: "):
        load_npy(tmp_path / "a.npy", DataError)
    with pytest.raises(DataError, match=r"a\.npz: "):
        load_npz(tmp_path / "a.npz", DataError)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + (200 << 10)


def test_an_archive_that_unpacks_to_more_than_the_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez_compressed(tmp_path / "a.npz", np.zeros(1 << 20, np.float32))
    monkeypatch.setattr("toolchain.formats.number_files.free_memory", lambda: 1 << 20)
    with pytest.raises(DataError, match=r"a\.npz: unpacks to 0\.0 GiB, and 0\.0 GiB of memory"):
        load_npz(tmp_path / "a.npz", DataError)


def test_objects_are_not_read(tmp_path: Path) -> None:
    class Runs:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (tmp_path / "ran",)

    objects = np.array([Runs()], dtype=object)
    np.save(tmp_path / "a.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "a.npz", objects)
    with pytest.raises(DataError, match=r"is no \.npy file of plain numbers"):
        load_npy(tmp_path / "a.npy", DataError)
    with pytest.raises(DataError, match=r"is no \.npz file of plain numbers"):
        load_npz(tmp_path / "a.npz", DataError)
    assert not (tmp_path / "ran").exists()


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_the_users_error(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp()
    array, whole = np.arange(20.0), io.BytesIO()
    compressed = data.draw(st.booleans())
    np.savez_compressed(whole, a=array) if compressed else np.save(whole, array)
    raw = bytearray(whole.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path = folder / "damaged"
    path.write_bytes(raw[: data.draw(st.integers(0, len(raw)))])
    for load in (load_npy, load_npz):
        with suppress(DataError):
            load(path, DataError)
