"""What torch computes: the reference that a file's outputs are compared with.

A model may write into its inputs (``x.sub_(mean)``), into a buffer, or give a buffer of its own as
an output. So each inference gets inputs and buffers that nothing else holds, and what it gives is
copied before the next one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from toolchain.agreement.differences import Array, rounding_noise
from toolchain.agreement.inputs import random_arrays
from toolchain.convert.original import Original
from toolchain.convert.ports import channel_last_array
from toolchain.errors import VerificationError

SAMPLES = 5
"""Random inputs: three of mean 0 and variance 1, two uniform in [0, 1) like an image."""
_IMAGES = 2

State = Mapping[str, Tensor]


def random_inputs(source: Original, seed: int) -> list[list[Tensor]]:
    """``SAMPLES`` inferences' inputs."""
    kinds = [(shape, "float32") for shape in source.inputs]
    columns = random_arrays(kinds, SAMPLES, seed, images=_IMAGES)
    return [[torch.from_numpy(column[index]) for column in columns] for index in range(SAMPLES)]


def reference_outputs(source: Original, samples: Sequence[Sequence[Tensor]]) -> list[Array]:
    """Outputs ``[inferences, *shape]`` of the original model, with axes as the file has them.

    Args:
        source: the original model.
        samples: inputs of each inference, which stay as they are.

    Raises:
        VerificationError: they are not finite.
    """
    outputs = _run(source, samples, _state(source))
    if not all(np.isfinite(array).all() for array in outputs):
        raise VerificationError(
            f"{source.framework}'s own outputs are not finite on the inputs of the check, so "
            "nothing can be compared",
            hint="look for NaN or infinity in the weights and in BatchNorm's variances",
        )
    return outputs


def reference_noise(
    source: Original, samples: Sequence[Sequence[Tensor]], expected: Sequence[Array]
) -> list[Array]:
    """How far rounding to float32 moves each value: see :func:`~toolchain.agreement.differences.rounding_noise`.

    Weights and inputs are changed by their last bit, which stands for another order of summation
    and for BatchNorm that is folded.

    Args:
        source: the original model.
        samples: inputs of each inference.
        expected: the outputs of :func:`reference_outputs`.
    """  # noqa: E501
    state = _state(source)

    def moved(draw: int) -> list[Array]:
        generator = torch.Generator().manual_seed(draw)
        changed = {name: _moved(tensor, generator) for name, tensor in state.items()}
        rows = [[_moved(tensor, generator) for tensor in row] for row in samples]
        return _run(source, rows, changed)

    return rounding_noise(moved, expected)


def _run(source: Original, samples: Sequence[Sequence[Tensor]], state: State) -> list[Array]:
    rows: list[list[Array]] = []
    with torch.no_grad():
        for inputs in samples:
            own = {name: tensor.clone() for name, tensor in state.items()}
            given = tuple(tensor.clone() for tensor in inputs)
            found = torch.func.functional_call(source.reference, own, given)
            rows.append([channel_last_array(output).copy() for output in found])
    return [np.stack(arrays) for arrays in zip(*rows, strict=True)]


def _state(source: Original) -> dict[str, Tensor]:
    module = source.reference
    return {
        name: tensor.detach()
        for name, tensor in (*module.named_parameters(), *module.named_buffers())
    }


def _moved(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """Each value replaced by the next one, up or down; zeros, which nothing rounds to, stay."""
    if not tensor.is_floating_point():
        return tensor
    up = torch.rand(tensor.shape, generator=generator) < 0.5
    moved = tensor.nextafter(torch.where(up, torch.inf, -torch.inf).to(tensor.dtype))
    return torch.where(tensor == 0, tensor, moved)
