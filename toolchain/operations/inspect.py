"""``deploy inspect``: what a ``.tflite`` file holds, and how a board's core computes it."""

from __future__ import annotations

from pathlib import Path

from toolchain.board.plan import core_plan
from toolchain.errors import DeployError
from toolchain.hardware.board_file import Board, known_tiles
from toolchain.tflite_file.inspection import Inspection, inspect_model, with_plan


def inspect(file: Path, board: Board | None = None) -> Inspection:
    """Describe a ``.tflite`` file.

    Args:
        file: it.
        board: whose core's plan is told, as its own runtime says it; where that is not built, how
            many of the core's tiles the kept pixels fill.

    Raises:
        ModelError: the file cannot be read, is no TFLite model, or is damaged.
    """
    if board is None:
        return inspect_model(file)
    report = inspect_model(file, known_tiles(board))
    try:
        return with_plan(report, core_plan(board, file, report.layers))
    except DeployError as error:
        hint = f"; {error.hint}" if error.hint else ""
        return report.model_copy(update={"no_plan": f"{error.what}{hint}"})
