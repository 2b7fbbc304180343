"""The range of every activation of a float ``.tflite`` file, over calibration data."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from toolchain.agreement import interpreter
from toolchain.agreement.differences import Array
from toolchain.agreement.silence import quiet
from toolchain.errors import DataError
from toolchain.tflite_file.graph import parse_model

Range = tuple[float, float]

_PADDING = 3e38
"""Max-pooling pads with the lowest float, which is no value of the network's."""
_LEAST = 1e-9
"""A tensor that never leaves this neighbourhood of 0 is a dead one."""


def measure_ranges(
    content: bytes, inputs: Iterable[Sequence[Array]], *, step: Callable[[], None]
) -> dict[str, Range]:
    """Smallest and largest value of every computed tensor, by the tensor's name.

    A tensor that is always 0 gets -1 to 1: any range is right, and one of no width has no scale.

    Args:
        content: a float32 ``.tflite`` file.
        inputs: of each inference, in the signature's order, as the file takes them.
        step: called after each inference.

    Raises:
        DataError: a tensor is not finite on this data.
    """
    graph = parse_model(content).graph
    computed = [*graph.inputs, *graph.producers]
    with quiet():
        runner = interpreter.load(content, threads=os.cpu_count() or 1, keep=True)
        signature = runner.get_signature_runner()
    lowest = dict.fromkeys(computed, np.inf)
    highest = dict.fromkeys(computed, -np.inf)
    for number, arrays in enumerate(inputs):
        interpreter.feed(signature, arrays)
        for index in computed:
            tensor = graph.tensors[index]
            if tensor.dtype != "float32" or not tensor.elements:
                continue
            low, high = _extremes(runner.tensor(index)())
            if not low <= high:  # NaN
                raise DataError(
                    f"calibration example {number}: '{tensor.name}' is not finite",
                    hint="does the data have the scale that the model was trained with?",
                )
            lowest[index], highest[index] = min(lowest[index], low), max(highest[index], high)
        step()
    return {
        graph.tensors[index].name: _widened(lowest[index], highest[index])
        for index in computed
        if lowest[index] <= highest[index]
    }


def _extremes(values: Array) -> Range:
    low, high = float(values.min()), float(values.max())
    if low <= -_PADDING:
        low = float(values.min(where=values > -_PADDING, initial=np.inf))
        low = high if low == np.inf else low
    return low, high if high < np.inf else np.nan


def _widened(low: float, high: float) -> Range:
    return (low, high) if max(abs(low), abs(high)) > _LEAST else (-1.0, 1.0)
