"""What a file can be quantised to, and which files are programs."""

from __future__ import annotations

from typing import Literal

Kind = Literal["int8", "fp16", "dynamic"]
Boundary = Literal["float32", "int8"]
"""What the inputs and outputs of an int8 file are."""
PROGRAM = ".pt2"
"""How exported programs are called: no file of another name is loaded as one, whatever it holds."""
