"""Models of published rows that run on XNNPACK, converted once and kept in the cache."""

from __future__ import annotations

import inspect
from pathlib import Path

import toolchain
from toolchain.dev.bench.models import Dtype, model_file, source_hash
from toolchain.storage.cache import digest, entry

_SIZE = 224
CONVERTED = frozenset(
    (name, _SIZE) for name in ("mobilenet_v1", "mobilenet_v2", "resnet18", "efficientnet_lite0")
)
"""Networks and the widths of their inputs."""
_OWN = "mobilenet_v1"
_SEED = 0


def network_file(network: str, dtype: Dtype) -> Path:
    """The ``.tflite`` file of one of :data:`CONVERTED`; int8 is calibrated on random inputs.

    Raises:
        ModelError: its conversion fails.
        VerificationError: the file's outputs are not torch's.
    """
    if network != _OWN:
        return model_file(network, dtype)
    from toolchain.dev.timing import networks

    name = f"{network}_{dtype}.tflite"
    source = inspect.getsource(networks)
    key = digest("timing model 1", name, source, toolchain.__version__, source_hash())

    def fill(folder: Path) -> None:
        from toolchain.convert.calibration import RANDOM
        from toolchain.convert.conversion import convert

        shapes = [(1, 3, _SIZE, _SIZE)]
        factory = f"{networks.__name__}:{network}"
        if dtype == "fp32":
            convert(None, folder / name, model=factory, input_shapes=shapes, seed=_SEED)
        else:
            convert(
                None,
                folder / name,
                model=factory,
                input_shapes=shapes,
                seed=_SEED,
                quantize="int8",
                calibration=RANDOM,
            )

    return entry("bench-models", key, fill) / name
