"""Reading the images; the package itself is fetched by the demo and by training."""

from __future__ import annotations

import gzip
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from toolchain.errors import SourceError
from toolchain.zoo import fashion_mnist
from toolchain.zoo.fashion_mnist import normalise, read_idx


def idx(array: NDArray[np.generic]) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return b"\0\0\x08" + bytes([array.ndim]) + sizes + array.astype(np.uint8).tobytes()


def written(path: Path, raw: bytes) -> Path:
    path.write_bytes(gzip.compress(raw))
    return path


@pytest.mark.parametrize("shape", [(5,), (3, 28, 28), (0, 28, 28)])
def test_an_idx_file_is_read_with_its_shape(tmp_path: Path, shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    got = read_idx(written(tmp_path / "a.gz", idx(array)))
    assert got.dtype == np.uint8
    assert got.flags.writeable
    np.testing.assert_array_equal(got, array)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\0\0\x08",
        b"hello, world",
        idx(np.zeros((3, 4)))[:-1],
        idx(np.zeros((3, 4))) + b"\0",
        b"\0\0\x0d" + idx(np.zeros(3))[3:],
        b"\0\0\x08\x03" + bytes(5),
    ],
)
def test_a_damaged_idx_file_is_refused(tmp_path: Path, raw: bytes) -> None:
    with pytest.raises(SourceError, match="is not a whole IDX file"):
        read_idx(written(tmp_path / "a.gz", raw))


def test_a_truncated_or_foreign_archive_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.gz", idx(np.arange(200)))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(SourceError, match="cannot be read"):
        read_idx(path)
    path.write_bytes(b"no gzip")
    with pytest.raises(SourceError, match="cannot be read"):
        read_idx(path)
    with pytest.raises(SourceError, match="cannot be read"):
        read_idx(tmp_path / "absent.gz")


def test_pixels_are_scaled_and_centred() -> None:
    images = np.array([[[0, 255], [73, 73]]], dtype=np.uint8)
    got = normalise(images)
    assert got.shape == (1, 1, 2, 2)
    assert got.dtype == torch.float32
    low, high, mean, _ = got.flatten().tolist()
    assert low == pytest.approx(-0.2860 / 0.3530)
    assert high == pytest.approx((1 - 0.2860) / 0.3530)
    assert abs(mean) < 0.01


def package(folder: Path, files: dict[str, bytes]) -> Path:
    """A minimal ``.deb`` that holds the files under the data set's folder."""
    tree = folder / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(
        "Package: dataset-fashion-mnist\nVersion: 0\nArchitecture: all\n"
        "Maintainer: nobody <nobody@invalid>\nDescription: test\n"
    )
    data = tree / "usr/share/datasets/fashion-mnist"
    data.mkdir(parents=True)
    for name, raw in files.items():
        (data / name).write_bytes(gzip.compress(raw))
    deb = folder / "made.deb"
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", tree, deb], check=True)  # noqa: S607 - the one that is there
    return deb


def test_a_split_is_unpacked_from_the_package_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.arange(2 * 784).reshape(2, 28, 28) % 256
    deb = package(
        tmp_path,
        {
            "t10k-images-idx3-ubyte.gz": idx(images),
            "t10k-labels-idx1-ubyte.gz": idx(np.array([3, 9])),
        },
    )
    fetched = []

    class Apt:
        def __init__(self, *_: object, **__: object) -> None: ...

        def fetch_debs(self, packages: list[str], **_: object) -> list[Path]:
            fetched.extend(packages)
            return [deb]

    monkeypatch.setenv("TILESKIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fashion_mnist, "AptRoot", Apt)
    for _ in range(2):
        got, labels = fashion_mnist.load("test")
        np.testing.assert_array_equal(got, images)
        assert labels.tolist() == [3, 9]
    assert len(fetched) == 1
