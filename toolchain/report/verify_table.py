"""The table of ``deploy verify``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import RenderableType
from rich.text import Text

from toolchain.board.verify import OutputCheck, Verification
from toolchain.report.fitting import NAME, Column, fitted_table
from toolchain.tflite_file.untrained import marked


def verify_table(results: Sequence[Verification], board: str, width: int = 200) -> RenderableType:
    """A line a model: how far its worst output is from this machine's.

    Args:
        results: a model each.
        board: what it is called.
        width: columns that there are.
    """
    chiefs = [item.worst for item in results]
    steps = ["" if chief.steps is None else f"{chief.steps:.3g}" for chief in chiefs]
    shares = [
        "" if chief.steps is not None else f"{chief.difference.relative_diff:.2g}"
        for chief in chiefs
    ]
    differences = [f"{chief.difference.max_abs_diff:.3g}" for chief in chiefs]
    columns = [
        Column(
            "model",
            [marked(Path(item.model).name, untrained=item.untrained) for item in results],
            NAME,
            right=False,
        ),
        Column("inputs", [str(item.inputs) for item in results], 5),
        Column("worst\noutput", [_place(chief) for chief in chiefs], 4, right=False),
        Column("largest\ndifference", differences, 4),
        Column("of its\nscale", shares, 2),
        Column("steps", steps, 3),
        Column("verdict", [verdict_cell(item) for item in results], 1),
    ]
    return fitted_table(
        [column for column in columns if any(column.cells)],  # float outputs have no steps
        width,
        title=f"{board} against this machine",
    )


def _place(check: OutputCheck) -> str:
    far = check.difference
    return f"{far.output}" if far.axis is None else f"{far.output}, {far.slice}"


def verdict_cell(item: Verification) -> Text:
    """Whether a board computes what this machine does."""
    if not item.passed:
        return Text("differs", style="red")
    return Text("ambiguous", style="yellow") if item.ambiguous else Text("ok", style="green")
