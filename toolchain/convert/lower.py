"""Lower a torch module to a ``.tflite`` file with litert-torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, fx, nn

from toolchain.agreement import interpreter
from toolchain.agreement.silence import quiet
from toolchain.convert.converter import litert_torch
from toolchain.convert.culprit import find_culprit
from toolchain.convert.explain import lowering_failure
from toolchain.storage.scratch import temporary_folder
from toolchain.tflite_file.graph import read_model


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
        OSError: the file cannot be written.
        ModelError: the model holds something that the converter cannot lower, or that no runtime
            loads; names the operator and its line.
    """
    try:
        _convert(module, inputs, outputs, path)
    except OSError:
        raise  # nothing is wrong with the model
    except Exception as error:
        graph = getattr(module, "module", None)
        node = find_culprit(graph, _single) if isinstance(graph, fx.GraphModule) else None
        raise lowering_failure(node) from error


def _convert(
    module: nn.Module,
    inputs: Sequence[tuple[int, ...]],
    outputs: Sequence[tuple[int, ...]],
    path: Path,
    types: Sequence[torch.dtype] | None = None,
) -> None:
    """Raises whatever the converter does, or the interpreter that cannot load what it wrote."""
    converter = litert_torch()
    types = types or [torch.float32] * len(inputs)
    with quiet():
        wrapped = converter.to_channel_last_io(
            module,
            args=[i for i, shape in enumerate(inputs) if len(shape) == 4],
            outputs=[i for i, shape in enumerate(outputs) if len(shape) == 4],
        )
        samples = tuple(
            torch.zeros(channel_last(shape), dtype=kind)
            for shape, kind in zip(inputs, types, strict=True)
        )
        content = converter.convert(wrapped, samples).model_content()
        path.write_bytes(content)  # its own export ends the process where the disk is full
        interpreter.load(path, "builtin")
    # Operators that came later than TFLite 2.14, which our runtime is.
    late = [op.op for op in read_model(path).graph.operators if op.op.startswith("STABLEHLO_")]
    if late:
        raise ValueError(f"{late[0]} is not in TFLite 2.14")


def _single(module: nn.Module, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
    """Convert one operator to nothing."""
    with temporary_folder() as folder:
        _convert(
            module,
            [tuple(tensor.shape) for tensor in inputs],
            [tuple(tensor.shape) for tensor in outputs],
            folder / "one.tflite",
            [tensor.dtype for tensor in inputs],
        )


def channel_last(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape as it is in the file: ``[N, C, H, W]`` -> ``[N, H, W, C]``; others stay."""
    return (shape[0], *shape[2:], shape[1]) if len(shape) == 4 else shape
