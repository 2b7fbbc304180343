"""Arrays that a user saved with numpy, read without code and without more memory than there is."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from toolchain.errors import DeployError, first_line
from toolchain.formats.input_file import check_readable

Array = npt.NDArray[Any]


def load_npy(path: Path, fault: type[DeployError]) -> Array:
    """The array of an ``.npy`` file.

    Raises:
        DeployError: of class ``fault``: it cannot be read, holds objects, or less than it says.
    """
    check_readable(path, fault)
    try:
        # Mapped, one that says that it holds more than it does is refused before memory is taken.
        return np.array(np.load(path, mmap_mode="r", allow_pickle=False))
    except OSError as error:
        raise fault(f"{path}: cannot be read: {error.strerror or error}") from error
    except MemoryError as error:
        raise fault(f"{path}: holds more than the memory takes") from error
    except Exception as error:  # numpy's own, and those of Python's parser, which reads the header
        raise fault(f"{path}: is no .npy file of plain numbers: {first_line(error)}") from error


def load_npz(path: Path, fault: type[DeployError]) -> dict[str, Array]:
    """The arrays of an ``.npz`` file, by their names.

    Raises:
        DeployError: of class ``fault``: it cannot be read, holds objects, or unpacks to more than
            the memory that is free.
    """
    check_readable(path, fault)
    try:
        with zipfile.ZipFile(path) as archive:
            _check_room(path, archive, fault)
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except DeployError:
        raise
    except OSError as error:
        raise fault(f"{path}: cannot be read: {error.strerror or error}") from error
    except MemoryError as error:
        raise fault(f"{path}: holds more than the memory takes") from error
    except Exception as error:  # zipfile, zlib and numpy each have their own
        raise fault(f"{path}: is no .npz file of plain numbers: {first_line(error)}") from error


def _check_room(path: Path, archive: zipfile.ZipFile, fault: type[DeployError]) -> None:
    unpacked, free = sum(item.file_size for item in archive.infolist()), free_memory()
    if unpacked > free:
        raise fault(
            f"{path}: unpacks to {unpacked / 2**30:,.1f} GiB, and {free / 2**30:,.1f} GiB of "
            "memory are free"
        )


def free_memory() -> int:
    """Bytes that can be taken without anything being written to disk."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
