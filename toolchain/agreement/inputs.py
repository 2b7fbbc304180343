"""The inputs of a check: arrays for a model, and random ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from toolchain.agreement.differences import Array
from toolchain.errors import ModelError
from toolchain.tflite_file.graph import Model, Tensor

_DTYPES = (
    *("float32", "float16", "float64", "int8", "uint8", "int16", "uint16"),
    *("int32", "uint32", "int64", "uint64", "bool"),
)


@dataclass(frozen=True)
class Batch:
    """Inputs of one or more inferences, ``arrays[i]`` being ``[count, *shape of input i]``."""

    arrays: tuple[Array, ...]
    joined: bool
    """Whether the first axis of the model, of size 1, stood for the number of inferences."""

    @property
    def count(self) -> int:
        """Number of inferences."""
        return int(self.arrays[0].shape[0]) if self.arrays else 0

    def shaped(self, outputs: Sequence[Array]) -> list[Array]:
        """Outputs ``[count, *shape]`` in the same form in which the inputs were given."""
        if self.joined and all(array.ndim > 1 and array.shape[1] == 1 for array in outputs):
            return [array.reshape(array.shape[0], *array.shape[2:]) for array in outputs]
        if self.count == 1 and not self.joined:
            return [array[0] for array in outputs]
        return list(outputs)


def model_inputs(model: Model) -> list[Tensor]:
    """The input tensors, in the model's order."""
    return [_static(model, model.graph.tensors[index]) for index in model.graph.inputs]


def model_outputs(model: Model) -> list[Tensor]:
    """The output tensors, in the model's order."""
    return [_static(model, model.graph.tensors[index]) for index in model.graph.outputs]


def random_inputs(model: Model, count: int, seed: int) -> Batch:
    """Random inputs of a model, see :func:`random_arrays`."""
    kinds = [(tensor.shape, tensor.dtype) for tensor in model_inputs(model)]
    return Batch(tuple(random_arrays(kinds, count, seed)), joined=False)


def random_arrays(
    kinds: Sequence[tuple[Sequence[int], str]], count: int, seed: int, *, images: int = 0
) -> list[Array]:
    """``[count, *shape]`` of each shape and type, always the same of one seed.

    Floats have mean 0 and variance 1, integers are anywhere in their range.

    Args:
        kinds: shape and type of each, as numpy names it.
        count: inferences.
        seed: of the numbers.
        images: of so many inferences, the last ones, floats are uniform in [0, 1) like an image.
    """
    generator = np.random.default_rng(seed)
    arrays: list[Array] = []
    for one, name in kinds:
        shape, dtype = (count, *one), np.dtype(name)
        if dtype.kind == "f":
            array = generator.standard_normal(shape)
            if images:
                array[count - images :] = generator.random((images, *one))
            arrays.append(array.astype(dtype))
        elif dtype.kind == "b":
            arrays.append(generator.integers(0, 2, shape).astype(dtype))
        else:
            span = np.iinfo(dtype)
            arrays.append(
                generator.integers(span.min, span.max, shape, dtype=dtype.type, endpoint=True)
            )
    return arrays


def _static(model: Model, tensor: Tensor) -> Tensor:
    if tensor.dtype not in _DTYPES:
        raise ModelError(
            f"{model.path}: '{tensor.name}' is of type {tensor.dtype}, which cannot be a file",
            hint=f"types that can: {', '.join(_DTYPES)}",
        )
    if any(size < 1 for size in tensor.shape):
        raise ModelError(
            f"{model.path}: '{tensor.name}' has no fixed shape: {list(tensor.shape)}",
            hint="convert the model with fixed input shapes",
        )
    return tensor
