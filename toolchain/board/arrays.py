"""Inputs and outputs of a model as arrays: from files, to files, checked against the model."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from toolchain.agreement.differences import Array
from toolchain.agreement.inputs import Batch, model_inputs
from toolchain.agreement.inputs import model_outputs as model_outputs
from toolchain.errors import ModelError, OutputError
from toolchain.formats.input_file import read_limited
from toolchain.formats.number_files import free_memory, load_npy, load_npz
from toolchain.storage.files import check_folder, check_writable, make_folder, write_whole
from toolchain.tflite_file.graph import Model, Tensor

Inputs = Array | Sequence[Array] | Mapping[str, Array]
"""Of a model: of its one input, of each, or of each by its name."""


def load_inputs(model: Model, files: Sequence[Path]) -> Batch:
    """Read input files and check them against the model.

    ``.npy``: one input tensor, in the model's shape, or with one more axis in front for several
    inferences; where the model's own first axis is 1 it may hold their number. ``.npz``: all
    input tensors, by name or in order. Any other file: raw little-endian data of one or more
    inferences.

    Raises:
        ModelError: a file cannot be read, or its shape or type is not what the model takes; the
            number of files or of inferences does not fit.
    """
    tensors = model_inputs(model)
    if len(files) == 1 and files[0].suffix == ".npz":
        named = [(str(files[0]), array) for array in _load_npz(files[0], tensors)]
    else:
        if len(files) != len(tensors):
            wanted = ", ".join(f"'{item.name}' {_shown(item)}" for item in tensors)
            raise ModelError(
                f"{model.path}: takes {len(tensors)} inputs, {len(files)} files were given",
                hint=f"give --input once for each, in this order: {wanted}",
            )
        named = [(str(file), _load(file, item)) for file, item in zip(files, tensors, strict=True)]
    return _joined(model, named, tensors)


def batch_of(model: Model, inputs: Inputs) -> Batch:
    """Check inputs against a model, as :func:`load_inputs` does those of files.

    Args:
        model: that they are for.
        inputs: an array, for a model with one input; a sequence with an array an input; or arrays
            by the names of the inputs. Each is in the model's shape, or has one more axis in front
            for several inferences; where the model's own first axis is 1 it may hold their number.

    Raises:
        ModelError: shapes, types, names or numbers are not what the model takes.
    """
    tensors = model_inputs(model)
    wanted = ", ".join(f"'{item.name}' {_shown(item)}" for item in tensors)
    if isinstance(inputs, Mapping):
        if set(inputs) != {item.name for item in tensors}:
            there = ", ".join(f"'{name}'" for name in inputs)
            raise ModelError(f"{model.path}: takes the inputs {wanted}; given were {there}")
        arrays = [inputs[item.name] for item in tensors]
    else:
        arrays = list(inputs) if isinstance(inputs, list | tuple) else [np.asarray(inputs)]
    if len(arrays) != len(tensors):
        raise ModelError(
            f"{model.path}: takes {len(tensors)} inputs, {len(arrays)} arrays were given",
            hint=f"give a list with one for each, in this order: {wanted}",
        )
    names = [f"{model.path}: the array for '{item.name}'" for item in tensors]
    return _joined(model, list(zip(names, map(np.asarray, arrays), strict=True)), tensors)


def _joined(model: Model, named: Sequence[tuple[str, Array]], tensors: Sequence[Tensor]) -> Batch:
    """Arrays, each with what an error calls it, as the inputs of inferences."""
    pairs = list(zip(named, tensors, strict=True))
    stacked = [_stack(where, array, item) for (where, array), item in pairs]
    counts = {array.shape[0] for array, _ in stacked}
    if len(counts) != 1:
        raise ModelError(
            f"{model.path}: the inputs hold different numbers of inferences: "
            + ", ".join(f"{where}: {len(array)}" for (where, _), (array, _) in
                        zip(named, stacked, strict=True))
        )  # fmt: skip
    if counts == {0}:
        raise ModelError(f"{named[0][0]}: holds no data")
    return Batch(tuple(array for array, _ in stacked), any(joined for _, joined in stacked))


def raw(array: Array) -> bytes:
    """An array as the runner reads it: C order, little-endian."""
    return np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def check_outputs(folder: Path, model: Model, inputs: Iterable[Path] = ()) -> None:
    """Make sure that a model's outputs can be written to a folder, before it is run.

    Args:
        folder: where :func:`save_outputs` writes.
        model: that is run.
        inputs: files that are read, none of which may be replaced by an output.

    Raises:
        OutputError: the folder or a file cannot be written, or is an input.
    """
    check_folder(folder)
    if folder.is_dir():
        for path in _paths(folder, len(model_outputs(model))):
            check_writable(path, inputs=inputs)


def save_outputs(folder: Path, arrays: Sequence[Array]) -> list[Path]:
    """Write ``output0.npy`` and so on; each file is whole or not there.

    Raises:
        OutputError: the folder or a file cannot be written; says where the outputs are kept.
    """
    try:
        return _save(folder, arrays)
    except OutputError as error:
        try:
            kept = Path(tempfile.mkdtemp(prefix="tileskip-"))
            _save(kept, arrays)
        except (OSError, OutputError):
            raise error from None
        raise OutputError(error.what, hint=f"the outputs are kept in {kept}") from error


def _save(folder: Path, arrays: Sequence[Array]) -> list[Path]:
    make_folder(folder)
    paths = _paths(folder, len(arrays))
    for path, array in zip(paths, arrays, strict=True):
        write_whole(path, partial(np.save, arr=array, allow_pickle=False))
    return paths


def _paths(folder: Path, count: int) -> list[Path]:
    return [folder / f"output{index}.npy" for index in range(count)]


def _load(file: Path, tensor: Tensor) -> Array:
    try:
        if file.suffix == ".npy":
            return load_npy(file, ModelError)
        if file.suffix == ".npz":
            raise ModelError(f"{file}: an .npz holds all inputs: give it alone")
        data = read_limited(file, free_memory())
    except OSError as error:
        raise ModelError(f"{file}: cannot be read: {error.strerror or error}") from error
    dtype = np.dtype(tensor.dtype).newbyteorder("<")
    one = dtype.itemsize * tensor.elements
    if not data or len(data) % one:
        raise ModelError(
            f"{file}: {len(data):,} bytes are no multiple of {one:,}, the size of input "
            f"'{tensor.name}' {_shown(tensor)}"
        )
    return np.frombuffer(data, dtype).reshape(-1, *tensor.shape)


def _load_npz(file: Path, tensors: Sequence[Tensor]) -> list[Array]:
    arrays = load_npz(file, ModelError)
    if len(arrays) != len(tensors):
        raise ModelError(
            f"{file}: holds {len(arrays)} arrays, the model takes {len(tensors)} inputs: "
            + ", ".join(f"'{item.name}'" for item in tensors)
        )
    names = [item.name for item in tensors]
    order = names if set(names) == set(arrays) else list(arrays)
    return [arrays[name] for name in order]


def _stack(where: str, array: Array, tensor: Tensor) -> tuple[Array, bool]:
    """An array as ``[count, *shape]``, and whether the model's own first axis was the count."""
    dtype = np.dtype(tensor.dtype)
    if array.dtype.newbyteorder("=") != dtype:
        raise ModelError(
            f"{where}: is {array.dtype.name}, input '{tensor.name}' is {dtype.name}",
            hint=f"in numpy: numpy.save(file, array.astype(numpy.{dtype.name}))",
        )
    if array.shape == tensor.shape:
        return array[None], False
    if array.shape[1:] == tensor.shape:
        return array, False
    if tensor.shape[:1] == (1,) and array.shape[1:] == tensor.shape[1:]:
        return array[:, None], True
    raise ModelError(
        f"{where}: has shape {list(array.shape)}, input '{tensor.name}' is {_shown(tensor)}",
        hint="one more axis in front holds several inputs; images are [N, height, width, channels]",
    )


def _shown(tensor: Tensor) -> str:
    return f"{tensor.dtype}{list(tensor.shape)}"
