"""An ONNX file as a module with examples of its inputs, compared with ONNX's own runtime."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from toolchain.convert.from_onnx.call import MOST_VALUES
from toolchain.convert.from_onnx.file import Graph, in_float32, read
from toolchain.convert.from_onnx.network import OnnxNetwork
from toolchain.errors import ModelError, VerificationError, failure, first_line
from toolchain.foreign_text import harmless
from toolchain.formats.input_file import check_readable

Shape = tuple[int, ...]
_TOLERANCE = 1e-3
"""Of a difference beside the largest value of an output. What is read wrong is far above; rounding
in deep networks is at 1e-5, and the file itself is compared with torch to 1e-5 of each channel."""


def load(path: Path, shapes: Sequence[Shape] | None) -> tuple[nn.Module, list[Tensor], list[str]]:
    """Read a file and make torch's module of it.

    Args:
        path: of the file.
        shapes: of its inputs; where there are none, as it says itself, and a batch of 1.

    Returns:
        The module in eval mode, an example of each input, and what there is to tell, a sentence
        each.

    Raises:
        ModelError: it cannot be read, or holds what is not known here; says which and what to do.
        VerificationError: the module does not compute what onnxruntime does.
        MissingToolError: a package of the extra ``onnx`` is not installed.
    """
    check_readable(path, ModelError)
    graph = read(path)
    chosen = _shapes(path, graph, shapes)
    module = OnnxNetwork(graph, chosen, path).eval()
    notes = []
    if graph.floats:
        kinds = " and ".join(graph.floats)
        notes.append(f"what is {kinds} in ONNX is float32 in the file")
    notes.append(_compared(path, graph, module, chosen))
    return module, [torch.zeros(shape) for shape in chosen], notes


def _shapes(path: Path, graph: Graph, given: Sequence[Shape] | None) -> list[Shape]:
    own = list(graph.inputs.values())
    shown = harmless(" and ".join("x".join(map(str, shape)) for shape in own))
    if not own:
        raise ModelError(f"{path}: takes no input")
    if given:
        if len(given) != len(own) or not all(map(_fits, given, own)):
            wanted = " and ".join("x".join(map(str, shape)) for shape in given)
            raise ModelError(
                f"{path}: was exported for input shape {shown}, not {wanted}",
                hint="leave --input-shape away, or export the model again",
            )
        return [tuple(shape) for shape in given]
    found = []
    for known in own:
        sizes = [size if isinstance(size, int) and size > 0 else None for size in known]
        if sizes and sizes[0] is None:
            sizes[0] = 1
        if not sizes or None in sizes:
            raise ModelError(
                f"{path}: its input shape {shown} is not fixed",
                hint="give it as --input-shape 1,3,224,224 (N,C,H,W), once an input",
            )
        shape = tuple(size for size in sizes if size is not None)
        if math.prod(shape) > MOST_VALUES:
            raise ModelError(f"{path}: its input shape {shown} is larger than a gibibyte")
        found.append(shape)
    return found


def _fits(shape: Shape, known: tuple[int | str, ...]) -> bool:
    return len(shape) == len(known) and all(
        one in (size, 0) or isinstance(one, str) for one, size in zip(known, shape, strict=True)
    )


def _compared(path: Path, graph: Graph, module: nn.Module, shapes: Sequence[Shape]) -> str:
    """Run both on one random input; returns the sentence about it.

    A model of other floats is run in float32, which it is in the file: its own rounding would hide
    what is read wrong. That is a model of ours, so what does not run it is no fault of the file.
    """
    import onnxruntime

    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(shape, generator=generator) for shape in shapes]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # it writes on standard error itself
    name = f"onnxruntime {onnxruntime.__version__}"
    try:
        session = onnxruntime.InferenceSession(
            in_float32(path) if graph.floats else str(path),
            options,
            providers=["CPUExecutionProvider"],
        )
        expected = session.run(
            list(graph.outputs),
            {key: item.numpy() for key, item in zip(graph.inputs, inputs, strict=True)},
        )
    except Exception as error:
        if graph.floats:
            return f"not compared with {name}, which does not run it in float32"
        raise ModelError(
            f"{path}: {name} does not run it: {first_line(error)[:300]}",
            hint="onnx.checker.check_model(path, full_check=True) may say more",
        ) from error
    try:
        with torch.no_grad():
            results = module(*inputs)
    except Exception as error:
        raise failure(ModelError, f"running {path} in torch", error) from error
    worst = 0.0
    for number, (one, other) in enumerate(
        zip([results] if isinstance(results, Tensor) else results, expected, strict=True)
    ):
        apart = _apart(one.numpy(), np.asarray(other))
        if not apart <= _TOLERANCE:
            raise VerificationError(
                f"{path}: output {number} is read otherwise than {name} computes it: it differs by "
                f"{apart:.2g} of its largest value",
                hint="no file was written; the fault is in how the ONNX file is read here: please "
                "report it, with the file",
            )
        worst = max(worst, apart)
    return f"read as {name} computes it: outputs differ by {worst:.1g} of the largest at most"


def _apart(one: np.ndarray, other: np.ndarray) -> float:
    if one.shape != other.shape:
        return math.inf
    if not one.size:
        return 0.0
    scale = max(float(np.abs(other.astype(np.float64)).max()), 1e-30)
    return float(np.abs(one.astype(np.float64) - other.astype(np.float64)).max()) / scale
