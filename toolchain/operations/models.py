"""The models of a command: those that can be read and run are worked on, the others are told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from toolchain.errors import ModelError
from toolchain.failures import Failures
from toolchain.formats.input_file import check_readable
from toolchain.tflite_file.graph import Model
from toolchain.tflite_file.support import read_supported
from toolchain.tflite_file.untrained import is_untrained, warning


def runnable(model: Path, warn: Callable[[str], None]) -> Model:
    """Read a model that the runtime can run.

    Args:
        model: the file.
        warn: is told where its masks are for measuring.

    Raises:
        ModelError: it cannot be read, or the runtime cannot run it.
    """
    check_readable(model, ModelError)
    found = read_supported(model)
    if is_untrained(found):
        warn(warning(found.path))
    return found


def runnable_ones(
    models: Sequence[Path], failures: Failures, warn: Callable[[str], None]
) -> tuple[Path, ...]:
    """Those of the models that can be read and that the runtime can run.

    Args:
        models: the files.
        failures: is told of the others.
        warn: is told of those whose masks are for measuring.

    Raises:
        ModelError: none can.
    """
    good = []
    for model in models:
        with failures.of(str(model)):
            runnable(model, warn)
            good.append(model)
    if not good:
        failures.require()
    return tuple(good)
