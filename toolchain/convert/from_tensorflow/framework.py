"""TensorFlow and Keras, imported when they are needed, without their chatter and on the CPU."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from toolchain.agreement.silence import quiet

_SILENT = "TF_CPP_MIN_LOG_LEVEL"
_BACKEND = "KERAS_BACKEND"


@dataclass(frozen=True)
class Framework:
    """The two modules."""

    tensorflow: Any
    keras: Any


def framework() -> Framework:
    """Import them, with TensorFlow as the backend of Keras, whatever the user's own one is.

    Raises:
        ModelError: Keras is at work in this process with another backend.
    """
    with _environment({_SILENT: "3", _BACKEND: "tensorflow"}), quiet():
        import keras
        import tensorflow

        import toolchain.keras  # noqa: F401 (makes Keras know the layers with masks)
    with suppress(RuntimeError):  # this program has computed with TensorFlow already
        # A GPU rounds to fewer digits than the check wants to see.
        tensorflow.config.set_visible_devices([], "GPU")
    return Framework(tensorflow, keras)


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
