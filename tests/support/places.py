"""Where things are, and the types of fixtures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from toolchain.hardware.board_file import Board

REPOSITORY = Path(__file__).resolve().parents[2]

BoardMaker = Callable[[str], Board]
"""Makes an emulated board out of a name; what was started of it is stopped at the end."""
