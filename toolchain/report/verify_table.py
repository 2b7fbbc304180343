"""The table of ``deploy verify``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import RenderableType
from rich.text import Text

from toolchain.board.verify import Verification
from toolchain.report.fitting import NAME, Column, fitted_table


def verify_table(results: Sequence[Verification], board: str, width: int = 200) -> RenderableType:
    """A line a model: how far the board's outputs are from this machine's.

    Args:
        results: a model each.
        board: what it is called.
        width: columns that there are.
    """

    def figures(values: Sequence[float | None]) -> list[str]:
        return ["" if value is None else f"{value:.3g}" for value in values]

    verdicts = [
        Text("ok", style="green") if item.passed else Text("differs", style="red")
        for item in results
    ]
    return fitted_table(
        [
            Column("model", [Path(item.model).name for item in results], NAME, right=False),
            Column("inputs", [str(item.inputs) for item in results], 5),
            Column("largest\ndifference", figures([item.max_difference for item in results]), 4),
            Column("largest\noutput", figures([item.max_output for item in results]), 4),
            Column("relative", figures([item.relative for item in results]), 2),
            Column("steps", figures([item.max_steps for item in results]), 3),
            Column("", verdicts, 1),
        ],
        width,
        title=f"{board} against this machine",
    )
