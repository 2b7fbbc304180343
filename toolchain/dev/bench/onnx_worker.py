"""Makes files for onnxruntime and MNN, by :mod:`toolchain.dev.bench.onnx_model`.

A program, ``python onnx_worker.py STEP ...``, of which each step runs in the environment that has
what it needs.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

_OPSET = 17
_CALIBRATION_INPUTS = 4


def export(name: str, site: str, out: str) -> None:
    """A network of the zoo to ONNX, by torch's exporter; ``site`` is where onnx is installed."""
    sys.path.append(site)
    import torch

    from toolchain.zoo import catalog

    network = catalog.get(name)
    warnings.simplefilter("ignore", DeprecationWarning)
    # The newer exporter needs more packages, and gives the same operators.
    torch.onnx.export(
        network.build().eval(), (network.example_input(),), out, dynamo=False, opset_version=_OPSET
    )


def quantize(source: str, out: str) -> None:
    """An ONNX file to int8, by onnxruntime's tool."""
    import numpy as np
    import onnxruntime
    from onnxruntime import quantization as tool

    onnxruntime.set_default_logger_severity(3)
    given = onnxruntime.InferenceSession(source).get_inputs()[0]
    random = np.random.default_rng(0)

    def samples() -> Iterator[dict[str, Any]]:
        for _ in range(_CALIBRATION_INPUTS):
            yield {given.name: random.standard_normal(given.shape).astype(np.float32)}

    class Samples:
        def __init__(self) -> None:
            self._samples = samples()

        def get_next(self) -> dict[str, Any] | None:
            return next(self._samples, None)

    tool.quantize_static(
        source,
        out,
        Samples(),
        quant_format=tool.QuantFormat.QDQ,
        per_channel=True,
        activation_type=tool.QuantType.QInt8,
        weight_type=tool.QuantType.QInt8,
    )


def mnn(source: str, out: str) -> None:
    """An ONNX file to MNN's."""
    # The extension itself: the module around it installs a package that sends reports.
    import _tools
    import MNN  # noqa: F401 (loads its library)

    _tools.mnnconvert(
        ["", "-f", "ONNX", "--modelFile", source, "--MNNModel", out, "--bizCode", "tileskip"]
    )


_STEPS: dict[str, Callable[..., None]] = {"export": export, "quantize": quantize, "mnn": mnn}

if __name__ == "__main__":
    _STEPS[sys.argv[1]](*sys.argv[2:])
