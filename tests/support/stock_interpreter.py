"""The reference of runtime tests: the stock interpreter of ai-edge-litert, in both its ways.

Its own kernels are plain loops that have nothing in common with ours. Its XNNPACK is a later one
than ours, and its delegate was written for it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from support.tflite_writer import Array

Kernels = Literal["plain", "xnnpack"]
KERNELS: tuple[Kernels, ...] = ("plain", "xnnpack")


def run_stock(model: Path, x: Array, kernels: Kernels = "plain") -> list[Array]:
    """The outputs of a model of one input."""
    without = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    resolver = without if kernels == "plain" else OpResolverType.AUTO
    interpreter = Interpreter(str(model), experimental_op_resolver_type=resolver, num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    return [interpreter.get_tensor(item["index"]) for item in interpreter.get_output_details()]


def assert_near_stock(outputs: list[Array], model: Path, x: Array, tolerance: float = 1e-5) -> None:
    """Outputs equal those of both ways: within a part of the largest value, or within a step."""
    for kernels in KERNELS:
        for output, wanted in zip(outputs, run_stock(model, x, kernels), strict=True):
            finite = np.abs(wanted[np.isfinite(wanted)].astype(np.float64))
            limit = 1.0 if wanted.dtype.kind in "iu" else tolerance * finite.max(initial=1.0)
            np.testing.assert_allclose(
                output.astype(np.float64), wanted.astype(np.float64), rtol=0, atol=limit,
                err_msg=kernels,
            )  # fmt: skip
