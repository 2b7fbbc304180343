"""litert-torch, imported when it is needed, without its chatter and without a network."""

from __future__ import annotations

import importlib
import os
from types import ModuleType

from toolchain.agreement.silence import quiet

_OFFLINE = {
    "LITERT_TORCH_SHOW_PROGRESS": "n",
    # litert-torch imports transformers, which would otherwise ask the network for models.
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
}


def litert_torch(part: str = "") -> ModuleType:
    """The package, or a module of it.

    Args:
        part: ``backend.experimental.torch_tfl``, for TFLite's operators in torch.
    """
    for name, value in _OFFLINE.items():
        os.environ.setdefault(name, value)
    with quiet():
        return importlib.import_module("litert_torch" + (f".{part}" if part else ""))
