"""The reference of runtime tests: the stock interpreter of ai-edge-litert, in both its ways.

Its own kernels are plain loops that have nothing in common with ours. Its XNNPACK is a later one
than ours, and its delegate was written for it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

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
