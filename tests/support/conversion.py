"""Convert modules that exist already."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from toolchain.convert.conversion import convert
from toolchain.convert.result import Conversion

_MODULE = "network_of_a_test"


def convert_module(
    model: nn.Module, shapes: Sequence[tuple[int, ...]], output: Path, **options: Any
) -> Conversion:
    """By way of a factory in a module of its own, as a user's."""
    module = type(sys)(_MODULE)
    module.__dict__["make"] = lambda: model
    sys.modules[_MODULE] = module
    try:
        return convert(None, output, model=f"{_MODULE}:make", input_shapes=list(shapes), **options)
    finally:
        sys.modules.pop(_MODULE, None)
