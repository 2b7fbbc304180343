"""Atheris on the reader: a program with libFuzzer's options."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["toolchain.tflite_file", "flatbuffers", "ai_edge_litert"]):
    from toolchain.tflite_file.graph import parse_model
    from toolchain.tflite_file.layers import find_layers, totals
    from toolchain.tflite_file.support import find_unsupported

from toolchain.errors import ModelError


def read(data: bytes) -> None:
    """Whatever else than our error leaves it is a failure."""
    try:
        model = parse_model(data)
        totals(find_layers(model))
        find_unsupported(model)
    except ModelError:
        pass


if __name__ == "__main__":
    atheris.Setup(sys.argv, read)
    atheris.Fuzz()
