"""Quantise a float ``.tflite`` file: int8, dynamic range, or fp16 weights.

The work is ai-edge-quantizer's. What it is told here:

- int8 is for every operator that has such a form; weights per channel, activations per tensor. A
  ``SELECT_V2``, its convolution and its fill get the scale and zero point of its output, so that a
  runtime can skip masked pixels without requantising, and the mask stays bool. Operators that the
  runtime has no int8 kernel of (``DIV``, ``SQRT``) stay in float32.
- Ranges are smallest and largest values over all data. (The moving average that the quantizer
  takes on its own cuts off logits: 14 to 18 dB instead of 29 to 37 on Fashion-MNIST.)
- Fully connected weights of a dynamic-range file are quantised per tensor: tflite-runtime 2.14.0
  has kernels for nothing else, and computes nonsense from scales per channel without a word.
- For transposed convolutions it has no such kernels at all: their weights are int8 in the file, and
  a ``DEQUANTIZE`` unpacks them, which every runtime can do.
"""

from __future__ import annotations

import contextlib
import io
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from toolchain.agreement.silence import quiet
from toolchain.convert.kinds import Boundary, Kind
from toolchain.convert.ranges import Range, measure_ranges
from toolchain.convert.scales import fit_scales, narrow_ranges
from toolchain.errors import DeployError, ModelError, failure
from toolchain.tflite_file.graph import Model, parse_model
from toolchain.tflite_file.kernel_types import has_kernel

Array = npt.NDArray[Any]


def quantize_int8(
    path: Path,
    inputs: Iterable[Sequence[Array]],
    *,
    boundary: Boundary,
    step: Callable[[], None],
) -> None:
    """Quantise weights and activations of a file to int8, in place.

    Args:
        path: a float32 ``.tflite`` file.
        inputs: calibration data, see :func:`toolchain.convert.ranges.measure_ranges`.
        boundary: ``float32`` puts QUANTIZE behind inputs and DEQUANTIZE before outputs.
        step: called after each inference.

    Raises:
        DataError: the model is not finite on this data.
        ModelError: the quantizer cannot quantise the model.
    """
    content = path.read_bytes()
    model = parse_model(content)
    ranges = measure_ranges(content, inputs, step=step)
    quantised = bytearray(_quantize(content, "int8", boundary, ranges))
    # A range that was widened may be the input of the next layer: once for each at most.
    for _ in model.graph.operators:
        factors = narrow_ranges(parse_model(quantised))
        narrow = [name for name in factors if name in ranges]
        if not narrow:
            break
        for name in narrow:
            low, high = ranges[name]
            ranges[name] = low * factors[name] * 1.01, high * factors[name] * 1.01
        quantised = bytearray(_quantize(content, "int8", boundary, ranges))
    fit_scales(model, quantised)
    path.write_bytes(quantised)


def quantize_weights(path: Path, kind: Literal["fp16", "dynamic"]) -> None:
    """Quantise the weights of a file, in place: to float16, or to int8 for dynamic range.

    Raises:
        ModelError: the quantizer cannot quantise the model.
    """
    path.write_bytes(_quantize(path.read_bytes(), kind, "float32", None))


def float_operators(model: Model) -> dict[str, int]:
    """The operators that compute in float32, and how many there are of each.

    Args:
        model: a file; of an int8 one these are those without an int8 form.
    """
    graph = model.graph
    return dict(
        Counter(
            op.op
            for op in graph.operators
            if op.op not in ("QUANTIZE", "DEQUANTIZE")
            and any(graph.tensors[index].dtype == "float32" for index in op.outputs)
        ).most_common()
    )


def _quantize(
    content: bytes, kind: Kind, boundary: Boundary, ranges: dict[str, Range] | None
) -> bytes:
    shapes = {tensor.name: tensor.shape for tensor in parse_model(content).graph.tensors}
    statistics = None
    if ranges is not None:
        statistics = {
            name: {
                key: np.full((1,) * len(shapes[name]), value, np.float32)
                for key, value in zip(("min", "max"), found, strict=True)
            }
            for name, found in ranges.items()
        }
    try:
        # A progress bar of its own would go to standard error.
        with quiet(), contextlib.redirect_stderr(io.StringIO()):
            from ai_edge_quantizer.quantizer import Quantizer

            result = Quantizer(content, _recipe(kind, boundary)).quantize(
                statistics, enable_progress_bar=False, enable_progress_report=False
            )
        return bytes(result.quantized_model)
    except DeployError:
        raise
    except Exception as error:
        hint = "fp16 and dynamic touch weights only" if kind == "int8" else None
        raise failure(ModelError, f"quantising to {kind}", error, hint=hint) from error


def _recipe(kind: Kind, boundary: Boundary) -> list[dict[str, Any]]:
    from ai_edge_quantizer import qtyping
    from ai_edge_quantizer.algorithm_manager import AlgorithmName
    from ai_edge_quantizer.recipe_manager import RecipeManager

    recipe, names = RecipeManager(), qtyping.TFLOperationName
    everything = (".*", names.ALL_SUPPORTED)
    match kind:
        case "int8":
            recipe.add_static_config(*everything, activation_num_bits=8, weight_num_bits=8)
            left = [name for name in names if not has_kernel(name.value, "int8")]
            if boundary == "float32":
                left += [names.INPUT, names.OUTPUT]
            for name in left:
                recipe.add_quantization_config(".*", name, algorithm_key=AlgorithmName.NO_QUANTIZE)
        case "dynamic":
            recipe.add_dynamic_config(*everything, num_bits=8)
            for name in (names.FULLY_CONNECTED, names.BATCH_MATMUL):
                recipe.add_dynamic_config(
                    ".*", name, num_bits=8, granularity=qtyping.QuantGranularity.TENSORWISE
                )
            recipe.add_weight_only_config(".*", names.CONV_2D_TRANSPOSE, num_bits=8)
        case "fp16":
            recipe.add_weight_only_config(
                *everything, num_bits=16, algorithm_key=AlgorithmName.FLOAT_CASTING
            )
    found: list[dict[str, Any]] = recipe.get_quantization_recipe()
    return found
