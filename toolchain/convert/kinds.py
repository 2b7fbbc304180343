"""What a file can be quantised to, and which files are programs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

Kind = Literal["int8", "fp16", "dynamic"]
Boundary = Literal["float32", "int8"]
"""What the inputs and outputs of an int8 file are."""


def is_program(path: Path) -> bool:
    """Whether a file is taken for an exported program, which can run code when it is loaded.

    Its name alone says so, for that is what the user saw: by its content a file that is called
    ``weights.safetensors`` could have itself run.
    """
    return path.suffix == ".pt2"


def is_onnx(path: Path) -> bool:
    """Whether a file is taken for an ONNX file, by its name."""
    return path.suffix == ".onnx"


def is_saved_model(path: Path) -> bool:
    """Whether a path is a folder that TensorFlow has written a SavedModel into."""
    return (path / "saved_model.pb").is_file()


def is_tensorflow(path: Path) -> bool:
    """Whether a path is taken for a Keras model, by its name, or is a SavedModel."""
    return path.suffix == ".keras" or is_saved_model(path)
