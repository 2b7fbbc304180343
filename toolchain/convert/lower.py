"""Lower a torch module to a ``.tflite`` file with litert-torch."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from toolchain.convert.silence import quiet
from toolchain.errors import ModelError

_OFFLINE = {
    "LITERT_TORCH_SHOW_PROGRESS": "n",
    # litert-torch imports transformers, which would otherwise ask the network for models.
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
}


def lower(
    module: nn.Module,
    inputs: Sequence[tuple[int, ...]],
    outputs: Sequence[tuple[int, ...]],
    path: Path,
) -> None:
    """Write ``path``; inputs and outputs of rank 4 become channel-last in the file.

    Args:
        module: takes one float32 tensor an input and gives a tuple of tensors.
        inputs: shapes as torch has them, ``[N, C, H, W]`` for rank 4.
        outputs: likewise.
        path: where the file goes; it is not complete until this function returns.

    Raises:
        ModelError: the model holds something that the converter cannot lower.
    """
    for name, value in _OFFLINE.items():
        os.environ.setdefault(name, value)
    with quiet() as log:
        try:
            converter = importlib.import_module("litert_torch")
            wrapped = converter.to_channel_last_io(
                module,
                args=[i for i, shape in enumerate(inputs) if len(shape) == 4],
                outputs=[i for i, shape in enumerate(outputs) if len(shape) == 4],
            )
            samples = tuple(torch.zeros(channel_last(shape)) for shape in inputs)
            converter.convert(wrapped, samples).export(str(path))
        except Exception as error:
            last = log.tail(5)
            message = next(iter(str(error).splitlines()), "") or type(error).__name__
            raise ModelError(
                f"litert-torch could not convert the model: {message}"
                + (f"\n{last}" if last else ""),
                hint="replace the operator that it names, or export the model without it",
            ) from error


def channel_last(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape as it is in the file: ``[N, C, H, W]`` -> ``[N, H, W, C]``; others stay."""
    return (shape[0], *shape[2:], shape[1]) if len(shape) == 4 else shape
